"""The benchmark of microphone arrays: its rooms and what it compares with."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pyroomacoustics")

from benchmarks.array_baselines import mvdr, places_alone, true_masks
from benchmarks.array_rooms import RATE, Setting, scene
from tests.model.conftest import EXAMPLES
from unmingle.model.metrics import best_permutation, si_sdr_db
from unmingle.model.signal import stft

FILES = {name: [EXAMPLES / "two_speakers" / f"source_{name}.flac"] for name in ("1", "2")}


@pytest.mark.parametrize("geometry", ["circular", "linear", "ad hoc", "moving", "panned"])
def test_scenes_are_their_images_and_noise(geometry):
    setting = Setting(2 if geometry == "panned" else 3, geometry, 0.2, snr_db=20.0)
    case = scene(setting, FILES, 1.0, np.random.default_rng(0))
    again = scene(setting, FILES, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(case.mixture, again.mixture)
    assert case.images.shape == (2, setting.microphones, RATE)
    noise = case.mixture - case.images.sum(0)
    snr_db = 10 * np.log10(np.square(case.images.sum(0)).mean() / np.square(noise).mean())
    assert abs(snr_db - 20.0) < 0.2
    assert not np.allclose(case.images[:, 0], case.images[:, 1], atol=1e-4)


def test_what_is_compared_with_separates_too():
    case = scene(Setting(2, "panned", 0.0, snr_db=60.0), FILES, 3.0, np.random.default_rng(1))
    spectra, images = stft.analyse(case.mixture, 1024, 256), stft.analyse(case.images, 1024, 256)

    def improvement(separated):
        stems = stft.synthesise(separated[:, 0], case.mixture.shape[1], 1024, 256)
        scores = si_sdr_db(stems[None], case.images[:, 0][:, None])
        found = scores[np.arange(2), best_permutation(scores)]
        return (found - si_sdr_db(case.mixture[0], case.images[:, 0])).mean()

    assert improvement(mvdr(spectra, true_masks(images, spectra), 2)) > 12.0
    assert improvement(places_alone(spectra, 2, np.random.default_rng(0))) > 8.0
