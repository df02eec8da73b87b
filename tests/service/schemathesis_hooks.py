"""What schemathesis, whose command loads this, sends for `binary`: short recordings, and what is none."""

from __future__ import annotations

import io

import numpy as np
import schemathesis
import soundfile
from hypothesis import strategies as st


def _recordings() -> list[bytes]:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (800, 2)).astype(np.float32)
    made = []
    for samples in (noise, noise[:, 0], noise[:1]):
        for format, subtype in (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")):
            buffer = io.BytesIO()
            soundfile.write(buffer, samples, 16_000, format=format, subtype=subtype)
            made.append(buffer.getvalue())
    return made


schemathesis.openapi.format("binary", st.one_of(st.sampled_from(_recordings()), st.binary(max_size=200)))
