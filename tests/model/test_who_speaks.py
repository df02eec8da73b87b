"""Who speaks when in recordings of more than one segment, where the stems are not alone."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle import Separator
from unmingle.model.diarisation.config import DiarisationConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.options import SeparationOptions
from unmingle.model.results import Separation

RATE = 16_000


class Listener:
    """Hears one person, who speaks alone all the time, and remembers what it was given."""

    def __init__(self, sample_rate: int = RATE) -> None:
        self.config = DiarisationConfig("listener", sample_rate, 495, 270, ((), (0,)))
        self.given: list[np.ndarray] = []

    def chances(self, samples: np.ndarray) -> np.ndarray:
        self.given.append(samples)
        return np.tile(np.array([0.0, 1.0], np.float32), (len(samples) // 270 - 3, 1))


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def separator(bundled_model, listener) -> Separator:
    return Separator(OnnxEmbedder(bundled_model, "cpu"), diariser=listener)


def speech(example, seconds: float) -> np.ndarray:
    return np.resize(example("two_speakers").mixture, round(seconds * RATE))


def without(model) -> Separator:
    """Whose network for diarisation is for another rate, and is not asked."""
    return Separator(OnnxEmbedder(model, "cpu"), diariser=Listener(8_000))


def heard_s(found: Separation) -> float:
    """Seconds in which stems are heard, all together."""
    return sum(stretch.end_s - stretch.start_s for report in found.reports for stretch in report.active)


def at_once_s(found: Separation) -> float:
    """Seconds in which several stems are heard."""
    heard = np.zeros((len(found.reports), 100 * 60), bool)
    for row, report in zip(heard, found.reports, strict=True):
        for stretch in report.active:
            row[round(100 * stretch.start_s) : round(100 * stretch.end_s)] = True
    return float((heard.sum(0) > 1).sum() / 100)


def test_it_is_given_each_segment_as_it_was_recorded(separator, listener, example):
    signal = speech(example, 30.0)
    separator.separate(signal, RATE, 2)
    assert [len(given) for given in listener.given] == [10 * RATE, 10 * RATE, 12 * RATE]
    for start, given in zip((0, 9, 18), listener.given, strict=True):
        np.testing.assert_array_equal(given, signal[start * RATE : start * RATE + len(given)])


def test_of_several_channels_it_is_given_the_mean(separator, listener, example):
    left, right = speech(example, 20.0), speech(example, 20.0)[::-1]
    separator.separate(np.stack((left, right)), RATE, options=SeparationOptions(2, spatial="off"))
    np.testing.assert_allclose(listener.given[0], (left + right)[: 10 * RATE] / 2, atol=1e-6)


def test_where_it_hears_one_person_at_a_time_one_stem_is_heard_at_a_time(separator, bundled_model, example):
    first, second = example("two_speakers").sources
    turns = [x for i in (0, 1, 0) for x in (first[i * RATE :][: 3 * RATE], (first + second)[:RATE], second[: 3 * RATE])]
    signal = np.concatenate(turns)
    told, untold = separator.separate(signal, RATE, 2), without(bundled_model).separate(signal, RATE, 2)
    assert at_once_s(told) < 0.3
    assert at_once_s(untold) > 1.0
    np.testing.assert_array_equal(told.stems, untold.stems)


def test_a_short_recording_does_without(separator, listener, example):
    separator.separate(speech(example, 14.0), RATE, 2)
    assert listener.given == []


def test_one_for_another_rate_is_not_asked(bundled_model, example):
    separator = without(bundled_model)
    separator.separate(speech(example, 20.0), RATE, 2)
    assert separator.diariser.given == []


def test_where_all_talk_at_once_it_is_not_asked_for_its_opinion(separator, bundled_model, example):
    """Networks for conversations miss most of it; the model's own embeddings do not."""
    signal = speech(example, 20.0)
    told, untold = separator.separate(signal, RATE, 2), without(bundled_model).separate(signal, RATE, 2)
    assert told.reports == untold.reports
    assert heard_s(told) > 24.0


@pytest.mark.slow
def test_people_who_take_turns_are_heard_in_turn(bundled_model, example):
    """Forty seconds of a conversation: errors are less than a quarter of the speech."""
    first, second = (source / np.abs(source).max() for source in example("two_speakers").sources)
    length, pause = round(2.5 * RATE), np.zeros(round(0.4 * RATE), np.float32)
    pieces, truth, at = [], np.zeros((2, 41 * 100), bool), 0
    for number in range(14):
        start = (number // 2 * length // 2) % (len(first) - length)
        pieces += [(first, second)[number % 2][start : start + length], pause]
        truth[number % 2, at // 160 : (at + length) // 160] = True
        at += length + len(pause)

    found = Separator(OnnxEmbedder(bundled_model, "cpu")).separate(np.concatenate(pieces), RATE, 2)
    heard = np.zeros_like(truth)
    for row, report in zip(heard, found.reports, strict=True):
        for stretch in report.active:
            row[round(100 * stretch.start_s) : round(100 * stretch.end_s)] = True
    wrong = min((heard[order] != truth).sum() for order in ([0, 1], [1, 0]))
    assert wrong < 0.25 * truth.sum()
