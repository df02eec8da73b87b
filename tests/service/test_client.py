"""unmingle.Client and AsyncClient against a real server."""

from __future__ import annotations

import asyncio
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.service.harness import RunningServer
from unmingle import AudioError, ParameterError, SeparationOptions
from unmingle.service.client import AsyncClient, Client, RemoteBusyError, RemoteError


def test_separate_jobs_and_errors(server: RunningServer, two_speakers: Path, tmp_path: Path) -> None:
    mixture = soundfile.read(two_speakers, dtype="float32")[0]
    with Client(server.url) as client:
        found = client.separate(two_speakers, SeparationOptions(num_sources=2, background="share"))
        assert found.stems.shape == (2, 1, len(mixture))
        np.testing.assert_allclose(found.stems.sum(0)[0], mixture, atol=1e-5)
        assert sorted(p.name for p in found.save(tmp_path / "out").iterdir()) == sorted(found.files)
        job = client.submit(two_speakers.read_bytes(), SeparationOptions(num_sources=2), idempotency_key="one")
        assert client.submit(two_speakers.read_bytes(), SeparationOptions(num_sources=2), idempotency_key="one") == job
        told: list[float] = []
        later = client.wait(job, told.append)
        assert later.manifest["num_sources"] == 2
        assert told[-1] == 1.0
        saved = client.save(job, tmp_path / "saved")
        assert {path.name: path.read_bytes() for path in saved.iterdir()} == dict(later.files)
        client.delete(job)
        with pytest.raises(RemoteError) as gone:
            client.status(job)
        assert gone.value.code == "job_unknown"
        with pytest.raises(AudioError) as refused:
            client.separate(b"This is a letter.")
        assert isinstance(refused.value, RemoteError)
        assert refused.value.code == "format_unsupported"
        with pytest.raises(ParameterError):
            client.separate(two_speakers, format="midi")  # type: ignore[arg-type]
        with pytest.raises(AudioError, match="not readable"):
            client.separate(tmp_path / "missing.wav")
        assert client.health()["status"] == "ok"
        assert client.models()[0]["default"]


def test_asyncio(server: RunningServer, two_speakers: Path, tmp_path: Path) -> None:
    async def both() -> list[int]:
        async with AsyncClient(server.url) as client:
            one, other = await asyncio.gather(
                client.separate(two_speakers, SeparationOptions(num_sources=2)),
                client.separate(two_speakers.read_bytes(), SeparationOptions(num_sources=3)),
            )
            job = await client.submit(two_speakers, format="flac", mono=True)
            assert (await client.wait(job)).manifest["samples"] == one.manifest["samples"]
            assert (await client.save(job, tmp_path / "saved") / "stem_1.flac").is_file()
            await client.delete(job)
            return [one.manifest["num_sources"], other.manifest["num_sources"]]

    assert asyncio.run(both()) == [2, 3]


def test_retry_after_is_honoured_while_patience_lasts(tmp_path: Path) -> None:
    asked = []

    class Busy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            busy = len(asked) < 3
            body = b'{"code": "server_full", "detail": "Full."}' if busy else b'{"status": "ok"}'
            self.send_response(503 if busy else 200)
            self.send_header("Retry-After", "0.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as busy:
        threading.Thread(target=busy.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{busy.server_address[1]}"
        with Client(url) as client:
            assert client.health() == {"status": "ok"}
        assert len(asked) == 3
        asked.clear()
        with Client(url, patience_s=0) as client, pytest.raises(RemoteBusyError, match="Full"):
            client.health()
        busy.shutdown()
    with Client(url) as client, pytest.raises(RemoteError, match="cannot be reached"):
        client.health()
