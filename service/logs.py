"""Log lines: for people on a console, or as JSON for machines. They hold no audio and no file names."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Literal

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def configure(form: Literal["console", "json"], level: str) -> None:
    """Send all log lines of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Console())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # It repeats our own lines, in words for developers.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    # Ray, where it is in use, adds a time of its own to every record.
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and not name.startswith("_")}


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line: dict[str, object] = {
            "time": stamp,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: str(value) if not isinstance(value, int | float) else value for name, value in _extra(record).items()
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Console(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        extra = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        line = f"{stamp} {record.levelname.lower():7} {record.getMessage()}" + (f"  [{extra}]" if extra else "")
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")
