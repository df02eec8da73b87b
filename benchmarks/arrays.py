"""Several microphones beside the best one of them, beside places without a network, and beside true masks.

SI-SDR improvements in dB over the recording, on simulated rooms and panned stereo; `times` is the time that all
channels take beside one of them, measured in the same run.

    python -m benchmarks.arrays --corpus DIR [--split valid] [--mixtures 4] [--only panned]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.array_baselines import mvdr, cacgmm as places_alone, true_masks
from benchmarks.array_rooms import RATE, Scene, Setting, scene, voices
from unmingle import SeparationOptions, Separator
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.metrics import best_permutation, si_sdr_db
from unmingle.model.signal import stft

SETTINGS = (
    Setting(2, "linear"),
    Setting(2, "panned", 0.0, snr_db=60.0),
    Setting(4, "circular", 0.2),
    Setting(4, "circular"),
    Setting(4, "linear"),
    Setting(4, "ad hoc"),
    Setting(4, "circular", 0.6),
    Setting(4, "circular", snr_db=10.0),
    Setting(4, "circular", speakers=3),
    Setting(4, "circular", speakers=4),
    Setting(4, "moving"),
    Setting(8, "circular"),
    Setting(8, "ad hoc", 0.6, speakers=3),
)
WINDOW, HOP = 2048, 512


@dataclasses.dataclass(frozen=True)
class Row:
    """Figures of one recording: dB of improvement, but for `times`."""

    alone: float
    masks: float
    places: float
    ours: float
    enhanced: float
    oracle: float
    times: float


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="a folder with a metadata.csv")
    parser.add_argument("--split", default="valid")
    parser.add_argument("--mixtures", type=int, default=4, help="recordings of each kind")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", default="", help="kinds whose name has this in it")
    parser.add_argument("--field", type=Path, help="a stereo recording with one source in each channel")
    options = parser.parse_args()
    separator = Separator.load(device="cpu")
    assert isinstance(separator.embedder, OnnxEmbedder)
    print(f"Model {separator.embedder.config.name} ({separator.embedder.model_hash}), {options.split} speakers.\n")
    print(
        "| microphones | best channel | same masks | places alone | both | enhanced | MVDR, true masks | gain | times |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    files = voices(options.corpus, options.split)
    for setting in SETTINGS:
        name = (
            f"{setting.microphones} {setting.geometry}, RT60 {setting.rt60_s:g} s, {setting.speakers} speakers, "
            f"noise {setting.snr_db:g} dB below"
        )
        if options.only not in name:
            continue
        rows = []
        for number in range(options.mixtures):
            rng = np.random.default_rng([number, setting.microphones, setting.speakers])
            rows.append(measure(separator, scene(setting, files, options.seconds, rng), rng))
        mean = {
            field.name: statistics.mean(getattr(row, field.name) for row in rows) for field in dataclasses.fields(Row)
        }
        print(
            f"| {name} | "
            + " | ".join(f"{mean[key]:.1f}" for key in ("alone", "masks", "places", "ours", "enhanced", "oracle"))
            + f" | {mean['ours'] - mean['alone']:+.1f} | {statistics.median(row.times for row in rows):.1f} |",
            flush=True,
        )
    if options.field:
        print(f"\n{options.field.name}: {in_channels(separator, options.field)}")


def measure(separator: Separator, case: Scene, rng: np.random.Generator) -> Row:
    """One recording by all methods, each in the channel that alone comes out best."""
    sources, _, samples = case.images.shape
    asked = SeparationOptions(num_sources=sources)
    one = [separator.separate(channel[None], RATE, options=asked).stems for channel in case.mixture]
    alone = [score(stems, case, c, channel=0) for c, stems in enumerate(one)]
    best = int(np.argmax(alone))

    def of(options: SeparationOptions) -> float:
        return score(separator.separate(case.mixture, RATE, options=options).stems, case, best)

    def heard(spectra: NDArray[np.complex64]) -> float:
        return score(stft.synthesise(spectra, samples, WINDOW, HOP), case, best)

    spectra, images = stft.analyse(case.mixture, WINDOW, HOP), stft.analyse(case.images, WINDOW, HOP)
    return Row(
        alone=alone[best],
        masks=of(dataclasses.replace(asked, spatial="off")),
        places=heard(places_alone(spectra, sources, rng)),
        ours=of(asked),
        enhanced=of(dataclasses.replace(asked, enhance=True)),
        oracle=heard(mvdr(spectra, true_masks(images, spectra), sources)),
        times=seconds(separator, case.mixture, asked) / seconds(separator, case.mixture[:1], asked),
    )


def score(stems: NDArray[np.float32], case: Scene, at: int, channel: int | None = None) -> float:
    """Mean SI-SDR improvement in dB at a microphone; `channel` is that of the stems, if it is another."""
    truth = case.images[:, at]
    scores = si_sdr_db(stems[None, :, at if channel is None else channel], truth[:, None])
    found = scores[np.arange(len(truth)), best_permutation(scores)]
    return float((found - si_sdr_db(case.mixture[at], truth)).mean())


def seconds(separator: Separator, mixture: NDArray[np.float32], options: SeparationOptions) -> float:
    """The less of two times."""
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        separator.separate(mixture, RATE, options=options)
        taken.append(time.perf_counter() - start)
    return min(taken)


def in_channels(separator: Separator, path: Path) -> str:
    """A recording whose channels are its sources, as far as anybody knows: how much of the other is in each stem."""
    samples, rate = soundfile.read(path, dtype="float32")
    found = []
    for spatial in ("off", "auto"):
        stems = separator.separate(samples.T, rate, options=SeparationOptions(2, spatial=spatial)).stems
        scores = si_sdr_db(stems.sum(1)[None], samples.T[:, None])
        found.append(scores[[0, 1], best_permutation(scores)].mean())
    return f"SI-SDR of the sum of channels {found[0]:.1f} dB with the same masks, {found[1]:.1f} dB with places"


if __name__ == "__main__":
    main()
