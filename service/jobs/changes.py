"""Notifies those who watch a job of changes, so that nobody has to poll."""

from __future__ import annotations

import asyncio
import contextlib


class Changes:
    """Counts changes, and wakes those who wait for the next. Belongs to one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.count = 0

    def tell(self) -> None:
        """Something has changed."""
        self.count += 1
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, within_s: float) -> None:
        """Wait for the next change, at most for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._event.wait()
