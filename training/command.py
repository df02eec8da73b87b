"""How every command of the trainer ends: errors in words on standard error, and the process's exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from unmingle.model.errors import UnmingleError


def run(work: Callable[[], int | None], stopped: str = "stopped") -> int:
    """Do a command's work.

    Args:
        work: what it does once its options are read; it may give an exit code of its own.
        stopped: what is said after Ctrl-C.

    Returns:
        0 or the work's own, 1 after an error that the user can do something about, or 130 after Ctrl-C.
    """
    try:
        return work() or 0
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a disk that is full, a folder that may not be written to
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
