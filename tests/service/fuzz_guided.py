"""atheris on the header check: it watches which lines run, and looks for bytes that lead to others.

Arguments are libFuzzer's: `-runs=20000 -seed=1`. Exit code 4 where atheris is not installed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit(4)

with atheris.instrument_imports(include=["unmingle.model.reading"]):
    from unmingle.service.decoding import audio_header
from tests.service.hostile import SEEDS
from unmingle.service.problems import Problem

_HEAD_BYTES = 600


def main() -> None:
    """Fuzz."""
    with tempfile.TemporaryDirectory() as place:
        corpus, upload = Path(place) / "corpus", Path(place) / "upload"
        corpus.mkdir()
        for name, content in SEEDS.items():
            (corpus / name).write_bytes(content[:_HEAD_BYTES])

        def look(content: bytes) -> None:
            upload.write_bytes(content)
            try:
                header = audio_header.inspect(upload)
            except Problem as problem:
                assert 400 <= problem.status < 500
            else:
                assert header.channels is None or 1 <= header.channels <= 8
                assert header.sample_rate is None or 4_000 <= header.sample_rate <= 192_000
                assert header.frames is None or header.frames >= 0

        atheris.Setup([*sys.argv, f"-max_len={2 * _HEAD_BYTES}", "-timeout=10", str(corpus)], look)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
