"""How many workers there should be."""

from __future__ import annotations

from unmingle.service.scheduling.scaling import Scaling, ScalingRule

RULE = ScalingRule(least=1, most=4, audio_s_per_worker=60.0, idle_s=10.0)


def test_one_worker_for_every_so_many_seconds_of_audio_between_the_bounds() -> None:
    wanted = [Scaling(RULE).wanted(audio_s, 0.0) for audio_s in (0.0, 1.0, 60.0, 60.1, 180.0, 1e6)]
    assert wanted == [1, 1, 1, 2, 3, 4]


def test_up_at_once_and_down_to_the_most_that_was_needed_of_late() -> None:
    scaling = Scaling(RULE)
    course = [(0, 0), (1, 240), (2, 0), (5, 120), (11, 0), (11.5, 0), (15, 0), (15.5, 0), (16, 240)]
    assert [scaling.wanted(audio_s, now) for now, audio_s in course] == [1, 4, 4, 4, 4, 2, 2, 1, 4]
