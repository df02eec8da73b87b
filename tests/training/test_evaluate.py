"""The evaluation, the way its users start it, and the figures it is made of."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import mir_eval.separation
import numpy as np
import pytest
import soundfile
from scipy.stats import spearmanr

from unmingle.model.clustering import counting
from unmingle.model.clustering.counting import Weights
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.network.export import describe
from unmingle.training.evaluate import main
from unmingle.training.evaluation.certainty import count, trust
from unmingle.training.evaluation.ideal_mask import separate_ideally
from unmingle.training.evaluation.measures import LOWEST_DB, NO_STEM, Figures, assign, heard, measure
from unmingle.training.evaluation.mixture_list import ListedMixture, Part
from unmingle.training.evaluation.scoring import SOFT, ScoredMixture
from unmingle.training.evaluation.summary import Spread

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HEADING = "id,seconds,genders,source1_path,source1_start,source1_gain_db,source2_path,source2_start,source2_gain_db"
EVIDENCE = counting.ITEMS


def evaluate(*arguments: object) -> str:
    """Run training/evaluate.py as a process of its own, where warnings are errors; what it printed."""
    command = [sys.executable, "-W", "error", str(ROOT / "training" / "evaluate.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def evaluate_here(*arguments: object) -> str:
    """The same within this process: torch is loaded once."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([*map(str, arguments), "--jobs", "1"]) == 0
    return printed.getvalue()


def without_speed(folder: Path) -> dict:
    content = json.loads((folder / "report.json").read_text())
    assert content.pop("speed")["real_time_factor"] > 0
    return content


@pytest.fixture(scope="module")
def report(bundled_model, tmp_path_factory) -> tuple[Path, str]:
    """The report on the project's examples, and what was printed meanwhile."""
    folder = tmp_path_factory.mktemp("report")
    return folder, evaluate("--model", bundled_model, "--out", folder, "--jobs", 2)


def copy_with_weights(model: Path, copy: Path, weights: Weights) -> Path:
    """The same model, counting with other weights."""
    shutil.copyfile(model, copy)
    config = OnnxEmbedder(model, device="cpu", threads=1).config
    describe(copy, dataclasses.replace(config, count_weights=weights).to_json())
    return copy


@pytest.fixture(scope="module")
def always_two(bundled_model, tmp_path_factory) -> Path:
    """A model that finds two sources in whatever it hears, with a chance of 60 %."""
    # More than one: 80 %; more than two, if so: a quarter of that.
    weights = tuple((*[0.0] * EVIDENCE, math.log(more / (1.0 - more))) for more in (0.8, 0.25))
    return copy_with_weights(bundled_model, tmp_path_factory.mktemp("model") / "always_two.onnx", weights)


@pytest.fixture(scope="module")
def counted(always_two, tmp_path_factory) -> tuple[Path, str]:
    """The report of that model on one, two and three people at once, and what was printed meanwhile."""
    folder = tmp_path_factory.mktemp("counted")
    one = {"id": "alone", "seconds": 5, "genders": "F", "source1_path": EXAMPLES / "two_speakers" / "source_1.flac"}
    with (EXAMPLES / "list.csv").open(newline="") as lines:
        rows = {row["id"]: row for row in csv.DictReader(lines)}
    chosen = [rows["two_speakers"], one | {"source1_start": 0, "source1_gain_db": 0}, rows["three_speakers"]]
    for row in chosen:
        row |= {key: EXAMPLES / value for key, value in row.items() if key.endswith("path") and value}
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows["three_speakers"]), restval="")
        writer.writeheader()
        writer.writerows(chosen)
    arguments = ("--list", folder / "list.csv", "--out", folder / "report", "--num-sources", "auto")
    return folder / "report", evaluate_here("--model", always_two, *arguments)


def table(folder: Path) -> dict[str, dict[str, str]]:
    """mixtures.csv by the mixture's id."""
    with (folder / "mixtures.csv").open(newline="") as lines:
        return {row["id"]: row for row in csv.DictReader(lines)}


@pytest.fixture(scope="module")
def sources() -> np.ndarray:
    """(sources, samples) of two people, 16 kHz."""
    files = [EXAMPLES / "two_speakers" / f"source_{i}.flac" for i in (1, 2)]
    return np.stack([soundfile.read(file, dtype="float32")[0] for file in files])


def test_examples_give_a_table_for_each_pairing_and_way(report):
    folder, printed = report
    content = json.loads((folder / "report.json").read_text())
    rows = {(row["sources"], row["by"]): row for row in content["separation"]}
    assert set(rows) == {(g, w) for g in ("all", "FF", "FM", "FMM") for w in ("mixture", "soft", "hard", "ideal")}
    assert rows["all", "mixture"]["mixtures"] == 3
    assert "si_sdr_db_improvement" not in rows["all", "mixture"]
    for pairing in ("FF", "FM", "FMM"):
        ideal, soft = rows[pairing, "ideal"], rows[pairing, "soft"]
        assert ideal["si_sdr_db_improvement"]["mean"] > 10.0
        assert ideal["sdr_db_improvement"]["mean"] > soft["sdr_db_improvement"]["mean"]
        assert ideal["stoi_improvement"]["mean"] > 0.1
    spread = rows["all", "ideal"]["si_sdr_db_improvement"]
    assert spread["worst_tenth"] <= spread["median"]
    assert (folder / "report.md").read_text() in printed
    assert content["one_source_alone"] == []


def test_report_lists_every_mixture_and_draws_pictures(report):
    folder, _ = report
    with (folder / "mixtures.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["id"] for row in rows] == ["two_speakers", "same_gender", "three_speakers"]
    assert rows[0]["source3_soft_si_sdr_db"] == ""
    assert float(rows[2]["source3_ideal_si_sdr_db"]) > float(rows[2]["source3_mixture_si_sdr_db"])
    for picture in ("histogram.png", "scatter.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    assert not list(folder.glob("*.partial"))


def test_counts_stand_beside_the_true_ones(counted):
    folder, printed = counted
    content = without_speed(folder)
    assert content["subject"]["num_sources"] == "auto"
    assert "number of sources found by the model" in printed
    counting = content["counting"]
    rows = {row["true"]: row["found"] for row in counting["confusion"]}
    assert rows == {n: {"1": 0, "2": 1, "3": 0} for n in (1, 2, 3)}
    assert counting["exact_share"] == pytest.approx(1 / 3, abs=1e-5)
    assert counting["mean_chance_when_right"] == counting["mean_chance_when_wrong"] == pytest.approx(0.6, abs=1e-5)
    cells = [line.strip("| ").split() for line in printed.splitlines()]
    assert ["3", "|", "0", "|", "1", "|", "0", "|", "0%"] in cells
    assert "Exact: 33.3%" in printed
    listed = table(folder)
    counts = {name: (row["num_sources"], row["found"], row["count_chance"]) for name, row in listed.items()}
    assert counts == {
        "two_speakers": ("2", "2", "0.60000"),
        "alone": ("1", "2", "0.60000"),
        "three_speakers": ("3", "2", "0.60000"),
    }


def test_who_got_no_stem_is_no_better_off_than_before(counted):
    folder, _ = counted
    row = table(folder)["three_speakers"]
    without = [i for i in (1, 2, 3) if row[f"source{i}_confidence"] == ""]
    assert len(without) == 1
    for i in (1, 2, 3):
        same = row[f"source{i}_soft_si_sdr_db"] == row[f"source{i}_mixture_si_sdr_db"]
        assert same == (i in without)


def test_one_stem_too_many_is_left_out_and_the_other_one_counts(counted):
    folder, _ = counted
    row = table(folder)["alone"]
    assert LOWEST_DB < float(row["source1_soft_si_sdr_db"]) < 90.0
    assert 0.0 < float(row["source1_confidence"]) <= 1.0
    assert without_speed(folder)["one_source_alone"][0]["mixtures"] == 1


def test_a_count_that_is_right_gives_the_stems_of_the_true_number(counted, report):
    # Not to the digit: counting draws random numbers first, so that the clustering starts elsewhere.
    with_count, told = (table(folder)["two_speakers"] for folder, _ in (counted, report))
    for i in (1, 2):
        assert float(with_count[f"source{i}_soft_si_sdr_db"]) == pytest.approx(
            float(told[f"source{i}_soft_si_sdr_db"]), abs=1.0
        )


def test_confidence_is_set_beside_the_si_sdr_of_every_stem(report):
    folder, printed = report
    content = without_speed(folder)
    assert content["counting"] is None
    assert "Number of sources" not in printed
    pairs = [
        (float(row[f"source{i}_confidence"]), float(row[f"source{i}_soft_si_sdr_db"]))
        for row in table(folder).values()
        for i in range(1, int(row["num_sources"]) + 1)
    ]
    assert content["confidence"]["stems"] == len(pairs) == 7
    expected = spearmanr(*zip(*pairs, strict=True)).statistic
    assert content["confidence"]["rank_correlation"] == pytest.approx(expected, abs=1e-4)
    assert f"{expected:.2f} over 7 stems" in printed
    assert all(row["found"] == row["num_sources"] and not row["count_chance"] for row in table(folder).values())


@pytest.fixture(scope="module")
def conditions(always_two, tmp_path_factory) -> tuple[Path, str]:
    """One and the same list clean, through a telephone and 15 dB apart, and what was printed meanwhile."""
    folder = tmp_path_factory.mktemp("conditions")
    names = ("clean", "telephone", "quiet")
    return folder, evaluate("--model", always_two, "--out", folder, "--jobs", 2, "--condition", *names)


def test_each_condition_has_its_line_in_one_table(conditions):
    folder, printed = conditions
    content = json.loads((folder / "conditions.json").read_text())
    lines = {row["condition"]: row for row in content["conditions"]}
    assert list(lines) == ["clean", "telephone: 300 to 3400 Hz, 8 kHz, mu-law", "15 dB apart"]
    assert all(row["mixtures"] == 3 for row in lines.values())
    clean, telephone, quiet = lines.values()
    assert clean["given"]["mean"] > telephone["given"]["mean"]
    # Two of the three mixtures have two sources, and that is what this model always counts.
    assert [row["counted_right"] for row in lines.values()] == pytest.approx([2 / 3] * 3, abs=1e-5)
    assert clean["counted"]["mean"] < clean["given"]["mean"]
    # Voices correlate by a hundredth or two by chance: beside one that is 15 dB louder, that is up to 1 dB.
    assert quiet["quietest_before_db"] == pytest.approx(-15.0, abs=1.0)
    assert quiet["quietest_db"] > quiet["quietest_before_db"] + 3.0
    assert (folder / "conditions.md").read_text() in printed
    assert "| 15 dB apart " in printed
    assert {file.name for file in folder.iterdir()} == {"conditions.md", "conditions.json", "conditions.csv"}


def test_each_mixture_under_each_condition_is_listed_with_its_sources(conditions):
    folder, _ = conditions
    with (folder / "conditions.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["id"] for row in rows] == 3 * ["two_speakers", "same_gender", "three_speakers"]
    assert {row["found"] for row in rows} == {"2"}
    improved = [
        np.mean([float(row[f"source{i}_given_si_sdr_db"]) - float(row[f"source{i}_before_si_sdr_db"]) for i in sources])
        for row, sources in zip(rows[:3], ((1, 2), (1, 2), (1, 2, 3)), strict=True)
    ]
    clean = json.loads((folder / "conditions.json").read_text())["conditions"][0]
    assert clean["given"]["mean"] == pytest.approx(np.mean(improved), abs=1e-4)
    assert rows[0]["source3_given_si_sdr_db"] == ""


def test_clean_under_conditions_is_what_the_full_report_says(conditions, always_two, tmp_path):
    evaluate_here("--model", always_two, "--out", tmp_path)
    clean = json.loads((conditions[0] / "conditions.json").read_text())["conditions"][0]
    rows = {(row["sources"], row["by"]): row for row in without_speed(tmp_path)["separation"]}
    assert clean["given"] == pytest.approx(rows["all", "soft"]["si_sdr_db_improvement"], abs=1e-4)


def test_conditions_give_the_same_figures_for_any_number_of_processes(conditions, always_two, tmp_path):
    evaluate_here("--model", always_two, "--out", tmp_path, "--condition", "quiet", "--limit", 2)
    with (conditions[0] / "conditions.csv").open() as before, (tmp_path / "conditions.csv").open() as after:
        lines = [line for line in before if line.startswith("15 dB apart") and "three" not in line]
        # The list is shorter, so that nobody has a third source.
        assert [line.rstrip("\n,") for line in lines] == [line.rstrip("\n,") for line in after][1:]


def test_mixtures_of_four_voices_are_drawn_from_a_corpus(bundled_model, tmp_path):
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "split", "speaker"))
        for speaker in sorted((EXAMPLES / "training").iterdir())[:5]:
            rows.writerow((min(speaker.iterdir(), key=lambda f: f.name), "test", speaker.name))
    options = ("--voices", 4, "--data", tmp_path, "--limit", 2, "--condition", "clean", "--out", tmp_path / "out")
    printed = evaluate_here("--model", bundled_model, *options)
    assert "on 4 voices of 'test' of" in printed
    with (tmp_path / "out" / "conditions.csv").open(newline="") as lines:
        assert [row["num_sources"] for row in csv.DictReader(lines)] == ["4", "4"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--voices", "4"], "name its folder with --data"),
        (["--condition", "sounds"], "Everyday sounds were asked for"),
        (["--condition", "babble", "--limit", "1"], "0 voices of other speakers"),
    ],
)
def test_conditions_that_cannot_be_heard_are_explained(options, complaint, tmp_path, capsys):
    assert main([*options, "--out", str(tmp_path / "out")]) == 1
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_same_figures_again_and_for_any_number_of_processes(report, bundled_model, tmp_path):
    folder, _ = report
    evaluate_here("--model", bundled_model, "--out", tmp_path)
    assert without_speed(tmp_path) == without_speed(folder)
    assert (tmp_path / "mixtures.csv").read_bytes() == (folder / "mixtures.csv").read_bytes()


def test_one_source_alone_and_sounds_that_are_not_speech(bundled_model, tmp_path):
    speech = EXAMPLES / "two_speakers" / "source_1.flac"
    noise = tmp_path / "noise.wav"
    soundfile.write(noise, 0.1 * np.random.default_rng(0).standard_normal(48_000), 16_000)
    rows = [HEADING, f"alone,2,F,{speech},8000,-3,,,", f"sound,2,FN,{speech},8000,0,noise.wav,0,-6"]
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    printed = evaluate_here("--model", bundled_model, "--list", tmp_path / "list.csv", "--out", tmp_path / "report")
    content = without_speed(tmp_path / "report")
    assert content["unharmed_share"] == 1.0
    # One stem is the recording less its background, which is nearly nothing here: 41 dB below with unmingle-6.
    assert content["one_source_alone"][0]["si_sdr_db"]["mean"] > 90.0
    assert {row["sources"] for row in content["separation"]} == {"all", "FN"}
    assert 0.0 < content["separation"][0]["stoi"]["mean"] < 1.0
    assert "Unharmed, with soft masks: 100%" in printed


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("", "no mixtures"),
        ("a,1,FM,here.wav,0,0,gone.wav,0,0", "gone.wav"),
        ("a,1,F,here.wav,0,0,here.wav,0,0", "genders is 'F' for 2 sources"),
        ("a,1,FX,here.wav,0,0,here.wav,0,0", "one letter per source"),
        ("a,soon,FM,here.wav,0,0,here.wav,0,0", "line 2: seconds is 'soon'"),
        ("a,1,FM,here.wav,0,0,here.wav,1000,0", "enough samples"),
        ("a,1,FM,here.wav,0,0,text.wav,0,0", "cannot be read"),
    ],
)
def test_unusable_lists_are_explained(row, complaint, bundled_model, tmp_path, capfd):
    soundfile.write(tmp_path / "here.wav", np.full(16_000, 0.1), 16_000)
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "list.csv").write_text(f"{HEADING}\n{row}\n" if row else HEADING + "\n")
    arguments = ["--model", str(bundled_model), "--list", str(tmp_path / "list.csv"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--jobs", "1"]) == 1
    told = capfd.readouterr().err
    assert told.startswith("error: ")
    assert complaint in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--list", "nowhere.csv"], "nowhere.csv cannot be read"),
        (["--list", str(EXAMPLES / "README.md")], "has no column"),
        (["--model", "nowhere.onnx"], "nowhere.onnx cannot be read"),
        (["--model", str(EXAMPLES / "list.csv")], "not a usable ONNX model"),
    ],
)
def test_what_cannot_be_read_is_named(arguments, complaint, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    assert complaint in capsys.readouterr().err


def test_a_model_that_cannot_count_says_how_to_teach_it(bundled_model, tmp_path, capsys):
    model = copy_with_weights(bundled_model, tmp_path / "untaught.onnx", ())
    assert main(["--model", str(model), "--num-sources", "auto", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "untaught.onnx was not taught to count; teach it with training/calibrate.py" in told
    assert not (tmp_path / "out").exists()


def test_bss_eval_is_that_of_the_library_on_all_sources_together(sources):
    stems = 0.8 * sources + 0.2 * sources[::-1] + 0.01 * np.random.default_rng(1).standard_normal(sources.shape)
    with pytest.warns(FutureWarning, match="mir_eval"):
        expected = mir_eval.separation.bss_eval_sources(sources, stems, compute_permutation=False)[0]
    np.testing.assert_allclose(measure(stems, sources, 16_000, [True, True]).sdr_db, expected, atol=1e-6)


def test_a_silent_stem_counts_as_the_worst_and_a_silent_source_not_at_all(sources):
    stems, true = sources.copy(), sources.copy()
    stems[0] = 0.0
    true[1] = 0.0
    figures = measure(stems, true, 16_000, [True, True])
    assert figures.si_sdr_db[0] == figures.sdr_db[0] == LOWEST_DB
    assert figures.stoi[0] == pytest.approx(0.0, abs=1e-3)
    assert np.isnan([figures.si_sdr_db[1], figures.sdr_db[1], figures.stoi[1]]).all()


def test_only_speech_has_an_intelligibility(sources):
    stoi = measure(sources, sources, 16_000, [True, False]).stoi
    assert stoi[0] == pytest.approx(1.0)
    assert np.isnan(stoi[1])
    assert np.isnan(measure(sources[:, :5000], sources[:, :5000], 16_000, [True, True]).stoi).all()


def test_stems_are_taken_in_the_order_of_the_sources(sources):
    assigned = assign(sources[::-1], sources)
    np.testing.assert_array_equal(heard(sources[::-1], assigned, sources.sum(0)), sources)


def test_too_few_stems_leave_a_source_the_mixture_and_too_many_are_left_out(sources):
    mixture = sources.sum(0)
    lone = assign(sources[1:], sources)
    np.testing.assert_array_equal(lone, [NO_STEM, 0])
    np.testing.assert_array_equal(heard(sources[1:], lone, mixture), [mixture, sources[1]])
    noise = 0.1 * np.random.default_rng(2).standard_normal(mixture.shape)
    np.testing.assert_array_equal(assign(np.stack([noise, sources[1], sources[0]]), sources), [2, 1])


def scored(si_sdr_db: list[float], confidence: list[float], found: int, chance: float | None = None) -> ScoredMixture:
    """A mixture with these figures."""
    nothing = np.full(len(si_sdr_db), np.nan)
    listed = ListedMixture("made up", 1.0, (Part(Path("none.wav"), 0, 0.0, "F"),) * len(si_sdr_db))
    figures = {SOFT: Figures(np.array(si_sdr_db), nothing, nothing)}
    return ScoredMixture(listed, figures, found, chance, np.array(confidence))


def test_counts_right_and_wrong_have_their_own_mean_chance():
    mixtures = [
        scored([1.0, 2.0], [0.5, 0.5], 2, 0.9),
        scored([1.0, 2.0], [0.5, 0.5], 2, 0.7),
        scored([1.0, 2.0], [0.5, 0.5], 4, 0.4),
        scored([1.0], [1.0], 1, 0.8),
    ]
    counting = count(mixtures)
    assert counting.confusion == {1: (1, 0, 0, 0), 2: (0, 2, 0, 1)}
    assert counting.exact_share == 0.75
    assert counting.mean_chance_when_right == pytest.approx(0.8)
    assert counting.mean_chance_when_wrong == pytest.approx(0.4)
    assert np.isnan(count(mixtures[:2]).mean_chance_when_wrong)


def test_rank_correlation_is_about_order_only_and_knows_when_there_is_none():
    rising = [scored([-1.0, 20.0], [0.2, 0.9], 2), scored([0.0, 5.0, np.nan], [0.3, 0.31, 0.1], 3)]
    assert trust(rising).rank_correlation == pytest.approx(1.0)
    assert trust(rising).stems == 4  # the silent source is not among them
    assert trust([scored([3.0, 2.0, 1.0], [0.1, 0.2, 0.3], 3)]).rank_correlation == pytest.approx(-1.0)
    without_a_stem = trust([scored([3.0, 2.0, 1.0], [0.1, 0.2, np.nan], 2)])
    assert np.isnan(without_a_stem.rank_correlation)
    assert without_a_stem.stems == 2
    assert np.isnan(trust([scored([3.0, 2.0, 1.0], [0.5, 0.5, 0.5], 3)]).rank_correlation)
    assert trust([]).stems == 0


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_ideal_mask_separates_what_lies_apart_and_adds_up(sample_rate):
    time = np.arange(sample_rate) / sample_rate
    tones = np.stack([0.3 * np.sin(2 * np.pi * hz * time) for hz in (500.0, 2_000.0)]).astype(np.float32)
    stems = separate_ideally(tones, sample_rate, ModelConfig())
    np.testing.assert_allclose(stems.sum(0), tones.sum(0), atol=1e-5)
    inner = slice(1000, -1000)  # at the edges a tone starts and ends, and is no tone
    np.testing.assert_allclose(stems[:, inner], tones[:, inner], atol=0.01)


def test_worst_tenth_is_the_mean_of_the_lowest_and_of_at_least_one():
    spread = Spread.of(np.arange(1.0, 21.0)[::-1])
    assert (spread.mean, spread.median, spread.worst_tenth) == (10.5, 10.5, 1.5)
    assert Spread.of(np.array([3.0, np.nan, 1.0])).worst_tenth == 1.0
    assert np.isnan(Spread.of(np.array([np.nan])).mean)
