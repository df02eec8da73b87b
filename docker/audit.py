"""Ask the databases of known vulnerabilities about everything that the images install.

Run as: python docker/audit.py [--osv-url URL]     (`make audit` brings pip-audit)
Asks PyPI's database and OSV's. Ends with 0 only if every dependency was checked by one of them and none has a known
vulnerability; with 1 if one has; with 3 if none is known, but not everything was checked: that is not clean.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
FLAVOURS = ("cpu", "gpu", "cluster")
VULNERABLE, NOT_CHECKED = 1, 3


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one database says about one list of requirements.

    Attributes:
        checked: names it knows about.
        unchecked: names it says nothing about; everything, where it could not be asked.
        findings: a line per known vulnerability.
        reason: why something is unchecked.
    """

    checked: frozenset[str]
    unchecked: frozenset[str]
    findings: tuple[str, ...]
    reason: str


def main() -> int:
    """Ask, say what was found, and what was not checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--osv-url", metavar="URL", help="a mirror of OSV's database; then nothing else is asked")
    options = parser.parse_args()
    services: list[list[str]] = [["pypi"], ["osv"]]
    if options.osv_url:
        services = [["osv", "--osv-url", options.osv_url]]
    return verdict({flavour: [ask(flavour, service) for service in services] for flavour in FLAVOURS})


def ask(flavour: str, service: Sequence[str]) -> Answer:
    """Run pip-audit on one image's requirements."""
    requirements = HERE / f"requirements-{flavour}.txt"
    command = ["pip-audit", "--requirement", str(requirements), "--disable-pip", "--require-hashes"]
    command += ["--format", "json", "--progress-spinner", "off", "--vulnerability-service", *service]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        last = (done.stderr.strip().splitlines() or ["pip-audit says nothing"])[-1]
        return Answer(frozenset(), frozenset(names(requirements)), (), f"{service[0]}: {last}")
    skipped = {item["name"]: item["skip_reason"] for item in dependencies if "skip_reason" in item}
    findings = [
        f"{item['name']} {item['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for item in dependencies
        for found in item.get("vulns", ())
    ]
    reason = f"{service[0]}: {next(iter(skipped.values()), '')}"
    everything = frozenset(item["name"] for item in dependencies)
    return Answer(everything - skipped.keys(), frozenset(skipped), tuple(findings), reason)


def names(requirements: Path) -> Iterable[str]:
    """What a lock file lists."""
    return (line.partition("==")[0] for line in requirements.read_text().splitlines() if line[:1].isalnum())


def verdict(answers: dict[str, list[Answer]]) -> int:
    """Print what the databases say of each image; the exit code."""
    code = 0
    for flavour, asked in answers.items():
        checked = frozenset().union(*(answer.checked for answer in asked))
        unchecked = frozenset().union(*(answer.unchecked for answer in asked)) - checked
        findings = sorted({finding for answer in asked for finding in answer.findings})
        print(f"docker/requirements-{flavour}.txt: {len(checked)} checked, {len(findings)} known vulnerabilities")
        for finding in findings:
            print(f"  VULNERABLE: {finding}")
        if unchecked:
            print(f"  NOT CHECKED: {len(unchecked)} of {len(checked | unchecked)}: {', '.join(sorted(unchecked))}")
            for answer in asked:
                print(f"    {answer.reason}")
        if findings:
            code = VULNERABLE
        elif unchecked and code == 0:
            code = NOT_CHECKED
    if code == VULNERABLE:
        print("Newer versions: docker/lock.")
    if code == NOT_CHECKED:
        print("Nothing is known of what was not checked. Run `make audit` where the databases can be reached.")
    return code


if __name__ == "__main__":
    sys.exit(main())
