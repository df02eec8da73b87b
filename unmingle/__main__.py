"""`python -m unmingle`: the `unmingle` command."""

from __future__ import annotations

import sys

from unmingle.service.cli import main

if __name__ == "__main__":
    sys.exit(main())
