"""Recordings longer than a segment: nothing is heard where segments meet."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.metrics import si_sdr_improvement_db
from unmingle.model.separator import Separator
from unmingle.model.signal.segments import SegmentLayout
from unmingle.model.weights.bundled import bundled_model

RATE = 16_000
WHOLE = SegmentLayout(frames=10**6, overlap=0)
SHORT = SegmentLayout(frames=400, overlap=50)


@pytest.fixture(scope="module")
def embedder():
    return OnnxEmbedder(bundled_model(), "cpu")


@pytest.mark.slow
def test_segments_separate_as_well_as_the_whole(embedder, example):
    """On a minute of two speakers, cutting costs at most 0.2 dB."""
    case = example("two_speakers")
    times = 60 * RATE // case.mixture.size
    # Each time round the speakers are out of step by another second, so that no two segments hear the same mixture.
    sources = np.stack(
        [np.tile(case.sources[0], times), np.concatenate([np.roll(case.sources[1], RATE * i) for i in range(times)])]
    )
    mixture = sources.sum(0)
    scores = [
        si_sdr_improvement_db(Separator(embedder, layout).separate(mixture, RATE).stems, sources, mixture).mean()
        for layout in (WHOLE, SegmentLayout())
    ]
    assert scores[1] > scores[0] - 0.2


def test_no_click_where_segments_meet(embedder, example):
    """On a steady tone plus speech, the stems are nowhere rougher than the mixture is at that moment."""
    speech = np.tile(example("two_speakers").sources[0], 4)
    tone = 0.05 * np.sin(2 * np.pi * 440.0 * np.arange(speech.size) / RATE).astype(np.float32)
    mixture = speech + tone
    stems = Separator(embedder, SHORT).separate(mixture, RATE).stems
    # Of a tone of 440 Hz and of voices, the second difference leaves little; of a click, nearly all.
    allowed = np.abs(np.diff(mixture, 2))
    rough = np.abs(np.diff(stems, 2))
    frame = 512
    step = (SHORT.frames - SHORT.overlap) * 128
    starts = range(step, speech.size - frame - SHORT.overlap * 128, step)
    borders = [at for start in starts for at in (start, start + SHORT.overlap * 128)]
    assert len(borders) > 6
    for border in borders:
        here = rough[:, border - 16 : border + 16].max()
        assert here <= 1.1 * allowed[border - frame : border + frame].max()
