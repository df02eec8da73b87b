"""A recording that is listened to once and then separated as often as wanted, without the network.

What the first pass found out lies in a directory: embeddings (8 bits each, where a separation would keep them so), how
loud every bin is, and a sample of the embeddings for clustering. A separation from there gives the same bytes as
`Separator.separate_recording` with the same number of sources and the same seed.

Axes: (source, dim) for centroids, (point, dim) for embeddings, (source, frame, band) for masks.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.model.abilities import UNCOUNTED
from unmingle.model.choices import Number, Vectors, Wish
from unmingle.model.clustering import background, kmeans
from unmingle.model.embedding.embedded import OnHost
from unmingle.model.embedding.on_disk import KeptOnDisk
from unmingle.model.errors import ParameterError
from unmingle.model.heard import Heard
from unmingle.model.inspection import Inspected, of_result
from unmingle.model.listening import Listening, expected_bytes
from unmingle.model.masking import Masking
from unmingle.model.options import MAX_SOURCES, SeparationOptions
from unmingle.model.overview import Pixels, Points, chosen_points, loudness_of, point_frames
from unmingle.model.recording import Progress, Recording, Sink
from unmingle.model.results import Outcome
from unmingle.model.separator import Separator, locating_by, narrowed, reference_of
from unmingle.model.signal import masks
from unmingle.model.signal.arrangement import Arrangement
from unmingle.model.spatial.survey import what_the_network_hears
from unmingle.model.stage_clock import StageClock

_FACTS = "facts.json"
_HEARD = "heard.npz"


class KeptRecording:
    """What is kept of one recording, in a directory."""

    def __init__(self, recording: Recording, separator: Separator, directory: Path) -> None:
        """Args:
        recording: can be read again.
        separator: with the model that is to be used.
        directory: exists; filled by `listen`.
        """
        self._recording, self._separator, self._directory = recording, separator, directory
        self._config = separator.embedder.config

    @property
    def is_there(self) -> bool:
        """Whether it was listened to."""
        return (self._directory / _FACTS).exists()

    def listen(self, seed: int, tell: Progress) -> None:
        """The first pass.

        Raises:
            ParameterError: the sample rate is out of range.
        """
        kept = KeptOnDisk(self._directory, self._config, expected_bytes(self._recording, self._config))
        inspected = Inspected(self._recording)
        surveyed = self._separator.survey(inspected, SeparationOptions())
        listening = self._listening(what_the_network_hears(inspected, surveyed), kept)
        listening.listen(seed, tell)
        kept.close()
        # With its generator as it is now: it goes on from here, as it would in a separation in one go.
        listening.heard.save(self._directory / _HEARD)
        chances = listening.chances(listening.heard.rng)
        facts = {
            "chances": None if chances is None else chances.tolist(),
            "all_meant": listening.all_meant(MAX_SOURCES),
            "warnings": inspected.inspection.warnings(),
        }
        (self._directory / _FACTS).write_text(json.dumps(facts))

    def numbers(self) -> tuple[int, list[Number]]:
        """The likeliest number of sources, and what 1, 2, 3... of them look like."""
        heard, chances = self._heard(), self._facts["chances"]
        found = []
        for num_sources in range(1, MAX_SOURCES + 1):
            listening, rng = self._expecting(num_sources, heard)
            centroids = listening.centroids(num_sources, rng)
            sample = heard.foreground_sample if listening.has_background else heard.sample
            chance = None if chances is None else (*chances, *[0.0] * MAX_SOURCES)[num_sources - 1]
            found.append(Number(num_sources, chance, self._clarity(sample, centroids), centroids))
        likeliest = UNCOUNTED if chances is None else 1 + int(np.argmax(chances))
        return likeliest, found

    def separate(self, wish: Wish, options: SeparationOptions, sink: Sink, tell: Progress) -> tuple[Outcome, Vectors]:
        """The second pass: what came of it, and the centroids.

        Raises:
            ParameterError: the centroids are not of this model, or there is no refiner and one is wanted.
        """
        self._separator.abilities.check(options)
        if wish.box is not None and self._separator.background_of(options) == "share":
            raise ParameterError("A selection leaves the rest as background; expected background=stem or drop.")
        centroids, groups = wish.centroids, wish.groups
        if centroids is not None:
            self.check_centroids(centroids)
        given = 1 if centroids is None else len(centroids)
        listening, rng = self._expecting(wish.num_sources or (max(groups) + 1 if groups else given), self._heard())
        talk = None
        if centroids is None:
            centroids, talk = listening.sources(wish.num_sources or 1, rng)
        arrangement = None
        if groups is not None or wish.box is not None:
            arrangement = Arrangement(self._config, groups or range(len(centroids)), wish.box)
        surveyed = self._separator.survey(self._recording, options)
        masking = Masking(
            self._recording,
            listening,
            listening.plan(centroids, None, talk),
            self._separator.embedder,
            StageClock(),
            options.mask_kind,
            self._separator.background_of(options),
            locating_by(surveyed, options),
            arrangement,
            refiner=self._separator.refiner_of(options),
        )
        outcome = masking.run(narrowed(sink, options, surveyed), tell)
        warnings = tuple(self._facts["warnings"]) + of_result(outcome.stems, None)
        outcome = dataclasses.replace(outcome, warnings=warnings, reference=reference_of(surveyed, options))
        return outcome, centroids

    def check_centroids(self, centroids: Vectors) -> None:
        """Raises: ParameterError: they are not of this model."""
        if centroids.ndim != 2 or centroids.shape[1] != self._config.embedding_dim or not len(centroids):
            raise ParameterError(
                f"The centroids have shape {centroids.shape}; expected (sources, {self._config.embedding_dim})."
            )

    def points(self, most: int, rng: np.random.Generator) -> Points:
        """A sample of the bins that are heard, in proportion to how loud they are."""
        disk, dim = self._disk(), self._config.embedding_dim
        if not disk.frames:
            return Points(np.zeros((0, 2), np.int64), np.zeros((0, dim), np.float32), np.zeros(0, np.float32))
        frames = point_frames(disk.frames, most)
        embeddings, weights = disk.at(frames)
        if (behind := background.chance(OnHost(embeddings), self._config)) is not None:
            weights = weights * (behind < 0.5)
        places = np.stack(np.meshgrid(frames, np.arange(self._config.bands), indexing="ij"), axis=-1)
        return chosen_points(places.reshape(-1, 2), embeddings.reshape(-1, dim), weights.ravel(), most, rng)

    def picture(self, centroids: Vectors, start_s: float, end_s: float, columns: int) -> Pixels:
        """What the masks of some centroids look like from `start_s` to `end_s`."""
        disk, config = self._disk(), self._config
        frame_s = config.hop / config.sample_rate
        first = int(np.clip(start_s / frame_s, 0, disk.frames))
        last = int(np.clip(np.ceil(end_s / frame_s), first, disk.frames))
        edges = np.linspace(first, last, columns + 1).astype(np.int64)
        loudest = disk.loudness(edges).T
        middle = ((edges[:-1] + edges[1:]) // 2).clip(0, max(0, disk.frames - 1))
        if not disk.frames:
            nothing = np.zeros((config.bands, columns), np.float32)
            return Pixels(nothing.astype(np.uint8), nothing, nothing)
        embedded = OnHost(disk.at(middle)[0])
        shares = embedded.soft_masks(centroids, config.mask_sharpness)
        certainty = masks.claim(shares, 1.0) if len(centroids) > 1 else np.ones(shares.shape[1:], np.float32)
        behind = background.chance(embedded, config)
        listening, _ = self._expecting(len(centroids), self._heard())
        if behind is not None and listening.has_background:
            certainty = certainty * (1.0 - behind)
        return Pixels(
            shares.argmax(0).T.astype(np.uint8),
            np.asarray(certainty.T, np.float32),
            loudness_of(loudest, disk.loudest()),
        )

    @property
    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self._directory / _FACTS).read_text())
        return facts

    def _disk(self) -> KeptOnDisk:
        return KeptOnDisk(self._directory, self._config, expected_bytes(self._recording, self._config))

    def _listening(self, recording: Recording, kept: KeptOnDisk) -> Listening:
        separator = self._separator
        return Listening(
            recording, separator.embedder, separator.layout, StageClock(), kept, diariser=separator.diariser
        )

    def _heard(self) -> Heard:
        return Heard.load(self._directory / _HEARD)

    def _expecting(self, num_sources: int, heard: Heard) -> tuple[Listening, np.random.Generator]:
        """Where a separation into so many would be after the first pass."""
        listening = self._listening(self._recording, self._disk())
        listening.remember(heard)
        listening.take_all(self._facts["all_meant"][num_sources - 1])
        return listening, copy.deepcopy(heard.rng)

    def _clarity(self, sample: kmeans.EmbeddingSample, centroids: Vectors) -> float:
        """Of the least clear source, by the sample alone."""
        if not len(sample):
            return 0.0
        points, mass = (part[:: 1 + len(sample) // 8192] for part in sample.all())
        if len(centroids) == 1:  # which leaves nothing apart: how alike it all is
            return float(np.clip((points @ centroids[0]) @ mass / mass.sum(dtype=np.float64), 0.0, 1.0))
        shares = masks.soft_masks(points[None], centroids, self._config.mask_sharpness)
        clarity = masks.Clarity(len(centroids))
        clarity.push(shares, mass[None])
        return min(clarity.per_source())
