"""Who speaks when in recordings of more than one segment, where the stems are not alone."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle import Separator
from unmingle.model.diarisation.config import DiarisationConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.heard import Heard
from unmingle.model.listening import Listening
from unmingle.model.metrics import si_sdr_improvement_db
from unmingle.model.options import SeparationOptions
from unmingle.model.recording import ArrayRecording
from unmingle.model.results import Separation
from unmingle.model.stage_clock import StageClock

RATE = 16_000


class Listener:
    """Hears one person, who speaks alone all the time, and remembers what it was given."""

    def __init__(self, sample_rate: int = RATE) -> None:
        self.config = DiarisationConfig("listener", sample_rate, 495, 270, ((), (0,)))
        self.given: list[np.ndarray] = []

    def chances(self, samples: np.ndarray) -> np.ndarray:
        self.given.append(samples)
        return np.tile(np.array([0.0, 1.0], np.float32), (len(samples) // 270 - 3, 1))

    def vector(self, samples: np.ndarray) -> np.ndarray:
        """Knows no voice, so that who is whom is left to the embeddings."""
        return np.zeros(4, np.float32)


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


def turns_of(voices: list[np.ndarray], seconds: float) -> np.ndarray:
    """(people, samples): people who speak one after the other, each of whom interrupts the one before."""
    turn, length = round(2.6 * RATE), round(seconds * RATE)
    people = np.zeros((len(voices), length), np.float32)
    for number, start in enumerate(range(0, length - turn, round(2.3 * RATE))):
        voice = voices[number % len(voices)]
        begin = number * RATE // 3 % (len(voice) - turn)
        people[number % len(voices), start : start + turn] = voice[begin : begin + turn] / np.abs(voice).max()
    return people


@pytest.fixture(scope="module")
def voices(example) -> list[np.ndarray]:
    return [v for name in ("two_speakers", "same_gender", "three_speakers") for v in example(name).sources]


@pytest.fixture(scope="module")
def talk(voices) -> np.ndarray:
    """(people, samples): half a minute of three people."""
    return turns_of([voices[number] for number in (5, 6, 2)], 34.0)


def test_people_who_take_turns_are_counted_by_their_voices(bundled_model, talk):
    embedder = OnnxEmbedder(bundled_model, "cpu")
    found = Separator(embedder).separate(talk.sum(0), RATE)
    assert len(found.stems) == 3
    assert found.count_chance is not None
    assert found.count_chance < 0.9  # voices are not always found


@pytest.mark.slow
def test_people_whom_the_embeddings_take_for_one_are_told_apart_by_their_voices(bundled_model, voices):
    embedder = OnnxEmbedder(bundled_model, "cpu")
    gains = []
    for last in (5, 6):
        people = turns_of([voices[number] for number in (0, 2, 4, last)], 46.0)
        mixture = people.sum(0)
        told, untold = (s.separate(mixture, RATE, 4) for s in (Separator(embedder), without(bundled_model)))
        assert told.background is not None
        np.testing.assert_allclose(told.stems.sum(0) + told.background, mixture, atol=1e-4)
        gains.append([si_sdr_improvement_db(x.stems, people, mixture).mean() for x in (told, untold)])
    by_voice, by_embedding = np.mean(gains, 0)
    assert by_voice > 7.0
    assert by_voice > by_embedding + 1.0


def test_parts_take_the_same_turns(bundled_model, talk, tmp_path):
    """A listener's findings that were written down tell as much as the listener."""
    separator = Separator(OnnxEmbedder(bundled_model, "cpu"))
    recording = ArrayRecording(talk.sum(0)[None], RATE)
    listening = Listening(recording, separator.embedder, separator.layout, StageClock(), diariser=separator.diariser)
    listening.listen(0, lambda _done: None)
    listening.heard.save(tmp_path / "heard.npz")
    first = separator.planned(listening, SeparationOptions())
    listening = Listening(recording, separator.embedder, separator.layout, StageClock(), diariser=separator.diariser)
    listening.remember(Heard.load(tmp_path / "heard.npz"))
    second = separator.planned(listening, SeparationOptions())
    assert first.talk is not None
    assert second.talk is not None
    assert first.talk.voices.tolist() == second.talk.voices.tolist()
    assert first.centroids.tobytes() == second.centroids.tobytes()
