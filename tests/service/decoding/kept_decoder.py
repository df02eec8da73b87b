"""A decoder for all the tests of a module: starting a fork server takes longer than decoding most of their uploads."""

from __future__ import annotations

import asyncio
from pathlib import Path

from unmingle.service.decoding.decoder import DecodeLimits, Decoder
from unmingle.service.decoding.recordings import DecodedRecording


class KeptDecoder:
    """Starts when it is first used."""

    def __init__(self) -> None:
        self._running: tuple[asyncio.Runner, Decoder] | None = None

    def decode(self, upload: Path, samples: Path, limits: DecodeLimits) -> DecodedRecording:
        """As Decoder.decode."""
        runner, decoder = self._running = self._running or self._start()
        return runner.run(decoder.decode(upload, samples, limits))

    def stop(self) -> None:
        """End its processes."""
        if self._running:
            runner, decoder = self._running
            runner.run(decoder.stop())
            runner.close()
            self._running = None

    @staticmethod
    def _start() -> tuple[asyncio.Runner, Decoder]:
        runner, decoder = asyncio.Runner(), Decoder(1)

        async def start() -> None:
            decoder.start()

        runner.run(start())
        return runner, decoder


KEPT = KeptDecoder()
