"""Good files in the formats that people have, made when they are needed: by libsndfile, and by FFmpeg through PyAV."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import soundfile


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way to write a file.

    Attributes:
        container, codec: libsndfile's names in capitals, or FFmpeg's.
        rate: Hz that it is written at.
        channels: how many.
        accuracy_db: least SI-SDR of what is read against what was written; codecs for telephones have little.
        delay: samples by which it may come later than it went in.
    """

    container: str
    codec: str
    rate: int = 16_000
    channels: int = 1
    accuracy_db: float = 60.0
    delay: int = 0
    video: bool = False


KINDS = {
    "wav 8 bit": Kind("WAV", "PCM_U8", accuracy_db=20),
    "wav 16 bit": Kind("WAV", "PCM_16"),
    "wav 24 bit": Kind("WAV", "PCM_24"),
    "wav 32 bit": Kind("WAV", "PCM_32"),
    "wav float": Kind("WAV", "FLOAT"),
    "wav double": Kind("WAV", "DOUBLE"),
    "wav a-law": Kind("WAV", "ALAW", 8_000, accuracy_db=30),
    "wav mu-law": Kind("WAV", "ULAW", 8_000, accuracy_db=30),
    "wav gsm": Kind("WAV", "GSM610", 8_000, accuracy_db=3, delay=320),
    "wav ima adpcm": Kind("WAV", "IMA_ADPCM", accuracy_db=15),
    "wav ms adpcm": Kind("WAV", "MS_ADPCM", accuracy_db=15),
    "wavex": Kind("WAVEX", "PCM_24", 48_000, 6),
    "rf64": Kind("RF64", "PCM_16"),
    "w64": Kind("W64", "PCM_24"),
    "rifx": Kind("WAV", "PCM_16:BIG"),
    "aiff": Kind("AIFF", "PCM_16", 44_100, 2),
    "aiff float": Kind("AIFF", "FLOAT"),
    "aifc mu-law": Kind("AIFF", "ULAW", 8_000, accuracy_db=30),
    "caf": Kind("CAF", "PCM_24", 48_000),
    "caf alac": Kind("CAF", "ALAC_16", 44_100),
    "au": Kind("AU", "PCM_16"),
    "sphere": Kind("NIST", "PCM_16"),
    "sphere mu-law": Kind("NIST", "ULAW", 8_000, accuracy_db=30),
    "flac": Kind("FLAC", "PCM_16"),
    "flac 24 bit": Kind("FLAC", "PCM_24", 96_000, 2),
    "ogg vorbis": Kind("OGG", "VORBIS", 44_100, 2, accuracy_db=12),
    "ogg opus": Kind("OGG", "OPUS", 48_000, accuracy_db=8),
    "ogg flac": Kind("ogg", "flac"),
    "mp3": Kind("MP3", "MPEG_LAYER_III", 44_100, 2, accuracy_db=12),
    "mp2": Kind("mp2", "mp2", 48_000, accuracy_db=12, delay=1000),
    "m4a": Kind("ipod", "aac", 44_100, accuracy_db=10, delay=1100),
    "m4a alac": Kind("ipod", "alac", 44_100, 2),
    "aac": Kind("adts", "aac", 44_100, accuracy_db=10, delay=1100),
    "mp4 video": Kind("mp4", "aac", 48_000, 2, accuracy_db=10, delay=1100, video=True),
    "mov": Kind("mov", "pcm_s16le", 48_000, 2, video=True),
    "3gp": Kind("3gp", "aac", 16_000, accuracy_db=10, delay=1100),
    "3gp amr": Kind("3gp", "libopencore_amrnb", 8_000, accuracy_db=-3, delay=200),
    "amr": Kind("amr", "libopencore_amrnb", 8_000, accuracy_db=-3, delay=200),
    "webm": Kind("webm", "libopus", 48_000, accuracy_db=8, delay=400),
    "mkv": Kind("matroska", "flac", 48_000, 2, video=True),
    "mka ac-3": Kind("matroska", "ac3", 48_000, 6, accuracy_db=10, delay=300),
    "wma": Kind("asf", "wmav2", 44_100, 2, accuracy_db=10, delay=2100),
    "avi": Kind("avi", "mp2", 48_000, 2, accuracy_db=10, delay=1000, video=True),
    "wavpack": Kind("wv", "wavpack", 44_100),
    "mpeg-ts": Kind("mpegts", "aac", 48_000, accuracy_db=10, delay=1100),
}
"""What is read, by its name in docs/formats.md."""

NEED_FFMPEG = [name for name, kind in KINDS.items() if kind.container.islower()]


def encoded(samples: np.ndarray, kind: Kind) -> bytes:
    """A file of (samples, channels) of float32 at the kind's rate."""
    if kind.container.islower():
        return _by_ffmpeg(samples, kind)
    buffer = io.BytesIO()
    subtype, _, endian = kind.codec.partition(":")
    soundfile.write(buffer, samples, kind.rate, subtype, endian or "FILE", kind.container)
    return buffer.getvalue()


def _by_ffmpeg(samples: np.ndarray, kind: Kind) -> bytes:
    import av

    layout = {1: "mono", 2: "stereo", 6: "5.1"}[kind.channels]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind.container) as container:
        picture = None
        if kind.video:
            picture = container.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        sound = container.add_stream(kind.codec, rate=kind.rate)
        sound.layout = layout
        taken = {form.name for form in sound.codec_context.codec.audio_formats or ()}
        sound.format = next((form for form in ("fltp", "flt", "s32", "s16p", "s16") if form in taken), "s16")
        if kind.codec != "flac" and not kind.codec.startswith("pcm"):
            sound.bit_rate = 12_200 if "amr" in kind.codec else 128_000 * kind.channels
        if picture:
            for _ in range(max(1, 10 * len(samples) // kind.rate)):
                still = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                container.mux(picture.encode(still))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1), np.float32), "flt", layout)
        frame.sample_rate, frame.pts = kind.rate, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        if picture:
            container.mux(picture.encode(None))
    return buffer.getvalue()
