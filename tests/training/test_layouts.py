"""A corpus is taken for what it is: trees of mixtures, LibriSpeech, folders of splits, tables as Excel writes them."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from unmingle.training.corpus import find_backgrounds, survey
from unmingle.training.errors import TrainingError

RATE = 8_000
TONE = 0.1 * np.sin(np.arange(RATE // 4))


def sound(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, TONE, RATE)


def speakers(recordings, split):
    return {r.speaker for r in recordings if r.split == split}


LIBRIMIX = [("103-1240-0003", "1235-135887-0017"), ("19-198-0001", "103-1240-0004"), ("27-123349-0000", "19-198-0002")]
WSJ0 = [("011a0101", "20la010a"), ("012b0102", "011a0103"), ("20la010b", "013c0101")]


@pytest.mark.parametrize("rates", [("wav8k",), ("wav8k", "wav16k")])
def test_librimix_is_no_folder_of_four_speakers(tmp_path, rates):
    for rate in rates:
        for split in ("train-100", "dev", "test"):
            for first, second in LIBRIMIX:
                for kind in ("mix_clean", "mix_both", "s1", "s2", "noise"):
                    sound(tmp_path / "Libri2Mix" / rate / "min" / split / kind / f"{first}_{second}.wav")
    found = survey(tmp_path)
    assert speakers(found.recordings, "train") == {"103", "1235", "19", "27"}
    assert speakers(found.recordings, "valid") == {"103", "1235", "19", "27"}
    assert len(found.recordings) == 3 * 6
    assert {r.path.parent.name for r in found.recordings} == {"s1", "s2"}
    assert {part for r in found.recordings for part in r.path.parts if part.startswith("wav")} == {rates[-1]}
    assert "a tree of mixtures with their sources" in found.layout
    noises = find_backgrounds(tmp_path)
    assert len(noises) == 9
    assert {r.path.parent.name for r in noises} == {"noise"}


@pytest.mark.parametrize("mixed", ["mix", "mix_both"])
def test_wsj0_mix_and_wham_name_speakers_in_their_files(tmp_path, mixed):
    for split in ("tr", "cv", "tt"):
        for first, second in WSJ0:
            for kind in (mixed, "s1", "s2"):
                sound(tmp_path / "2speakers" / "wav8k" / "min" / split / kind / f"{first}_1.2_{second}_-1.2.wav")
    found = survey(tmp_path)
    assert speakers(found.recordings, "train") == {"011", "012", "013", "20l"}
    assert "6 for test, 6 for train, 6 for valid" in found.layout


def test_an_utterance_in_two_mixtures_counts_once(tmp_path):
    for first, second in [*WSJ0, ("011a0101", "014c0101")]:
        for kind in ("mix", "s1", "s2"):
            sound(tmp_path / "tr" / kind / f"{first}_1.2_{second}_-1.2.wav")
    found = survey(tmp_path)
    assert len(found.recordings) == 7
    assert any("same utterance" in note for note in found.left_out)


def test_a_tree_of_mixtures_without_speakers_is_refused(tmp_path):
    for kind in ("mix", "s1", "s2"):
        sound(tmp_path / kind / "0001.wav")
    with pytest.raises(TrainingError, match=r"tree of mixtures, but the name 0001\.wav does not tell who speaks"):
        survey(tmp_path)


def test_librispeech_is_not_two_speakers(tmp_path):
    for subset in ("train-clean-100", "dev-clean", "test-other"):
        for speaker in ("19", "26", "1088"):
            sound(tmp_path / "LibriSpeech" / subset / speaker / "198" / f"{speaker}-198-0000.flac")
    found = survey(tmp_path)
    assert found.layout.startswith("LibriSpeech")
    assert speakers(found.recordings, "train") == speakers(found.recordings, "valid") == {"19", "26", "1088"}


def test_one_part_of_librispeech_holds_some_speakers_out(tmp_path):
    for speaker in range(100, 106):
        sound(tmp_path / "LibriSpeech" / "train-clean-100" / str(speaker) / "1" / f"{speaker}-1-0000.flac")
    for root in (tmp_path, tmp_path / "LibriSpeech" / "train-clean-100"):
        found = survey(root).recordings
        assert len(speakers(found, "train")) == 4
        assert len(speakers(found, "valid")) == 2


def test_speakers_further_down_are_found(tmp_path):
    (tmp_path / "txt" / "p225").mkdir(parents=True)
    for speaker in ("p225", "p226", "p227", "p228"):
        sound(tmp_path / "wav48" / speaker / "a.wav")
    found = survey(tmp_path)
    assert {r.speaker for r in found.recordings} == {"p225", "p226", "p227", "p228"}
    assert found.layout == "a folder per speaker, in wav48"


def test_what_is_not_read_is_said(tmp_path):
    for speaker in "abcd":
        sound(tmp_path / speaker / "a.wav")
    (tmp_path / "a" / "b.ape").write_bytes(b"")
    (tmp_path / "b" / "b.SPX").write_bytes(b"")
    sound(tmp_path / "loose.wav")
    told = "; ".join(survey(tmp_path).left_out)
    assert "1 .ape, 1 .spx" in told
    assert "loose.wav" in told


def test_files_without_speakers_are_refused_for_that_reason(tmp_path):
    sound(tmp_path / "a.wav")
    with pytest.raises(TrainingError, match="no folder per speaker"):
        survey(tmp_path)


def test_music_and_its_stems_are_no_speaker(tmp_path):
    for track in ("one", "two", "three", "four"):
        for stem in ("mixture", "vocals", "drums"):
            sound(tmp_path / track / f"{stem}.wav")
    with pytest.raises(TrainingError, match="piece of music and its stems"):
        survey(tmp_path)


ROWS = "path,split,speaker\r\n" + "".join(
    f"{name}.wav,{split},{name}\r\n" for name, split in zip("äbcd", ["train", "train", "valid", "valid"], strict=True)
)


@pytest.mark.parametrize(
    "content",
    [
        ROWS.encode("utf-8-sig"),
        ROWS.encode("latin-1"),
        ROWS.encode("utf-16"),
        ROWS.replace(",", ";").encode("utf-8-sig"),
    ],
    ids=["Excel's byte order mark", "Latin-1", "UTF-16", "semicolons"],
)
def test_tables_as_excel_writes_them(tmp_path, content):
    (tmp_path / "metadata.csv").write_bytes(content)
    assert [r.speaker for r in survey(tmp_path).recordings] == ["ä", "b", "c", "d"]


def test_a_row_without_a_speaker_is_named(tmp_path):
    (tmp_path / "metadata.csv").write_text("path,split,speaker\na.wav,train,\n")
    with pytest.raises(TrainingError, match=r"metadata\.csv, line 2: no value for speaker"):
        survey(tmp_path)
