"""API keys: who calls, and how often they may. Without keys in the settings, everybody may call."""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from unmingle.model.errors import UnmingleError
from unmingle.service.problems import Problem

_BEARER = HTTPBearer(auto_error=False, description="Needed only where the server has API keys.")


class ApiKeyError(UnmingleError):
    """The setting of the API keys is not valid."""


class ApiKeys:
    """The keys of this deployment. Only their hashes are known here."""

    def __init__(self, listed: str, requests_per_minute: float) -> None:
        """Read a list such as `alice=<sha256 hex>,bob=<sha256 hex>`.

        Raises:
            ApiKeyError: not such a list.
        """
        # A name may have several keys, so that a new one can be given out before the old one ends.
        self._hashes = tuple(_entry(item) for item in listed.split(",") if item.strip())
        self._per_s = requests_per_minute / 60
        self._burst = max(1.0, requests_per_minute / 6)
        self._tokens: dict[str, tuple[float, float]] = {}

    def caller(self, authorization: str | None) -> str:
        """Name of the key in an Authorization header; empty where no keys are set.

        Raises:
            Problem: no key, or not one of ours.
        """
        if not self._hashes:
            return ""
        scheme, _, key = (authorization or "").partition(" ")
        digest = hashlib.sha256(key.strip().encode("latin-1")).hexdigest()  # the bytes as they came
        names = [name for name, known in self._hashes if hmac.compare_digest(known, digest)]
        if scheme.lower() != "bearer" or not names:
            given = "is missing" if not authorization else "is not one of this server's"
            raise Problem(
                "unauthorised",
                f"The API key {given}; expected the header 'Authorization: Bearer <key>'.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return names[0]

    def spend(self, name: str) -> None:
        """Count one request of a key.

        Raises:
            Problem: more than the key may send; with Retry-After.
        """
        if not name:
            return
        now = time.monotonic()
        tokens, then = self._tokens.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._per_s)
        if tokens < 1:
            self._tokens[name] = (tokens, now)
            wait = math.ceil((1 - tokens) / self._per_s)
            raise Problem(
                "rate_limited",
                f"This API key may send {self._per_s * 60:g} requests a minute. Try again in {wait} s.",
                extra={"limit": self._per_s * 60, "unit": "requests per minute"},
                headers={"Retry-After": str(wait)},
            )
        self._tokens[name] = (tokens - 1, now)


def hashed(key: str) -> str:
    """The hash that represents a key in the settings."""
    return hashlib.sha256(key.encode()).hexdigest()


def _entry(item: str) -> tuple[str, str]:
    name, _, digest = (part.strip() for part in item.partition("="))
    if not name or len(digest) != 64 or not set(digest.lower()) <= set("0123456789abcdef"):
        raise ApiKeyError(
            "UNMINGLE_API_KEYS is not valid: expected name=<SHA-256 of the key, 64 hex digits>, several separated by "
            "commas. `unmingle hash-key` makes the hash."
        )
    return name, digest.lower()


async def _caller(request: Request, _: Annotated[object, Depends(_BEARER)]) -> str:
    # A coroutine for the reason that unmingle.service.http.state._service is one.
    keys: ApiKeys = request.app.state.keys
    name = keys.caller(request.headers.get("authorization"))
    keys.spend(name)
    return name


Caller = Annotated[str, Depends(_caller)]
"""Name of the API key that a request came with; empty where no keys are set."""
