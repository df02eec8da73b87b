"""A progress bar over all files, which count by their size; only where a person looks at it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tqdm import tqdm

from unmingle.model.recording import Progress


class Bar:
    """Tells how far all files are, on a terminal. Safe to use from several threads."""

    def __init__(self, files: Sequence[Path], quiet: bool) -> None:
        self._sizes = [max(1, file.stat().st_size) if file.is_file() else 1 for file in files]
        self._done = [0.0] * len(files)
        self._lock = threading.Lock()
        layout = "{percentage:3.0f}%|{bar}| {postfix} [{elapsed}<{remaining}]"
        hidden = quiet or not sys.stderr.isatty()
        self._tqdm = tqdm(total=sum(self._sizes), bar_format=layout, dynamic_ncols=True, disable=hidden, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tqdm.close()

    def begin(self, number: int, name: str) -> Progress:
        """Go to a file, from 0; what is returned is to be told the part of it that is done."""
        with self._lock:
            self._tqdm.set_postfix_str(f"{number + 1}/{len(self._sizes)} {name}", refresh=False)

        def tell(done: float) -> None:
            with self._lock:
                self._done[number] = done
                position = sum(part * size for part, size in zip(self._done, self._sizes, strict=True))
                self._tqdm.update(position - self._tqdm.n)

        return tell

    def write(self, line: str) -> None:
        """Print a line to standard output without spoiling the bar."""
        with self._lock:
            self._tqdm.clear()
            print(line, flush=True)
