"""Where the network runs."""

from __future__ import annotations

from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
