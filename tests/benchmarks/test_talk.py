"""The diarisation error rate is what it should be for answers of which it is known, and the command measures it."""

from __future__ import annotations

import json

import pytest

from benchmarks import talk
from benchmarks.diarisation import Errors, errors
from unmingle.training.evaluation.rttm import Turn

pytestmark = pytest.mark.slow

TRUTH = (Turn("Anna", 0.0, 4.0), Turn("Bo", 3.0, 6.0), Turn("Anna", 8.0, 9.0))
SPEECH_S = 8.0


def renamed(**names):
    return [Turn(names[turn.speaker], turn.start_s, turn.end_s) for turn in TRUTH]


def test_a_perfect_answer_has_no_errors():
    assert errors(TRUTH, TRUTH, 10.0) == Errors(SPEECH_S)
    assert errors(TRUTH, TRUTH, 10.0).percent == {"DER": 0.0, "missed": 0.0, "false alarm": 0.0, "confusion": 0.0}


def test_names_do_not_matter():
    assert errors(TRUTH, renamed(Anna="stem_2", Bo="stem_1"), 10.0) == Errors(SPEECH_S)
    assert errors(TRUTH, renamed(Anna="Bo", Bo="Anna"), 10.0) == Errors(SPEECH_S)


def test_silence_misses_everything():
    found = errors(TRUTH, (), 10.0)
    assert found == Errors(SPEECH_S, missed_s=SPEECH_S)
    assert found.percent == {"DER": 100.0, "missed": 100.0, "false alarm": 0.0, "confusion": 0.0}


def test_one_who_always_speaks_misses_overlap_and_confuses_the_others():
    found = errors(TRUTH, [Turn("stem_1", 0.0, 10.0)], 10.0)
    assert found.missed_s == pytest.approx(1.0)  # 3 to 4 s, where there are two
    assert found.false_alarm_s == pytest.approx(3.0)  # 6 to 8 and 9 to 10 s
    assert found.confusion_s == pytest.approx(2.0)  # Bo, 4 to 6 s
    assert found.percent["DER"] == pytest.approx(75.0)


def test_there_is_no_collar():
    late = [Turn(turn.speaker, turn.start_s, turn.end_s + 0.1) for turn in TRUTH]
    assert errors(TRUTH, late, 10.0).false_alarm_s == pytest.approx(0.3)


def test_what_is_after_the_end_does_not_count():
    assert errors(TRUTH, [*TRUTH, Turn("Bo", 9.5, 20.0)], 10.0).false_alarm_s == pytest.approx(0.5)
    assert errors([*TRUTH, Turn("Bo", 9.5, 20.0)], TRUTH, 10.0).missed_s == pytest.approx(0.5)


def test_turns_of_one_person_that_overlap_count_once():
    assert errors([*TRUTH, Turn("Anna", 1.0, 2.0)], TRUTH, 10.0) == Errors(SPEECH_S)


def test_recordings_are_pooled_by_time():
    total = errors(TRUTH, (), 10.0) + errors(TRUTH[:1], TRUTH[:1], 10.0)
    assert total.percent["DER"] == pytest.approx(100.0 * SPEECH_S / (SPEECH_S + 4.0))


def test_conversations_are_scored_and_can_be_scored_again_from_what_was_written(tmp_path, capsys):
    written, figures, again = tmp_path / "talks", tmp_path / "figures.json", tmp_path / "again.json"
    arguments = ["--conversations", "1", "--seed", "3"]
    assert talk.main([*arguments, "--write", str(written), "--json", str(figures)]) == 0
    printed = capsys.readouterr().out
    assert sorted(file.suffix for file in written.iterdir()) == [".rttm", ".wav"]
    tables = json.loads(figures.read_text())["tables"]
    assert talk.GIVEN in tables
    for way, (row, pooled) in tables.items():
        assert way in printed
        assert row["DER %"] == pooled["DER %"]
        parts = row["missed %"] + row["false alarm %"] + row["confusion %"]
        assert row["DER %"] == pytest.approx(parts, abs=0.2)
    given = tables[talk.GIVEN][0]
    assert given["people"] == given["found"] == 2
    # Two known voices: far better than an answer that knows nothing, who says that somebody always speaks.
    assert 0.0 < given["DER %"] < 60.0
    assert talk.main([str(written), "--json", str(again)]) == 0
    same = json.loads(again.read_text())["tables"][talk.GIVEN][0]
    assert same["DER %"] == pytest.approx(given["DER %"], abs=1.0)


def test_a_folder_without_truth_is_refused(tmp_path, capsys):
    assert talk.main([str(tmp_path)]) == 1
    assert "has no recordings with RTTM files; expected pairs such as" in capsys.readouterr().err
