"""Teach a finished model to count, and to tell when somebody speaks: `python training/calibrate.py --model FILE [--also
FILE...] --data CORPUS`.

To count: makes mixtures and conversations of validation speakers under all kinds of conditions, fits the regressions of
model/clustering/counting.py to how many there are, and writes their weights into the model file's metadata. Only
speakers that the network never heard are used: it keeps the voices it knows further apart than those of strangers, who
are what users have. When somebody speaks: see speech_detection.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from unmingle.model.clustering import background, counting
from unmingle.model.clustering.kmeans import EmbeddingSample
from unmingle.model.embedding.embedded import OnHost
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.network.export import redescribe
from unmingle.model.options import MAX_SOURCES
from unmingle.model.recording import ArrayRecording, Samples
from unmingle.model.signal import features, segments
from unmingle.training import command, speech_detection
from unmingle.training.augment.conditions import Conditions
from unmingle.training.augment.scene import Surroundings, make_scene
from unmingle.training.augment.surroundings import find_surroundings
from unmingle.training.corpus import Corpus, read_corpus, speakers_of
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import MixtureConfig, MixtureSampler
from unmingle.training.regression import logistic_regression

SPLIT = "valid"
SHORT_S = (3.0, 5.0, 8.0)
"""Of recordings in which all may talk at once."""
MOST_AT_ONCE = 5
"""In a short recording."""
TURNS, TURN_S = 8, 5.0
"""Of a conversation: so many turns, each so long, in which one or two of all people talk."""
CONVERSATIONS = 56
"""An hour and ten minutes in all."""
PENALTY = 0.003
ENOUGH_SPEAKERS = 16
"""Eight for each fold, as many as can be counted."""
SPEED_RANGE = 0.12
"""Voices are played up to this much faster or slower: there are few of them, and these count as more."""
FOLDS = 2
BEYOND = 2
"""So many questions more than there are sources are asked, for the chances of finding too many."""
CONDITIONS = Conditions(
    talk_chance=0.35,
    room_chance=0.3,
    noise_chance=0.4,
    loud_noise_db=5.0,
    telephone_chance=0.15,
    band_chance=0.15,
    equaliser_chance=0.2,
)
"""An echo is not somebody else, nor is noise."""
QUIET_CHANCE = 0.2
SILENT_SHARE = 1e-3
"""Of the energy of the loudest voice: who has less says nothing."""
PRIOR = (0.22, 0.3, 0.2, 0.13, 0.08, 0.03, 0.02, 0.02)
"""Chance of 1, 2, 3... sources before anything is heard: most who have a recording separated hear two in it."""
OWN_QUESTIONS = 4
"""Whether there are more than 1, 2, 3, 4 is asked each in its own way; above that, in one way for all."""
BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of the diagram: edges of the chances that are looked at together."""

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Observed:
    """What one recording looks like.

    Attributes:
        evidence: (questions, items) for more than 1, 2, ... sources, to a little beyond their number.
        number: of sources.
        fold: group of speakers; no speaker is in two.
    """

    evidence: Floats
    number: int
    fold: int


def main(argv: Sequence[str] | None = None) -> int:
    """Calibrate a model file in place; returns the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="ONNX file, changed in place")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="files of the same model that learn the same")
    parser.add_argument("--data", type=Path, required=True, help="corpus whose validation speakers are used")
    parser.add_argument(
        "--mixtures", type=int, default=240, help="of each number of sources (default 240; 0: not to count)"
    )
    parser.add_argument(
        "--conversations",
        type=int,
        default=CONVERSATIONS,
        help=f"to learn from when somebody speaks (default {CONVERSATIONS}; 0: not to learn it)",
    )
    parser.add_argument("--diagram", type=Path, help="draw how far the chances can be believed into this picture")
    asked = parser.parse_args(argv)
    return command.run(
        lambda: calibrate(asked.model, asked.data, asked.mixtures, asked.conversations, asked.also, asked.diagram)
    )


def calibrate(
    model: Path,
    data: Path,
    mixtures: int,
    conversations: int,
    also: Sequence[Path] = (),
    diagram: Path | None = None,
) -> None:
    """Teach a model file, and others of the same model, in place.

    Args:
        mixtures: short recordings of each number of sources, to learn to count; 0 leaves that as it is.
        conversations: to learn when somebody speaks; 0 leaves that as it is.

    Raises:
        TrainingError: the corpus has fewer than two speakers for validation, or `also` holds other models.
    """
    embedder = OnnxEmbedder(model, "cpu")
    for file in also:
        if OnnxEmbedder(file, "cpu").config != embedder.config:
            raise TrainingError(f"{file} is not the same model as {model}: publish both from one checkpoint.")
    config = embedder.config
    if mixtures:
        config = dataclasses.replace(config, count_weights=_counting(embedder, data, mixtures, diagram))
    if conversations:
        config = dataclasses.replace(config, speech_weights=speech_detection.teach(embedder, data, conversations))
    for file in (model, *also):
        redescribe(file, config.to_json())


def _counting(embedder: OnnxEmbedder, data: Path, mixtures: int, diagram: Path | None) -> counting.Weights:
    """Weights that count, once it was said how well they do."""
    observed = observe(embedder, data, mixtures)
    people = speakers(data)
    penalty = penalty_for(people)
    table = held_out(observed, penalty)
    print("\n".join(report(table)))
    if people < ENOUGH_SPEAKERS:
        print(
            f"only {people} speakers taught it, so the chances are kept wide, and the figures above are rough; "
            f"{ENOUGH_SPEAKERS} or more speakers for '{SPLIT}' teach it well"
        )
    if diagram:
        draw(table, diagram)
    return fit(observed, penalty)


def speakers(data: Path) -> int:
    """How many speakers of a corpus could teach."""
    return len(speakers_of(data, SPLIT))


def penalty_for(people: int) -> float:
    """The fewer speakers teach, the less they may move the chances from the prior."""
    return PENALTY * max(1.0, ENOUGH_SPEAKERS / people) ** 2


def observe(embedder: OnnxEmbedder, data: Path, mixtures: int) -> list[Observed]:
    """What recordings of 1, 2, 3... sources look like.

    Args:
        mixtures: short recordings of each number of sources; there are a sixth as many conversations.
    """
    config = embedder.config
    every = read_corpus(data, SPLIT, config.sample_rate, speech_only=True)
    speakers = every.speakers
    folds = FOLDS if len(speakers) >= 2 * FOLDS else 1
    groups = [set(speakers[fold::folds]) for fold in range(folds)]
    most = min(MAX_SOURCES, *map(len, groups))
    if most < 2:
        raise TrainingError(f"The corpus {data} has {len(speakers)} speaker(s) for '{SPLIT}'; expected 2 or more.")
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    surroundings = find_surroundings(CONDITIONS, data, every, most, generator, rooms=60)
    corpora = [every.of_speakers(group) for group in groups]
    observed = []
    with tqdm(total=folds * sum(_how_many(n, mixtures, folds) for n in range(1, most + 1))) as bar:
        for fold, corpus in enumerate(corpora):
            for number in range(1, most + 1):
                count = _how_many(number, mixtures, folds)
                for recording, heard in _recordings(corpus, number, count, surroundings, generator):
                    evidence = _evidence(embedder, recording, min(heard + BEYOND, most - 1), rng)
                    if evidence is not None and heard:
                        observed.append(Observed(evidence, heard, fold))
                    bar.update()
    return observed


def _how_many(number: int, mixtures: int, folds: int) -> int:
    """Recordings of a number of sources, in each fold."""
    return max(2, (mixtures * (number <= MOST_AT_ONCE) + mixtures // 6) // folds)


def _recordings(
    corpus: Corpus, number: int, count: int, surroundings: Surroundings, generator: torch.Generator
) -> Iterator[tuple[Samples, int]]:
    """(samples,) recordings of a number of voices, short ones first, then conversations; and how many are heard."""
    rate = corpus.sample_rate
    chances = tuple(float(n == number) for n in range(1, number + 1))
    pieces = TURNS
    short = MixtureSampler(
        corpus, MixtureConfig(chances, speed_range=SPEED_RANGE, quiet_chance=QUIET_CHANCE), generator
    )
    long = MixtureSampler(corpus, MixtureConfig(chances, speed_range=SPEED_RANGE, pieces=pieces), generator)
    conversations = count if number > MOST_AT_ONCE else count // 7
    for index in range(count - conversations):
        samples = round(SHORT_S[index % len(SHORT_S)] * rate)
        sources = short.sources(short.draw(1, samples), samples)
        scene = make_scene(sources, CONDITIONS, surroundings, 1, rate, generator)
        # Who takes turns may say nothing in a short recording.
        energy = scene.sources[0].square().sum(-1)
        heard = int((energy > SILENT_SHARE * energy.max()).sum()) if energy.any() else 0
        yield scene.mixture[0].numpy(), heard
    alone = dataclasses.replace(CONDITIONS, talk_chance=0.0)
    for _ in range(conversations):
        samples = round(TURN_S * rate)
        sources = long.sources(long.draw(pieces, samples), samples)
        sources = sources * _turns(pieces, number, generator).unsqueeze(-1)
        scene = make_scene(sources, alone, surroundings.in_pieces(pieces), pieces, rate, generator)
        yield scene.mixture.flatten().numpy(), number


def _turns(turns: int, people: int, generator: torch.Generator) -> torch.Tensor:
    """(turns, people) 1 where somebody talks: everybody at least once, now and then two at the same time."""
    talks = torch.zeros(turns, people)
    order = torch.cat([torch.randperm(people, generator=generator) for _ in range(-(-turns // people))])[:turns]
    talks[torch.arange(turns), order] = 1.0
    second = torch.randint(people, (turns,), generator=generator)
    both = torch.rand(turns, generator=generator) < 0.2
    talks[both.nonzero().flatten(), second[both]] = 1.0
    return talks


def _evidence(embedder: OnnxEmbedder, recording: Samples, questions: int, rng: np.random.Generator) -> Floats | None:
    """(questions, items); None of a recording in which nothing is heard."""
    config = embedder.config
    sample, foreground = EmbeddingSample(), background.Foreground()
    heard = segments.heard_magnitude(ArrayRecording(recording, config.sample_rate), config)
    for segment in segments.cut(heard, segments.SegmentLayout()):
        embedded = OnHost(embedder.embed(features.log_magnitude(segment.magnitude, config.floor_db)[None])[0])
        weights = features.clustering_weights(segment.magnitude)
        behind = background.chance(embedded, config)
        kept = weights if behind is None else background.foreground(weights, behind)
        foreground.add(weights, kept)
        sample.add(embedded, kept, rng)
    if not len(sample):
        return None
    evidence = counting.Evidence(sample, foreground.share, rng)
    return np.stack([evidence.more_than(number) for number in range(1, questions + 1)])


def fit(observed: Sequence[Observed], penalty: float = PENALTY) -> counting.Weights:
    """A logistic regression for each question, with a small quadratic penalty, on standardised evidence."""
    numbers = np.array([o.number for o in observed])
    most = int(numbers.max())
    # Each number counts as much as the prior says, however many recordings there are of it.
    prior = np.array(PRIOR[:most]) / sum(PRIOR[:most])
    mass = prior[numbers - 1] / np.bincount(numbers, minlength=most + 1)[numbers]
    rows: list[tuple[float, ...]] = []
    for question in range(1, most):
        asked = [question] if question <= OWN_QUESTIONS else list(range(OWN_QUESTIONS + 1, most))
        if question > OWN_QUESTIONS + 1:
            rows.append(rows[-1])
            continue
        inputs, more, weight = [], [], []
        for o, m in zip(observed, mass, strict=True):
            for q in asked:
                if o.number >= q and len(o.evidence) >= q:
                    inputs.append(o.evidence[q - 1])
                    more.append(o.number > q)
                    weight.append(m)
        row = logistic_regression(np.array(inputs), np.array(more, float), np.array(weight), penalty)
        rows.append(tuple(row.tolist()))
    return tuple(rows)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """How well counting does on speakers that it was not taught with: (recordings,) each.

    Attributes:
        numbers: the true ones.
        found: the likeliest.
        chance: of that.
    """

    numbers: NDArray[np.int64]
    found: NDArray[np.int64]
    chance: Floats


def held_out(observed: Sequence[Observed], penalty: float = PENALTY) -> HeldOut:
    """Each group of speakers in turn says how well the others teach; with one group only, it says it of itself."""
    folds = sorted({o.fold for o in observed})
    rows = []
    for fold in folds:
        weights = fit([o for o in observed if o.fold != fold or len(folds) == 1], penalty)
        for o in observed:
            if o.fold == fold:
                chances = counting.chances_of(o.evidence, weights)
                rows.append((o.number, int(chances.argmax()) + 1, float(chances.max())))
    numbers, found, chance = zip(*rows, strict=True)
    return HeldOut(np.array(numbers), np.array(found), np.array(chance))


def report(table: HeldOut) -> list[str]:
    """Lines that say how many are counted right, and how far the chances can be believed."""
    right = table.found == table.numbers
    lines = [f"{len(right)} recordings of speakers that were held out: {right.mean():.1%} are counted right"]
    for number in np.unique(table.numbers):
        those = table.numbers == number
        off = (table.found[those] - number).mean()
        lines.append(f"  {number}: {right[those].mean():.0%} right, {off:+.2f} on average")
    for low, high in itertools.pairwise(BINS):
        those = (table.chance > low) & (table.chance <= high)
        if those.any():
            lines.append(f"  chance {low:.1f} to {high:.1f}: {right[those].mean():.0%} right of {those.sum()}")
    return lines


def draw(table: HeldOut, path: Path) -> None:
    """The diagram: what the chance says against how often it is right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    right = table.found == table.numbers
    points = []
    for low, high in itertools.pairwise(BINS):
        those = (table.chance > low) & (table.chance <= high)
        if those.sum() >= 10:
            points.append((table.chance[those].mean(), right[those].mean()))
    figure, axes = pyplot.subplots(figsize=(4.5, 4.5))
    axes.plot((0, 1), (0, 1), color="0.7", linewidth=1)
    axes.plot(*zip(*points, strict=True), "o-")
    axes.set(xlabel="count_chance", ylabel="share of recordings counted right", xlim=(0.3, 1), ylim=(0.3, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
