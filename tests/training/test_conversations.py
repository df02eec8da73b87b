"""Simulated conversations are what they say they are, to the byte, and their truth is what is heard."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import soundfile

from tests.training.conftest import SAMPLE_RATE
from unmingle.training.evaluation.conversations import ConversationConfig, Material, converse, overlap_share
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.rttm import Turn, read_rttm, to_rttm
from unmingle.training.evaluation.voices import PAUSE_S, speech_stretches

DRY = ConversationConfig(num_speakers=(2, 4), seconds=(20.0, 30.0), room_chance=0.0, noise_chance=0.0)
HEARD = ConversationConfig(num_speakers=(3, 3), seconds=(10.0, 12.0), room_chance=1.0, noise_chance=1.0)


@pytest.fixture(scope="module")
def material(speech):
    return Material(speech, ())


def active(turns, speaker, samples):
    """(samples,) whether a person speaks, by the turns."""
    spoken = np.zeros(samples, bool)
    for turn in turns:
        if turn.speaker == speaker:
            spoken[round(turn.start_s * SAMPLE_RATE) : round(turn.end_s * SAMPLE_RATE)] = True
    return spoken


def test_everybody_says_something_and_numbers_go_round(material):
    found = list(converse(material, 6, 0, DRY))
    assert [len(c.speakers) for c in found] == [2, 3, 4, 2, 3, 4]
    for conversation in found:
        assert {turn.speaker for turn in conversation.turns} == set(conversation.speakers)
        assert 20.0 <= len(conversation.mixture) / SAMPLE_RATE <= 30.0
        assert all(0 <= t.start_s < t.end_s <= len(conversation.mixture) / SAMPLE_RATE for t in conversation.turns)


def test_truth_agrees_with_what_is_heard_of_each_person(material):
    for conversation in converse(material, 3, 1, DRY):
        for speaker, source in zip(conversation.speakers, conversation.sources, strict=True):
            spoken = active(conversation.turns, speaker, len(source))
            energy = np.square(source, dtype=np.float64)
            # What is left over: pauses inside an utterance, and breath.
            assert energy[~spoken].sum() < 0.005 * energy.sum()
            turns = [turn for turn in conversation.turns if turn.speaker == speaker]
            assert turns
            for turn in turns:
                own = energy[round(turn.start_s * SAMPLE_RATE) : round(turn.end_s * SAMPLE_RATE)]
                assert own.mean() > 1e-3 * energy[spoken].mean()


def test_turns_of_one_person_do_not_touch(material):
    for conversation in converse(material, 3, 2, DRY):
        for speaker in conversation.speakers:
            own = [turn for turn in conversation.turns if turn.speaker == speaker]
            assert all(b.start_s - a.end_s >= PAUSE_S - 1e-6 for a, b in itertools.pairwise(own))


@pytest.mark.parametrize("wanted", [0.0, 0.15, 0.3])
def test_people_talk_over_each_other_as_much_as_asked(material, wanted):
    config = dataclasses.replace(DRY, seconds=(60.0, 60.0), overlap=(wanted, wanted))
    found = [overlap_share(c.turns, 60.0) for c in converse(material, 6, 3, config)]
    assert (max(found) > 0) == (wanted > 0)
    assert np.mean(found) == pytest.approx(wanted, abs=0.04)
    assert max(abs(share - wanted) for share in found) < 0.1


def test_overlap_is_counted_in_time_of_speech():
    turns = [Turn("a", 0.0, 4.0), Turn("b", 3.0, 6.0), Turn("c", 8.0, 10.0)]
    assert overlap_share(turns, 20.0) == pytest.approx(1.0 / 8.0)
    assert overlap_share([], 20.0) == 0.0


def test_one_seed_gives_the_same_bytes_and_another_does_not(material, tmp_path):
    def written(name, seed):
        folder = tmp_path / name
        folder.mkdir()
        for conversation in converse(material, 2, seed, HEARD):
            conversation.write(folder)
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    first, again, other = written("first", 5), written("again", 5), written("other", 6)
    assert len(first) == 4
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_a_conversation_depends_on_its_number_only(material):
    third = list(converse(material, 3, 7, HEARD))[2]
    assert np.array_equal(list(converse(material, 4, 7, HEARD))[2].mixture, third.mixture)


def test_what_is_written_is_the_conversation(material, tmp_path):
    (conversation,) = converse(material, 1, 8, HEARD)
    conversation.write(tmp_path)
    samples, rate = soundfile.read(tmp_path / f"{conversation.name}.wav", dtype="float32")
    assert rate == SAMPLE_RATE
    np.testing.assert_allclose(samples, conversation.mixture, atol=1e-4)
    read = read_rttm(tmp_path / f"{conversation.name}.rttm")
    assert [turn.speaker for turn in read] == [turn.speaker for turn in conversation.turns]
    np.testing.assert_allclose(
        [(t.start_s, t.end_s) for t in read], [(t.start_s, t.end_s) for t in conversation.turns], atol=2e-3
    )


def test_the_background_is_as_far_below_the_voices_as_asked(material):
    config = dataclasses.replace(HEARD, snr_db=(12.0, 12.0))
    for conversation in converse(material, 3, 9, config):
        voices, background = (np.square(x).sum() for x in (conversation.sources.sum(0), conversation.background))
        assert 10.0 * np.log10(voices / background) == pytest.approx(12.0, abs=0.01)


def test_a_room_is_heard_after_a_turn(material):
    """In a room of the longest echo, what follows the last word is the voice's own."""
    dry = dataclasses.replace(HEARD, room_chance=0.0, noise_chance=0.0)
    room = dataclasses.replace(HEARD, noise_chance=0.0)
    for without, within in zip(converse(material, 3, 10, dry), converse(material, 3, 10, room), strict=True):
        assert without.turns == within.turns
        silent = ~np.any(without.sources, axis=0)
        assert silent.any()
        assert not without.mixture[silent].any()
        assert within.mixture[silent].any()


def test_pauses_are_found_in_a_noisy_recording(speech):
    """Two words of noise-like speech with a second between them, in a room whose noise is 25 dB below them."""
    rng = np.random.default_rng(0)
    recording = rng.standard_normal(4 * SAMPLE_RATE).astype(np.float32) * np.float32(10 ** (-25 / 20))
    for start in (0.5, 2.5):
        piece = slice(int(start * SAMPLE_RATE), int((start + 1.0) * SAMPLE_RATE))
        recording[piece] = rng.standard_normal(SAMPLE_RATE)
    found = np.array(speech_stretches(recording, SAMPLE_RATE)) / SAMPLE_RATE
    np.testing.assert_allclose(found, [(0.5, 1.5), (2.5, 3.5)], atol=0.02)


def test_a_split_without_people_is_refused(speech_folder):
    assert len(Material.load(speech_folder, "valid", SAMPLE_RATE).voices.speakers) == 2
    with pytest.raises(EvaluationError, match=r"fewer than two speakers in its split 'test'; expected"):
        Material.load(speech_folder, "test", SAMPLE_RATE)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no turns"),
        ("SPKR-INFO a 1 <NA> <NA> <NA> adult Anna <NA>", "has no turns"),
        ("SPEAKER a 1 0.5", "line 1 is not RTTM"),
        ("SPEAKER a 1 0.0 1.0 <NA> <NA> Anna <NA> <NA>\nSPEAKER a 1 x 1.0 <NA> <NA> Anna", "line 2 is not RTTM"),
        ("SPEAKER a 1 -0.5 1.0 <NA> <NA> Anna <NA> <NA>", "start of -0.5 s"),
    ],
)
def test_what_is_not_rttm_is_refused(tmp_path, text, problem):
    path = tmp_path / "talk.rttm"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=problem) as refused:
        read_rttm(path)
    assert "expected lines such as 'SPEAKER" in str(refused.value)


def test_rttm_is_in_order_of_time():
    text = to_rttm([Turn("Bo", 2.0, 3.25), Turn("Anna", 0.5, 1.0)], "talk")
    assert text.splitlines() == [
        "SPEAKER talk 1 0.500 0.500 <NA> <NA> Anna <NA> <NA>",
        "SPEAKER talk 1 2.000 1.250 <NA> <NA> Bo <NA> <NA>",
    ]
