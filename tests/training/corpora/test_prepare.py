"""Corpora as their owners distribute them become shards; what is missing is named."""

from __future__ import annotations

import shutil

import av
import numpy as np
import pytest
import soundfile

from tests.training.corpora.trees import LIBRIMIX, RATE, WSJ0, a_tree, write
from unmingle.training import prepare as command
from unmingle.training.corpora.prepared import read_manifests
from unmingle.training.corpus import read_backgrounds, read_corpus, speakers_of


def prepared(folder, kind, source, *options):
    """Prepare within this process; the folder of shards."""
    assert command.main([kind, str(source), "-o", str(folder), *map(str, options)]) == 0
    return folder


def refused(capsys, *arguments):
    assert command.main([*map(str, arguments)]) == 1
    return capsys.readouterr().err


def groups(shards):
    (manifest,) = read_manifests(shards)
    return {name: group.recordings for name, group in manifest.groups.items()}


def a_librispeech(root, voices):
    for part in ("train-clean-100", "dev-clean", "test-clean"):
        for number, speaker in enumerate(("19", "26", "1088")):
            write(root / part / speaker / "198" / f"{speaker}-198-0000.flac", np.roll(voices[number % 2], 999 * number))
    return root


def test_librispeech_without_torch(tmp_path, voices, prepare):
    a_librispeech(tmp_path / "LibriSpeech", voices)
    done = prepare("librispeech", tmp_path, "-o", tmp_path / "shards")
    assert done.returncode == 0, done.stderr
    assert "LibriSpeech (dev-clean, test-clean, train-clean-100)" in done.stdout
    (manifest,) = read_manifests(tmp_path / "shards")
    assert {name: group.recordings for name, group in manifest.groups.items()} == {"train": 3, "valid": 3, "test": 3}
    assert manifest.licence == "CC BY 4.0"
    corpus = read_corpus(tmp_path / "shards", "train", RATE)
    assert corpus.speakers == ("librispeech/1088", "librispeech/19", "librispeech/26")
    own, _ = soundfile.read(tmp_path / "LibriSpeech" / "train-clean-100" / "1088" / "198" / "1088-198-0000.flac")
    (found,) = (i for i in range(3) if corpus.speakers[corpus.speaker[i]] == "librispeech/1088")
    assert np.abs(corpus.samples(found).numpy() / 32768.0 - own).max() < 1e-4


def test_a_folder_that_is_not_librispeech_is_refused(tmp_path, capsys):
    (tmp_path / "music").mkdir()
    told = refused(capsys, "librispeech", tmp_path, "-o", tmp_path / "shards")
    assert "expected folders such as train-clean-100" in told
    assert "found music" in told
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(("layout", "ending"), [("wav48_silence_trimmed", "_mic1.flac"), ("wav48", ".wav")])
def test_vctk_takes_one_microphone_and_holds_speakers_out(tmp_path, voices, layout, ending, capsys):
    root = tmp_path / "VCTK-Corpus-0.92"
    (root / "txt" / "p225").mkdir(parents=True)
    for speaker in ("p225", "p226", "p227", "p228", "s5"):
        write(root / layout / speaker / f"{speaker}_001{ending}", voices[0], 48_000)
        if "mic1" in ending:
            write(root / layout / speaker / f"{speaker}_001_mic2.flac", voices[0], 48_000)
    shards = prepared(tmp_path / "shards", "vctk", tmp_path)
    assert groups(shards) == {"train": 3, "valid": 2}
    assert ("the second microphone: 5 files" in capsys.readouterr().out) == ("mic1" in ending)
    told = refused(capsys, "vctk", root / "txt", "-o", shards)
    assert "expected a folder wav48_silence_trimmed or wav48" in told


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_librimix_speaks_and_its_noise_is_background(tmp_path, voices, count, rate):
    names = ["_".join([*pair, "26-495-0001"][:count]) for pair in LIBRIMIX]
    for length in ("min", "max"):
        for split in ("train-100", "dev", "test"):
            folder = tmp_path / f"Libri{count}Mix" / f"wav{rate // 1000}k" / length / split
            a_tree(folder, names, voices, rate, ("mix_clean", "mix_both"))
    shards = prepared(tmp_path / "shards", "librimix", tmp_path, "--sample-rate", rate)
    utterances = 6 if count == 2 else 7
    assert groups(shards) == {
        **dict.fromkeys(("train", "valid", "test"), utterances),
        **dict.fromkeys(("train-background", "valid-background", "test-background"), 3),
    }
    assert {"librispeech/103", "librispeech/1235"} < speakers_of(shards, "train")
    noise = read_backgrounds(shards, "train", rate)
    # White noise, of which 8 kHz keeps the lower half.
    assert float(noise.rms.mean()) == pytest.approx(0.01 * np.sqrt(rate / RATE), rel=0.1)


def test_wsj0_mix_of_two_and_three_and_a_source_that_is_missing(tmp_path, voices, capsys):
    for split in ("tr", "cv", "tt"):
        for count, also in ((2, ""), (3, "_014c0102_0.3")):
            names = [f"{a}_1.2_{b}_-1.2{also}" for a, b in WSJ0]
            a_tree(tmp_path / f"{count}speakers" / "wav8k" / "min" / split, names, voices, 8000, ("mix",))
    shards = prepared(tmp_path / "shards", "wsj0-mix", tmp_path, "--sample-rate", 8000)
    assert speakers_of(shards, "train") == {f"wsj0/{name}" for name in ("011", "012", "013", "014", "20l")}
    assert groups(shards) == {"train": 7, "valid": 7, "test": 7}
    missing = tmp_path / "2speakers" / "wav8k" / "min" / "cv" / "s2" / f"{WSJ0[0][0]}_1.2_{WSJ0[0][1]}_-1.2.wav"
    missing.unlink()
    told = refused(capsys, "wsj0-mix", tmp_path, "-o", shards)
    assert f"s2 has no {missing.name}" in told


def test_wham_whamr_and_the_noise_alone(tmp_path, voices, capsys):
    names = [f"{a}_1.2_{b}_-1.2" for a, b in WSJ0]
    for split in ("tr", "cv", "tt"):
        a_tree(tmp_path / "wham" / "wav8k" / "min" / split, names, voices, 8000, ("mix_clean", "mix_both"))
        for room in ("_anechoic", "_reverb"):
            kinds = (f"mix_clean{room}", f"mix_both{room}")
            a_tree(tmp_path / "whamr" / "wav8k" / "min" / split, names, voices, 8000, kinds, room)
        write(tmp_path / "wham_noise" / split / "01aa010b_0.9_02bc020d_-0.9.wav", 0.1 * voices[0])
    for kind in ("wham", "whamr"):
        shards = prepared(tmp_path / kind / "shards", kind, tmp_path / kind, "--sample-rate", 8000)
        assert groups(shards)["train"] == 6
        assert groups(shards)["train-background"] == 3
    (manifest,) = read_manifests(tmp_path / "whamr" / "shards")
    paths = {path.split("/")[-2] for shard in manifest.shards("train") for path in shard.path}
    assert paths == {"s1_anechoic", "s2_anechoic"}
    noise = prepared(tmp_path / "noise", "wham", tmp_path / "wham_noise")
    assert groups(noise) == dict.fromkeys(("train-background", "valid-background", "test-background"), 1)
    told = refused(capsys, "whamr", tmp_path / "wham_noise", "-o", tmp_path / "none")
    assert "expected wav8k/min/{tr,cv,tt}/{mix_both_reverb,s1_anechoic" in told


def a_stem_file(path, signals, rate=44_100):
    """An MP4 with several audio tracks, as MUSDB18 has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        streams = [container.add_stream("aac", rate=rate, layout="mono") for _ in signals]
        for stream, signal in zip(streams, signals, strict=True):
            frame = av.AudioFrame.from_ndarray(signal[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate = rate
            container.mux([*stream.encode(frame), *stream.encode(None)])


def frequency_of(samples, rate):
    return np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * rate / len(samples)


@pytest.mark.parametrize("kind", ["wav", "stem.mp4"])
def test_musdb18_gives_instruments_and_no_mixture(tmp_path, kind, capsys):
    tones = [0.3 * np.sin(2 * np.pi * f * np.arange(44_100) / 44_100) for f in (3000, 400, 800, 1200, 1600)]
    for split in ("train", "test"):
        if kind == "wav":
            for name, tone in zip(("mixture", "drums", "bass", "other", "vocals"), tones, strict=True):
                (tmp_path / split / "A - B").mkdir(parents=True, exist_ok=True)
                soundfile.write(tmp_path / split / "A - B" / f"{name}.wav", np.stack([tone, tone], -1), 44_100)
        else:
            a_stem_file(tmp_path / split / "A - B.stem.mp4", tones)
    shards = prepared(tmp_path / "shards", "musdb18", tmp_path)
    assert groups(shards) == {"train": 4, "test": 4}
    corpus = read_corpus(shards, "train", RATE)
    assert not corpus.is_speech.any()
    heard = {corpus.speakers[s]: frequency_of(corpus.samples(i).numpy(), RATE) for i, s in enumerate(corpus.speaker)}
    assert heard == pytest.approx(
        {"musdb18/drums": 400, "musdb18/bass": 800, "musdb18/other": 1200, "musdb18/vocals": 1600}, abs=3
    )
    if kind == "wav":
        (tmp_path / "test" / "A - B" / "bass.wav").unlink()
        assert "A - B has no bass.wav" in refused(capsys, "musdb18", tmp_path, "-o", shards)
    shutil.rmtree(tmp_path / "test")
    assert "test is missing" in refused(capsys, "musdb18", tmp_path, "-o", shards)


def test_fuss_gives_sounds_and_backgrounds(tmp_path, voices, capsys):
    for split in ("train", "validation", "eval"):
        for number in range(2):
            sources = tmp_path / "ssdata" / split / f"example{number:05d}_sources"
            write(sources / "background0_sound.wav", voices[0])
            write(sources / "foreground0_sound.wav", voices[1])
            write(sources / "foreground1_sound.wav", 0 * voices[1])
            write(sources.with_name(f"example{number:05d}.wav"), voices.sum(0) / 2)
    shards = prepared(tmp_path / "shards", "fuss", tmp_path)
    assert groups(shards) == {
        **dict.fromkeys(("train", "valid", "test"), 2),
        **dict.fromkeys(("train-background", "valid-background", "test-background"), 2),
    }
    assert not read_corpus(shards, "train", RATE).is_speech.any()
    assert "foreground1_sound.wav: left out: it is silent" in capsys.readouterr().err
    assert "expected ssdata or ssdata_reverb" in refused(capsys, "fuss", tmp_path / "ssdata" / "eval", "-o", shards)


def test_bad_files_are_reported_by_name_and_reason_and_the_rest_is_prepared(tmp_path, voices, capsys):
    for speaker in "abcd":
        write(tmp_path / "own" / speaker / "a.wav", voices[0])
    (tmp_path / "own" / "a" / "broken.flac").write_bytes(b"no audio at all")
    write(tmp_path / "own" / "b" / "silent.wav", 0 * voices[0])
    shards = prepared(tmp_path / "shards", "folder", tmp_path / "own", "--name", "mine", "--licence", "my own")
    told = capsys.readouterr().err
    written = (shards / "mine" / "problems.txt").read_text()
    for text in (told, written):
        assert "broken.flac: cannot be read" in text
        assert "silent.wav: left out: it is silent" in text
    assert groups(shards) == {"train": 2, "valid": 2}
    (manifest,) = read_manifests(shards)
    assert manifest.licence == "my own"


def test_an_output_that_cannot_be_written_to_is_said(tmp_path, voices, capsys):
    for speaker in "abcd":
        write(tmp_path / "own" / speaker / "a.wav", voices[0])
    (tmp_path / "file").write_text("no folder")
    told = refused(capsys, "folder", tmp_path / "own", "-o", tmp_path / "file")
    assert "cannot be written to" in told
    assert "give another folder with -o" in told
