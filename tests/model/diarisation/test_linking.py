"""Who of one segment is whom in the others, by speaker vectors that are known to be alike or not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from unmingle.model.diarisation.linking import NOBODY, chances_of, link
from unmingle.model.diarisation.people import People

DIM = 32


def people(*segments: dict[int, tuple[int, float]], noise: float = 0.1, seed: int = 0) -> People:
    """Segments, each with who (a number) is which of three people there, and for how many seconds alone."""
    rng = np.random.default_rng(seed)
    voices = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
    found = People()
    for segment in segments:
        alone, vectors = np.zeros(3, np.float32), np.zeros((3, DIM))
        for person, (who, seconds) in segment.items():
            vector = voices[who] + noise * rng.standard_normal(DIM)
            alone[person], vectors[person] = seconds, vector / np.linalg.norm(vector)
        found.alone_s.append(alone)
        found.vectors.append(vectors.astype(np.float16))
        found.embedded.append(np.zeros((3, 4), np.float32))
    return found


def test_whoever_comes_back_under_another_number_is_the_same_voice():
    talk = link(people({0: (5, 4.0), 1: (6, 2.0)}, {1: (5, 3.0)}, {0: (6, 3.0), 2: (5, 1.0)}), 8)
    assert talk.count == 2
    assert talk.voices.tolist() == [[0, 1, NOBODY], [NOBODY, 0, NOBODY], [1, NOBODY, 0]]


def test_whoever_is_heard_longest_is_the_first():
    assert link(people({0: (1, 2.0), 1: (2, 6.0)}), 8).voices[0].tolist() == [1, 0, NOBODY]


def test_a_word_is_no_voice_of_its_own():
    talk = link(people({0: (1, 9.0)}, {0: (2, 8.0)}, {1: (3, 0.6)}), 8)
    assert talk.count == 2
    assert talk.voices[2, 1] in (0, 1)


def test_of_nothing_but_words_the_longest_is_a_voice():
    assert link(people({0: (1, 0.4)}, {0: (2, 0.3)}), 8).count == 1


def test_there_are_no_more_voices_than_there_may_be():
    five = people(*({0: (who, 3.0 + who)} for who in range(5)))
    for most in range(1, 6):
        talk = link(five, most)
        assert talk.count == most
        assert set(talk.voices[:, 0]) == set(range(most))


def test_two_people_of_one_segment_are_not_one():
    """The second is hardly told from the first, who is known better."""
    found = people({0: (1, 9.0), 1: (2, 9.0)}, {0: (1, 5.0), 1: (1, 2.0)})
    assert sorted(link(found, 8).voices[1, :2].tolist()) == [0, 1]


def test_where_nobody_is_known_there_is_no_voice():
    for found in (People(), people({}, {})):
        talk = link(found, 8)
        assert talk.count == 0
        assert (talk.voices == NOBODY).all()


def test_many_segments_are_linked_as_few_are():
    rng = np.random.default_rng(1)
    who = rng.integers(0, 4, 400)
    talk = link(people(*({int(rng.integers(3)): (int(w), 4.0)} for w in who), noise=0.15), 8)
    assert talk.count == 4
    voices = talk.voices.max(1)
    assert all(len(set(voices[who == w])) == 1 for w in range(4))


def test_groups_are_those_of_average_linkage():
    """As SciPy finds them, for people who all speak for as long."""
    rng = np.random.default_rng(4)
    found = people(*({0: (int(who), 3.0)} for who in rng.integers(0, 5, 60)), noise=0.25)
    vectors = found.known()[1][:, 0]
    expected = fcluster(linkage(vectors, "average", metric="cosine"), 1.0 - 0.4, "distance")
    sizes = np.bincount(expected)[1:]
    assert len(sizes) > 3
    assert link(found, 60).count == len(sizes)


def test_a_day_of_talk_is_linked_as_an_hour_is():
    rng = np.random.default_rng(2)
    who = rng.integers(0, 3, 9_000)
    found = people(*({int(rng.integers(3)): (int(w), 4.0)} for w in who))
    talk = link(found, 8)
    assert talk.count == 3
    voices = talk.voices.max(1)
    assert all(len(set(voices[who == w])) == 1 for w in range(3))


@pytest.mark.parametrize("found", [2, 4, 8])
def test_the_likeliest_number_is_the_one_that_was_found(found):
    chances = chances_of(found, 8)
    assert chances.shape == (8,)
    assert chances.sum() == pytest.approx(1.0)
    assert 1 + chances.argmax() == found
    assert chances.max() < 0.9  # it is wrong often enough
