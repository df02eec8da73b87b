"""Which embeddings are kept from the first pass over a recording to the second."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Protocol

from unmingle.model.embedding.embedded import Embedded, Kept
from unmingle.model.signal.segments import Segment


class Keeps(Protocol):
    """Where embeddings wait for the second pass."""

    @property
    def whole(self) -> bool:
        """Whether all that was added is still here."""
        ...

    def add(self, segment: Segment, embedded: Embedded) -> None:
        """Keep them, too."""
        ...

    def taken(self) -> Iterator[tuple[Segment, Kept]]:
        """All of them in order."""
        ...

    def rounded(self, embedded: Embedded) -> Embedded:
        """What would come back of embeddings if they were kept."""
        ...


class Keeping:
    """All segments of a recording with their embeddings, or none of them."""

    def __init__(self, expected_bytes: float) -> None:
        """Args: expected_bytes: of the embeddings of the whole recording, in float32, about."""
        self._expected_bytes = expected_bytes
        self._kept: collections.deque[tuple[Segment, Kept]] | None = collections.deque()
        self._bytes = 0

    @property
    def whole(self) -> bool:
        """Whether all that was added is still here."""
        return self._kept is not None

    def add(self, segment: Segment, embedded: Embedded) -> None:
        """Keep them, too, or give all up where they become too many."""
        if self._kept is None:
            return
        kept = embedded.keep(self._expected_bytes)
        if kept is None or self._bytes + kept.nbytes > kept.most_bytes:
            self._kept = None
            return
        self._bytes += kept.nbytes
        self._kept.append((segment, kept))

    def taken(self) -> Iterator[tuple[Segment, Kept]]:
        """All of them in order, each one let go as it is handed out."""
        while self._kept:
            yield self._kept.popleft()

    def rounded(self, embedded: Embedded) -> Embedded:
        """As `keep` would have them, where it keeps any."""
        kept = embedded.keep(self._expected_bytes)
        return embedded if kept is None else kept.restored()


class Forgetting:
    """Keeps nothing: all is embedded anew for the second pass, by somebody else, perhaps."""

    whole = False

    def __init__(self, expected_bytes: float) -> None:
        """Args: expected_bytes: of the embeddings of the whole recording, in float32, about."""
        self._rounding = Keeping(expected_bytes)

    def add(self, segment: Segment, embedded: Embedded) -> None:
        """Forget them."""

    def taken(self) -> Iterator[tuple[Segment, Kept]]:
        """Nothing."""
        yield from ()

    def rounded(self, embedded: Embedded) -> Embedded:
        """As `Keeping` has it."""
        return self._rounding.rounded(embedded)
