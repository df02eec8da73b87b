"""Multipart bodies that are damaged or made to hurt: each is read, or refused with a 4xx that says what was wrong."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.fuzzing import REFUSALS
from tests.service.harness import RunningServer, connect, encoded, problem_of, unpack
from tests.service.hostile import SEEDS, wav
from unmingle.service.problems import KINDS

BEGIN = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
END = b"\r\n--xyz--\r\n"
WHOLE = BEGIN + SEEDS["flac"] + END
NAME = b"--xyz\r\nContent-Disposition: form-data; name="
FORM_REFUSALS = {"multipart_expected", "multipart_malformed", "too_many_parts", "file_missing", "parameter_invalid"}
"""What a form can be refused for, apart from the file in it."""


def send(server: RunningServer, content: bytes, kind: bytes = b"multipart/form-data; boundary=xyz") -> httpx.Response:
    return server.http.post("/separate", content=content, headers={b"content-type": kind}, timeout=60)


@pytest.mark.parametrize(
    "content",
    [
        WHOLE,
        WHOLE[:-2],  # some clients send no line end after the last boundary
        WHOLE + b"epilogue" * 1000,
        BEGIN.replace(b"filename=", b"filename=\"b.wav\"; filename*=utf-8''%ff%00; filename=") + SEEDS["flac"] + END,
        BEGIN.replace(b"\r\n\r\n", b"\r\nX-Other: " + b"y" * 4000 + b"\r\n\r\n") + SEEDS["flac"] + END,
    ],
    ids=["whole", "no last line end", "epilogue", "names", "long header"],
)
def test_what_is_unusual_is_read(server: RunningServer, content: bytes) -> None:
    _, stems = unpack(send(server, content))
    assert stems


@pytest.mark.parametrize("kind", [b'multipart/form-data; boundary="xyz"', b"Multipart/Form-Data; a=b; Boundary=xyz"])
def test_boundaries_are_named_in_more_than_one_way(server: RunningServer, kind: bytes) -> None:
    _, stems = unpack(send(server, WHOLE, kind))
    assert stems


def test_a_recording_may_hold_what_looks_like_the_boundary(server: RunningServer) -> None:
    looks = b"--xyz--\r\n--xy\r\n-\r\n\r\n--xyz\r--xyz-\r\n\r\n--xy--xyz--" * 200
    samples = np.frombuffer(looks[: len(looks) // 2 * 2], "<i2").astype(np.float32) / 2**15
    content = encoded(samples, 16_000, subtype="PCM_16")
    assert looks[:1000] in content
    response = server.http.post(
        "/separate",
        content=BEGIN + content + END,
        headers={"content-type": "multipart/form-data; boundary=xyz", "accept": "application/json"},
    )
    assert response.status_code == 200, response.text
    assert response.json()["samples"] == len(samples)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (BEGIN + b"RIFF\r\n--xyz\r\nmore" + END, 400, "multipart_malformed"),
        (BEGIN + wav() + b"\r\n--xyz-", 400, "multipart_malformed"),
        (BEGIN + wav() + b"\r\n--xyz-\r\n", 400, "multipart_malformed"),
        (BEGIN + wav() + b"\r\n--other--\r\n", 400, "multipart_malformed"),
        (b"preamble\r\n" + WHOLE, 400, "multipart_malformed"),
        (BEGIN.replace(b"\r\n", b"\n") + wav() + END, 400, "multipart_malformed"),
        (b"--xyz\r\n" * 10_000, 400, "multipart_malformed"),
        (b"--xyz\r\n: \r\n\r\n" + END, 400, "multipart_malformed"),
        (b"--xyz\r\nContent-Disposition\r\n\r\nx" + END, 400, "multipart_malformed"),
        (b"--xyz\r\n\0\xff: x\r\n\r\nx" + END, 400, "multipart_malformed"),
        (b"--xyz\r\n" + b"X: y\r\n" * 100_000, 400, "multipart_malformed"),
        (BEGIN.replace(b"\r\n\r\n", b"\r\nX-Other: " + b"y" * 9000 + b"\r\n\r\n") + wav(), 400, "multipart_malformed"),
        (b"--xyz\r\n" + b"X" * 100_000, 400, "multipart_malformed"),
        (NAME + b'"' + b"n" * 100_000, 400, "multipart_malformed"),
        (NAME + b'"seed"\r\n\r\n' + b"1" * 100_000 + END, 400, "multipart_malformed"),
        ((NAME + b'"a"\r\n\r\nx\r\n') * 10_000 + END[2:], 400, "too_many_parts"),
        ((BEGIN + b"RIFF\r\n") * 2 + END[2:], 400, "too_many_parts"),
        (b"--xyz--\r\n", 422, "file_missing"),
        (b"--xyz--\r\n" + WHOLE, 422, "file_missing"),
        (NAME + b"*=utf-8''file\r\n\r\nRIFF" + END, 422, "file_missing"),
        (NAME + b"*=nonsense''%ff%\r\n\r\nRIFF" + END, 422, "file_missing"),
        (NAME + b'"\xff\xfe\0"\r\n\r\nRIFF' + END, 422, "file_missing"),
        (NAME + b';;;="\\;' + b";a=" * 1000 + b"\r\n\r\nRIFF" + END, 422, "file_missing"),
        (BEGIN + END, 422, "file_empty"),
        (BEGIN + b"\r\n--xy" * 1000 + END, 415, "format_unsupported"),
    ],
)
def test_what_is_malformed_is_refused(server: RunningServer, content: bytes, status: int, code: str) -> None:
    problem_of(send(server, content), status, code)
    assert send(server, WHOLE).status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (b"multipart/form-data; boundary=" + b"x" * 300, 400, "multipart_malformed"),
        (b"multipart/form-data; boundary=" + b"x" * 30_000, 400, "multipart_malformed"),
        (b"multipart/form-data; boundary=x\xff\xfe", 400, "multipart_malformed"),
        (b'multipart/form-data; boundary="xyz', 400, "multipart_malformed"),
        (b"multipart/form-data; boundary=", 415, "multipart_expected"),
        (b'multipart/form-data; boundary=""', 415, "multipart_expected"),
        (b"multipart/form-data; boundary*=%%%'x", 415, "multipart_expected"),
        (b"multipart/form-data", 415, "multipart_expected"),
        (b"multipart/mixed; boundary=xyz", 415, "multipart_expected"),
        (b";", 415, "multipart_expected"),
        (b"", 415, "multipart_expected"),
    ],
)
def test_a_boundary_that_cannot_be_one(server: RunningServer, kind: bytes, status: int, code: str) -> None:
    problem_of(send(server, WHOLE, kind), status, code)


@pytest.mark.parametrize(
    "begin", [b"--xyz\r\nX", b"--xyz\r\nX: ", NAME + b'"seed"\r\n\r\n'], ids=["name", "value", "field"]
)
def test_what_never_ends_is_refused_when_it_is_too_long(server: RunningServer, begin: bytes) -> None:
    head = (
        b"POST /separate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: multipart/form-data; boundary=xyz\r\n\r\n"
    )
    body = begin + b"y" * 20_000
    with connect(server) as client:
        client.settimeout(60)
        client.sendall(head + f"{len(body):x}\r\n".encode() + body + b"\r\n")  # and no last chunk
        answer = b""
        while b"multipart_malformed" not in answer:
            more = client.recv(65536)
            assert more, answer
            answer += more
        assert answer.startswith(b"HTTP/1.1 400 ")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [BEGIN, END, NAME, b"--xyz", b"--xyz--", b"\r\n", b"\r", b"\n", b'"', b"*=", b": ", b";", b"\0", b"RIFF"]
        )
        | st.binary(max_size=20),
        max_size=30,
    ),
    st.binary(max_size=40).map(lambda text: bytes(byte for byte in text if byte > 32 and byte != 127)),
)
def test_what_hypothesis_makes_of_it(server: RunningServer, pieces: list[bytes], parameters: bytes) -> None:
    for kind in (b"multipart/form-data; boundary=xyz", b"multipart/form-data; boundary" + parameters):
        response = send(server, b"".join(pieces), kind)
        code = response.json()["code"]
        assert code in FORM_REFUSALS | REFUSALS
        assert problem_of(response, KINDS[code].status, code)["detail"]
    assert not server.spooled()
