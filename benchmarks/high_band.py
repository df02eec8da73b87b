"""What becomes of the band that the network does not hear? `python -m benchmarks.high_band --list L`

The corpus ends at 8 kHz, so its mixtures are given an artificial high band, source by source: what is in 4 to 8 kHz
is repeated in 8 to 12 and in 12 to 16 kHz, 6 and 12 dB weaker, as in spectral band replication. Measured is SI-SDR
above 8 kHz alone: with masks carried up, and with doing nothing (every stem gets an equal part of the mixture).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from unmingle import Separator
from unmingle.model.metrics import best_permutation, si_sdr_db
from unmingle.model.signal import stft
from unmingle.training.evaluation.mixture_list import load_sources, read_list

Samples = NDArray[np.floating]

RATE, HEARD = 48_000, 16_000
WINDOW, HOP = 1536, 384


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", type=Path, default=Path("examples/list.csv"), help="list of mixtures")
    parser.add_argument("--model", type=Path, help="an ONNX file (default: the bundled one)")
    parser.add_argument("--limit", type=int, default=30)
    asked = parser.parse_args()
    separator = Separator.load(asked.model)
    carried, nothing, low = [], [], []
    for mixture in tqdm(read_list(asked.list, asked.limit)):
        sources = extended(load_sources(mixture)[0])
        stems = separator.separate(sources.sum(0), RATE, len(sources)).stems
        scores = si_sdr_db(stems[None], sources[:, None])
        stems = stems[best_permutation(scores)]
        above, wanted = above_heard(stems), above_heard(sources)
        carried.append(si_sdr_db(above, wanted).mean())
        nothing.append(si_sdr_db(wanted.sum(0), wanted).mean())
        low.append((si_sdr_db(stems, sources) - si_sdr_db(sources.sum(0), sources)).mean())
    print(
        f"{len(carried)} mixtures at 48 kHz: SI-SDR above 8 kHz {np.mean(carried):.2f} dB with masks carried up, "
        f"{np.mean(nothing):.2f} dB with doing nothing; SI-SDRi of the full band {np.mean(low):.2f} dB"
    )


def extended(sources: Samples) -> Samples:
    """(sources, samples at 16 kHz) -> the same at 48 kHz with an artificial high band."""
    wide = np.stack([soxr.resample(source, HEARD, RATE) for source in sources])
    spectrum = stft.analyse(wide, WINDOW, HOP)
    octave = round(4_000 * WINDOW / RATE)
    for copy, gain in ((2, 0.5), (3, 0.25)):
        spectrum[..., copy * octave : (copy + 1) * octave] = gain * spectrum[..., octave : 2 * octave]
    return stft.synthesise(spectrum, wide.shape[-1], WINDOW, HOP)


def above_heard(signals: Samples) -> Samples:
    """What is above 8 kHz."""
    spectrum = stft.analyse(signals, WINDOW, HOP)
    spectrum[..., : round(HEARD / 2 * WINDOW / RATE) + 1] = 0.0
    return stft.synthesise(spectrum, signals.shape[-1], WINDOW, HOP)


if __name__ == "__main__":
    main()
