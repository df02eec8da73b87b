"""Real codecs at low rates, by PyAV. They run on the CPU, one mixture at a time (15 ms for a second of it)."""

from __future__ import annotations

import dataclasses
import fractions

import av
import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]

MOST_DELAY_S = 0.1


@dataclasses.dataclass(frozen=True)
class Codec:
    """An encoder that PyAV brings, at one sample rate and bit rate."""

    encoder: str
    decoder: str
    sample_rate: int
    bit_rate: int
    sample_format: str = "s16"


CODECS = (
    Codec("libopencore_amrnb", "amrnb", 8_000, 12_200),
    Codec("libopencore_amrnb", "amrnb", 8_000, 6_700),
    Codec("libopus", "opus", 16_000, 12_000),
    Codec("libopus", "opus", 16_000, 20_000),
    Codec("libmp3lame", "mp3", 16_000, 24_000, "s16p"),
)


def coded(mixture: Samples, codec: Codec, sample_rate: int) -> Samples:
    """(samples,) as it comes back from the codec: as long as before, in step with it, and as loud."""
    peak = float(np.abs(mixture).max(initial=0.0))
    if peak == 0.0:
        return mixture
    sent = soxr.resample(mixture * np.float32(0.5 / peak), sample_rate, codec.sample_rate)
    heard = _through(np.asarray(sent, np.float32), codec)
    back = np.asarray(soxr.resample(heard, codec.sample_rate, sample_rate), np.float32) * np.float32(peak / 0.5)
    return _in_step(back, mixture, round(MOST_DELAY_S * sample_rate))


def _through(sent: Samples, codec: Codec) -> Samples:
    encoder = av.CodecContext.create(codec.encoder, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.bit_rate, encoder.layout, encoder.format = (
        codec.sample_rate, codec.bit_rate, "mono", codec.sample_format,
    )  # fmt: skip
    encoder.time_base = fractions.Fraction(1, codec.sample_rate)
    encoder.open()
    size = encoder.frame_size or 160
    packets = []
    for number, start in enumerate(range(0, len(sent) + 2 * size, size)):
        block = np.zeros((1, size), np.int16)
        part = sent[start : start + size]
        block[0, : len(part)] = np.clip(np.round(part * 32767.0), -32768, 32767)
        frame = av.AudioFrame.from_ndarray(block, codec.sample_format, "mono")
        frame.sample_rate, frame.pts = codec.sample_rate, number * size
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create(codec.decoder, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = codec.sample_rate, "mono"
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    parts = [_floats(frame) for frame in frames]
    rate = frames[0].sample_rate if frames else codec.sample_rate
    heard = np.concatenate(parts) if parts else np.zeros(len(sent), np.float32)
    return np.asarray(soxr.resample(heard, rate, codec.sample_rate) if rate != codec.sample_rate else heard, np.float32)


def _floats(frame: av.AudioFrame) -> Samples:
    block = frame.to_ndarray()
    samples = block.reshape(-1) if not frame.format.is_planar else block[0]
    return np.asarray(samples / np.float32(32768.0) if block.dtype == np.int16 else samples, np.float32)


def _in_step(heard: Samples, mixture: Samples, most_delay: int) -> Samples:
    """What was heard, moved to where it fits the mixture best, and as long."""
    padded = np.zeros(len(mixture) + most_delay, np.float32)
    padded[: len(heard)] = heard[: len(padded)]
    size = len(padded) + len(mixture)
    match = np.fft.irfft(np.fft.rfft(padded, size) * np.conj(np.fft.rfft(mixture, size)), size)
    delay = int(np.argmax(match[: most_delay + 1]))
    return padded[delay : delay + len(mixture)]
