"""The benchmark of microphone arrays: its rooms and what it compares with."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pyroomacoustics")

from benchmarks import arrays
from benchmarks.array_baselines import _order, cacgmm, mvdr, true_masks
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
    case = scene(Setting(2, "panned", 0.0, snr_db=60.0), FILES, 2.0, np.random.default_rng(1))
    spectra, images = stft.analyse(case.mixture, 1024, 256), stft.analyse(case.images, 1024, 256)

    def improvement(separated):
        stems = stft.synthesise(separated, case.mixture.shape[1], 1024, 256)
        scores = si_sdr_db(stems[None], case.images[:, 0][:, None])
        found = scores[np.arange(2), best_permutation(scores)]
        return (found - si_sdr_db(case.mixture[0], case.images[:, 0])).mean()

    assert improvement(mvdr(spectra, true_masks(images, spectra), 2)[:, 0]) > 12.0
    masks = cacgmm(spectra, 2, np.random.default_rng(0), iterations=20)
    np.testing.assert_allclose(masks.sum(0), 1.0, atol=1e-5)
    assert improvement(masks * spectra[0]) > 8.0


def test_components_that_are_mixed_up_are_put_in_order():
    rng = np.random.default_rng(0)
    who = rng.dirichlet(0.3 * np.ones(3), 120).T
    masks = 0.5 * who[:, None] + 0.5 * rng.dirichlet(np.ones(3), (513, 120)).transpose(2, 0, 1)
    mixed = np.stack([rng.permutation(3) for _ in range(513)], axis=1)
    order = _order(np.take_along_axis(masks, mixed[..., None], 0))
    # Who is who is not known, but it is the same in all bins.
    found = np.take_along_axis(mixed, order, 0)
    assert (found == found[:, :1]).mean() > 0.99


def test_what_was_measured_is_kept_and_not_measured_again(tmp_path, capsys, monkeypatch):
    sources = [EXAMPLES / folder / "source_1.flac" for folder in ("two_speakers", "three_speakers")]
    sources += [EXAMPLES / folder / "source_2.flac" for folder in ("two_speakers", "three_speakers")]
    lines = [f"{path},valid,LibriSpeech,{number}" for number, path in enumerate(sources)]
    (tmp_path / "metadata.csv").write_text("\n".join(["path,split,dataset,speaker", *lines]))
    results = tmp_path / "results.jsonl"
    asked = ["--corpus", str(tmp_path), "--only", "panned", "--recordings", "1", "--seconds", "1", "--quick"]
    assert arrays.main([*asked, "--results", str(results)]) == 0
    first = capsys.readouterr().out
    row = next(line for line in first.splitlines() if line.startswith("| 2 panned"))
    assert len(results.read_text().splitlines()) == 1
    assert row.rstrip().endswith("| 1 |")
    assert all(name in first for name in ("best channel", "MVDR, true masks", "times"))

    monkeypatch.setattr(arrays, "figures", None)
    assert arrays.main([*asked, "--results", str(results), "--field", str(tmp_path)]) == 0
    again = capsys.readouterr().out
    assert row in again
    assert f"Skipped: {tmp_path / 'two_channels.flac'} is not there." in again
