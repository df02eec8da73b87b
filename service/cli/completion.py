"""`unmingle completion SHELL`: a script that completes subcommands and options, for bash, zsh and fish."""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "fish")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script, made from the parser, so that it knows what the command knows."""
    commands = {name: _options(sub) for name, sub in _subparsers(parser).items()}
    if shell == "fish":
        lines = [
            f"complete -c unmingle -n __fish_use_subcommand -a {name}\n"
            + "".join(
                f"complete -c unmingle -n '__fish_seen_subcommand_from {name}' -l {option[2:]}\n"
                for option in options
                if option.startswith("--")
            )
            for name, options in commands.items()
        ]
        return "".join(lines)
    cases = "".join(f"    {name}) words='{' '.join(options)}' ;;\n" for name, options in commands.items())
    bash = f"""_unmingle() {{
  local words current="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{" ".join(commands)}' -- "$current")); return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    *) COMPREPLY=($(compgen -f -- "$current")) ;;
  esac
}}
complete -o filenames -F _unmingle unmingle
"""
    return bash if shell == "bash" else "autoload -U +X bashcompinit && bashcompinit\n" + bash


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [
        option
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
        if option.startswith("--")
    ]
