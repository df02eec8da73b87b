"""Which web pages may send requests here: the server's own, and those of the origins that the settings allow.

Any web page can make its visitor's browser send a POST to a server on 127.0.0.1 or on the visitor's network. Browsers
say where a request comes from (Origin, Sec-Fetch-Site); other clients do not, and are not concerned. A site may also
point a name of its own at our address and so become the same origin (DNS rebinding); that is what the Host header is
checked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from unmingle.service.problems import Problem

_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
_LOCAL_NAMES = ("localhost", "ip6-localhost")


class Site:
    """What counts as this server's own site."""

    def __init__(self, listens_on: str, allowed_hosts: str, cors_origins: str) -> None:
        """Args: the settings host, allowed_hosts and cors_origins."""
        self._origins = tuple(_listed(cors_origins))
        hosts = tuple(host.lower() for host in _listed(allowed_hosts))
        if not hosts:
            # On the loopback interface, no other name is legitimate.
            hosts = _LOCAL_NAMES if _is_loopback(listens_on) else ("*",)
        self._hosts = hosts

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Check where a request comes from.

        Raises:
            Problem: from somewhere that is not allowed.
        """
        host = headers.get("host", "")
        self._check_host(host)
        if method in _SAFE:
            return
        origin, fetched_from = headers.get("origin"), headers.get("sec-fetch-site", "").lower()
        if origin is not None and (origin in self._origins or "*" in self._origins):
            return
        own = origin is None or (origin != "null" and urlsplit(origin).netloc.lower() == host.lower())
        if fetched_from in ("same-origin", "none") or (not fetched_from and own):
            return
        raise Problem(
            "origin_forbidden",
            f"The request comes from a web page of {origin or 'another site'}; expected this server's own page, or an "
            "origin that UNMINGLE_CORS_ORIGINS lists.",
        )

    def _check_host(self, host: str) -> None:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if "*" in self._hosts or not host or name in self._hosts or host.lower() in self._hosts or _is_address(name):
            return
        raise Problem(
            "host_unknown",
            f"The request is for the host '{host[:100]}', which this server does not go by; UNMINGLE_ALLOWED_HOSTS "
            "lists the names that it does.",
        )


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _is_address(name: str) -> bool:
    """Whether the host is not a name that somebody else could point at this server."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host in _LOCAL_NAMES or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
