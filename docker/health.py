"""Asks the server in this container whether it takes work; the image's HEALTHCHECK, without curl."""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 4.0


def main() -> int:
    """Exit code: 0 while work is taken, else 1; what it says is in `docker inspect`."""
    host = os.environ.get("UNMINGLE_HOST", "127.0.0.1")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(host, int(os.environ.get("UNMINGLE_PORT", "8000")), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        print(answer.status, answer.read(1000).decode("utf-8", "replace").strip())
        return int(answer.status != 200)
    except (OSError, http.client.HTTPException) as error:
        print(f"No answer: {error}")
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
