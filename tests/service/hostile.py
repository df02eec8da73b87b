"""Files that somebody made to hurt: what each claims, and what it holds instead. They are made when they are needed."""

from __future__ import annotations

import dataclasses
import io
import random
import struct
import zipfile

import numpy as np
import soundfile

from tests.service import formats

RATE = 16_000
SPEECHLIKE = (0.3 * np.sin(np.cumsum(np.random.default_rng(0).uniform(0, 0.3, RATE)))).astype(np.float32)


def encoded(samples: np.ndarray, rate: int, format: str, subtype: str, endian: str = "FILE") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype, endian=endian)
    return buffer.getvalue()


SEEDS = {
    "wav": encoded(SPEECHLIKE, RATE, "WAV", "PCM_16"),
    "float": encoded(SPEECHLIKE, RATE, "WAV", "FLOAT"),
    "extensible": encoded(np.stack([SPEECHLIKE] * 3, 1), RATE, "WAVEX", "PCM_24"),
    "rf64": encoded(SPEECHLIKE, RATE, "RF64", "FLOAT"),
    "w64": encoded(SPEECHLIKE, RATE, "W64", "PCM_24"),
    "flac": encoded(SPEECHLIKE, RATE, "FLAC", "PCM_16"),
    "vorbis": encoded(SPEECHLIKE, RATE, "OGG", "VORBIS"),
    "opus": encoded(SPEECHLIKE, RATE, "OGG", "OPUS"),
    "mp3": encoded(SPEECHLIKE, RATE, "MP3", "MPEG_LAYER_III"),
    **{
        name: formats.encoded(np.stack([SPEECHLIKE] * kind.channels, 1), dataclasses.replace(kind, rate=RATE))
        for name, kind in formats.KINDS.items()
        if name in ("aiff", "caf alac", "au", "sphere", "m4a", "aac", "3gp", "webm", "mp4 video", "mkv", "wavpack")
    },
    "amr": formats.encoded(SPEECHLIKE[:, None], formats.KINDS["amr"]),
    "wma": formats.encoded(SPEECHLIKE[:, None], dataclasses.replace(formats.KINDS["wma"], channels=1)),
}
"""One good second in every format that we read."""


def wav(
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    data: bytes = b"\0\0" * 100,
    before: bytes = b"",
    announced: int | None = None,
) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block % 2**32, block % 2**16, bits)
    length = len(data) if announced is None else announced
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + before + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", len(chunks) % 2**32) + chunks


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def silence(seconds: float, rate: int, channels: int, format: str, subtype: str) -> bytes:
    """Hours that take no space: the zip bomb of audio."""
    buffer = io.BytesIO()
    second = np.zeros((rate, channels), np.float32)
    with soundfile.SoundFile(buffer, "w", rate, channels, subtype, format=format) as file:
        for _ in range(int(seconds)):
            file.write(second)
    return buffer.getvalue()


def rifx() -> bytes:
    """A WAV whose numbers begin with the highest byte."""
    file = io.BytesIO()
    soundfile.write(file, SPEECHLIKE, RATE, "PCM_16", "BIG", "WAV")
    return file.getvalue()


def hostile() -> dict[str, bytes]:
    """All of them, by what they are."""
    files = {**_forged(), **_bombs(), **_other_codecs(), **_nested(), **_bad_samples(), **_polyglots()}
    for name, content in SEEDS.items():
        for part in (0.999, 0.9, 0.5, 0.1, 0.01):
            files[f"{name} cut at {part}"] = content[: int(part * len(content))]
        for length in (1, 4, 11, 12, 13, 27, 28, 36, 42, 44, 58, 80):
            files[f"{name} of {length} bytes"] = content[:length]
    return files


def _forged() -> dict[str, bytes]:
    flac = SEEDS["flac"]
    floats = SPEECHLIKE.astype("<f4").tobytes()
    files = {
        "flac of 2^36 - 1 samples": flac[:21] + bytes([flac[21] | 0x0F]) + b"\xff" * 4 + flac[26:],
        "flac with blocks of 65535": flac[:8] + b"\xff" * 4 + flac[12:],
        "flac with frames of 16 MB": flac[:12] + b"\xff" * 6 + flac[18:],
        "flac of 655350 Hz": flac[:18] + b"\x9f\xff\xf0" + flac[21:],
        "flac with a picture of 16 MB": flac[:4]
        + bytes([flac[4] & 0x7F])
        + flac[5:42]
        + b"\x86\xff\xff\xff"
        + flac[42:],
        "flac that is metadata only": flac[:4] + bytes([flac[4] & 0x7F]) + flac[5:42] + b"\x01\0\0\0" * 10_000,
        "rf64 of 2^64 - 1 bytes": SEEDS["rf64"][:28] + b"\xff" * 16 + SEEDS["rf64"][44:],
        "w64 of 2^63 bytes": SEEDS["w64"][:16] + b"\0" * 7 + b"\x80" + SEEDS["w64"][24:],
        "mp3 behind a tag of 256 MB": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + SEEDS["mp3"],
    }
    for length in (0, 1, 3, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF):
        files[f"wav of {length} bytes"] = wav(tag=3, bits=32, data=floats, announced=length)
    for channels in (0, 9, 255, 1024, 65535):
        files[f"wav of {channels} channels"] = wav(channels=channels, data=bytes(2048))
    for rate in (0, 1, 3999, 192_001, 2**32 - 1):
        files[f"wav of {rate} Hz"] = wav(rate=rate)
    for bits in (0, 1, 12, 64, 65535):
        files[f"wav of {bits} bits"] = wav(bits=bits)
    for name, at in (("vorbis", 39), ("opus", 37)):
        changed = bytearray(SEEDS[name])
        changed[at] = 255
        files[f"{name} of 255 channels"] = bytes(changed)
    return files


def _bombs() -> dict[str, bytes]:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.wav", bytes(50_000_000))
    return {
        "opus of ten minutes": silence(600, 8_000, 1, "OGG", "OPUS"),
        "vorbis of ten minutes": silence(600, 4_000, 1, "OGG", "VORBIS"),
        "flac of 180 MB": silence(30, 192_000, 8, "FLAC", "PCM_16"),
        "zip": zipped.getvalue(),
        "zip in an ogg page": b"OggS" + bytes(22) + b"\x01\xff" + zipped.getvalue(),
    }


def _other_codecs() -> dict[str, bytes]:
    files = {
        f"{format} {subtype}": encoded(SPEECHLIKE, RATE, format, subtype)
        for format, subtype in (
            *(
                ("WAV", subtype)
                for subtype in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "ULAW", "ALAW", "G721_32", "NMS_ADPCM_32")
            ),
            *(("W64", subtype) for subtype in ("IMA_ADPCM", "ULAW")),
            *(
                (format, "PCM_16")
                for format in ("AIFF", "AU", "CAF", "SVX", "NIST", "VOC", "IRCAM", "MAT5", "PVF", "SDS")
            ),
            ("CAF", "ALAC_16"),
            ("PAF", "PCM_16"),
            ("XI", "DPCM_16"),
        )
    }
    files["rifx"] = rifx()
    files["rifx with sizes the wrong way round"] = b"RIFX" + SEEDS["wav"][4:]
    adpcm = struct.pack("<HHIIHH", 0x11, 1, RATE, RATE // 2, 256, 4) + struct.pack("<HH", 2, 505)
    files["wav that turns into IMA ADPCM"] = wav(before=chunk(b"fmt ", adpcm), data=bytes(4096))
    files["mpeg layer 1"] = b"\xff\xff\x50\xc4" + bytes(2000)
    files["speex"] = b"OggS" + bytes(22) + b"\x01\x50Speex   1.2" + bytes(68)
    files["theora"] = b"OggS" + bytes(22) + b"\x01\x2a\x80theora" + bytes(35)
    return files


def _nested() -> dict[str, bytes]:
    deep = b""
    for _ in range(2000):
        deep = chunk(b"LIST", b"INFO" + deep)
    return {
        "lists in lists": wav(before=deep),
        "lists that are cut": b"RIFF\0\0\x10\0WAVE" + b"LIST\xff\xff\xff\x7f" * 5000,
        "riff in riff": b"RIFF" + struct.pack("<I", 4 + len(SEEDS["wav"])) + b"WAVE" + SEEDS["wav"],
        "5000 chunks": wav(before=chunk(b"junk", b"") * 5000),
        "63 chunks": wav(before=chunk(b"junk", b"x") * 60),
        "no format": b"RIFF\x24\0\0\0WAVEdata" + bytes(100),
        "data before format": b"RIFF\x24\0\0\0WAVE" + chunk(b"data", bytes(100)) + SEEDS["wav"][12:],
        "a cue of 2^32 points": wav(before=chunk(b"cue ", b"\xff" * 28)),
        "an instrument with loops": wav(before=chunk(b"smpl", b"\xff" * 60)),
        "a broadcast extension": wav(before=chunk(b"bext", b"\xff" * 700)),
    }


def _bad_samples() -> dict[str, bytes]:
    files = {}
    for name, value in (("nan", np.nan), ("infinity", np.inf), ("-infinity", -np.inf)):
        for at in (0, RATE // 2, RATE - 1):
            samples = SPEECHLIKE.copy()
            samples[at] = value
            files[f"{name} at {at}"] = encoded(samples, RATE, "WAV", "FLOAT")
    loud = SPEECHLIKE.astype(np.float64)
    for factor in (1e10, 1e19, 1e30, 3e38, 1e300):
        for subtype in ("FLOAT", "DOUBLE"):
            if factor < 1e38 or subtype == "DOUBLE":
                files[f"{subtype} times {factor:g}"] = encoded(loud * factor, RATE, "WAV", subtype)
    files["denormals"] = encoded(SPEECHLIKE * np.float32(1e-40), RATE, "WAV", "FLOAT")
    files["largest floats"] = encoded(np.sign(SPEECHLIKE) * np.finfo(np.float32).max, RATE, "WAV", "FLOAT")
    files["full scale"] = encoded(np.sign(SPEECHLIKE), RATE, "WAV", "PCM_16")
    return files


def _polyglots() -> dict[str, bytes]:
    noise = random.Random(0).randbytes(20_000)
    return {
        "wav and zip": SEEDS["wav"] + b"PK\x03\x04" + noise,
        "zip and wav": b"PK\x03\x04" + SEEDS["wav"],
        "html and mp3": b"<html><script>alert(1)</script>" + SEEDS["mp3"],
        "mp3 and html": SEEDS["mp3"] + b"<html><script>alert(1)</script>",
        "pdf in wav": wav(before=chunk(b"note", b"%PDF-1.7\n" + noise)),
        "elf": b"\x7fELF" + noise,
        "png": b"\x89PNG\r\n\x1a\n" + noise,
        "gif": b"GIF89a" + noise,
        "m4a": b"\0\0\0\x20ftypM4A " + noise,
        "a playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
        "a playlist in an mp4": SEEDS["m4a"][:32] + b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n",
        "a list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "mp4 boxes in boxes": SEEDS["m4a"][:32] + (b"\0\0\xff\xffmoov" * 4000),
        "mp4 of a box of 2^64 bytes": SEEDS["m4a"][:32] + b"\0\0\0\x01mdat" + b"\xff" * 8 + noise,
        "matroska of unknown sizes": SEEDS["webm"][:40] + b"\x18\x53\x80\x67" + b"\x01" + b"\xff" * 7 + noise,
        "amr frames of noise": b"#!AMR\n" + noise,
        "adts frames of noise": b"".join(
            b"\xff\xf1\x50\x80\x30\x1f\xfc" + noise[i : i + 378] for i in range(0, 9000, 378)
        ),
        "webm": b"\x1aE\xdf\xa3" + noise,
        "flac behind id3": b"ID3\x04\0\0\0\0\0\0" + SEEDS["flac"],
        "opus then vorbis": SEEDS["opus"] + SEEDS["vorbis"],
        "vorbis then opus": SEEDS["vorbis"] + SEEDS["opus"],
        "vorbis at two rates": SEEDS["vorbis"] + encoded(SPEECHLIKE, 44_100, "OGG", "VORBIS"),
        "mp3 at two rates": SEEDS["mp3"] + encoded(SPEECHLIKE, 44_100, "MP3", "MPEG_LAYER_III"),
        "mp3, then stereo": SEEDS["mp3"] + encoded(np.stack([SPEECHLIKE] * 2, 1), RATE, "MP3", "MPEG_LAYER_III"),
        "flac twice": SEEDS["flac"] * 2,
        "letters": b"This is no audio, but a letter." * 100,
        "zeros": bytes(10_000),
        "ones": b"\xff" * 10_000,
        "mp3 frames of noise": b"".join(b"\xff\xfb\x90\x00" + noise[i : i + 413] for i in range(0, 8000, 413)),
        "an ogg of empty pages": (b"OggS" + bytes(23)) * 400,
    }
