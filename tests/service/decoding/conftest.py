"""What the tests of decoding share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.decoding.kept_decoder import KEPT


@pytest.fixture(scope="module", autouse=True)
def end_of_the_kept_decoder() -> Iterator[None]:
    """Processes that a module leaves behind would be counted by the next."""
    yield
    KEPT.stop()
