"""Check everything that a release needs, and say what was not checked.

Run as: python docker/release.py     (`make release` does, and brings what it needs)
Ends with 0 only if everything was checked and is good; with 1 at the first thing that is not; with 3 if all that could
be checked here is good, but something could not be: a test that was skipped counts as not checked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / ".venv" / "release" / "bin"
NOT_CHECKED = 3


def main() -> int:
    """Run one check after the other, those first that fail often."""
    unchecked: list[str] = []
    for target in ("check", "docker-lint", "wheel"):
        if run(["make", target]) != 0:
            return failed(f"make {target}")

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        everything = {"DOCKER_TESTS": "1", "RELEASE_TESTS": "1"}
        if run([sys.executable, "-m", "pytest", f"--junitxml={report}"], everything) != 0:
            return failed("the tests")
        unchecked += skipped(report)

    if run(["make", "sbom"]) != 0:
        return failed("make sbom")
    match run([sys.executable, "docker/audit.py"], {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}):
        case 0:
            pass
        case 3:
            unchecked.append("known vulnerabilities of what the images install: the databases could not be asked")
        case _:
            return failed("docker/audit.py")

    files = ", ".join(sorted(path.name for path in (ROOT / "dist").iterdir()))
    if unchecked:
        print(f"\nNOT READY. What could be checked here is good (dist/ holds {files}), but these were NOT CHECKED:")
        for reason in unchecked:
            print(f"  - {reason}")
        return NOT_CHECKED
    print(f"\nReady: everything was checked, dist/ holds {files}")
    return 0


def run(command: list[str], more: dict[str, str] | None = None) -> int:
    """Run a command in the project's root, with more environment; its exit code."""
    print(f"\n=== {' '.join(command)}", flush=True)
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **(more or {})}, check=False).returncode


def failed(what: str) -> int:
    """Say so."""
    print(f"\nNOT READY: {what} failed, see above.")
    return 1


def skipped(report: Path) -> Iterable[str]:
    """Why tests were skipped, and how many for each reason."""
    reasons: dict[str, int] = {}
    for case in ElementTree.parse(report).iter("skipped"):
        # pytest writes "FILE:LINE: REASON" as the text, and the reason alone as the message.
        reason = case.get("message", "no reason given")
        reasons[reason] = reasons.get(reason, 0) + 1
    return [f"{reason} ({count} test{'s' * (count > 1)})" for reason, count in reasons.items()]


if __name__ == "__main__":
    sys.exit(main())
