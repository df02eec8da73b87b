"""The command line becomes a configuration, and a configuration survives being saved."""

from __future__ import annotations

import dataclasses

import pytest

from unmingle.model.config import ModelConfig
from unmingle.training.arguments import extended_config, new_config, parse, resumed_config
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import MixtureConfig
from unmingle.training.objectives import parse_objective
from unmingle.training.train_config import SMALL_NETWORK, TrainConfig


def config_of(*argv):
    return new_config(parse(argv).given, SMALL_NETWORK)


def test_without_arguments_everything_is_default():
    assert config_of() == TrainConfig()


def test_every_field_of_every_configuration_is_an_option():
    config = config_of(
        *("--name", "mine", "--data", "d", "--minutes", "90", "--batch", "8", "--num-sources", "0.1,0.6,0.3"),
        *("--speed-range", "0.1", "--hidden", "600", "--frames-per-step", "4", "--objective", "whitened_kmeans"),
    )
    assert (config.data, config.minutes, config.batch, config.objective) == ("d", 90.0, 8, "whitened_kmeans")
    assert config.mixtures == MixtureConfig(num_sources=(0.1, 0.6, 0.3), speed_range=0.1)
    assert config.network == dataclasses.replace(SMALL_NETWORK, name="mine", hidden=600, frames_per_step=4)


def test_no_two_configurations_share_a_field():
    names = [f.name for kind in (TrainConfig, MixtureConfig, ModelConfig) for f in dataclasses.fields(kind)]
    assert len(names) == len(set(names))


def test_a_configuration_survives_json():
    config = config_of("--num-sources", "0,1", "--hidden", "17", "--name", "a")
    assert TrainConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("text", ["", "[]", "{}", TrainConfig().to_json().replace('"batch"', '"batches"')])
def test_a_configuration_that_is_not_ours_is_refused(text):
    with pytest.raises(TrainingError, match="not the configuration of a run"):
        TrainConfig.from_json(text)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("--batch", "0"), "batch must be at least 1"),
        (("--frames", "101"), r"frames must be a multiple of frames_per_step \(2\)"),
        (("--batch", "8", "--pieces", "3"), r"batch must be a multiple of pieces \(3\)"),
        (("--minutes", "0"), "minutes"),
        (("--steps", "5", "--minutes", "1"), "Both --steps and --minutes"),
        (("--objective", "magic"), "expected affinity, whitened_kmeans, attractor"),
        (("--objective", "x*affinity"), "has a part 'x"),
        (("--dropout", "1"), "dropout"),
    ],
)
def test_what_cannot_be_trained_is_refused(argv, complaint):
    with pytest.raises(TrainingError, match=complaint):
        config_of(*argv)


def test_objectives_can_be_summed_with_factors():
    terms = parse_objective("whitened_kmeans+2*attractor")
    assert [factor for factor, _ in terms] == [1.0, 2.0]
    assert terms[1][1] is parse_objective("attractor")[0][1]


def test_a_resumed_run_may_only_change_what_belongs_to_the_machine():
    saved = config_of("--name", "a", "--batch", "8")
    moved = resumed_config({"device": "cuda", "data": "/elsewhere", "threads": 4, "batch": 8}, saved)
    assert (moved.device, moved.data, moved.threads) == ("cuda", "/elsewhere", 4)
    with pytest.raises(TrainingError, match=r"--hidden is 9, was 128.*--init a"):
        resumed_config({"hidden": 9}, saved)


def test_a_longer_run_is_validated_as_often_as_before():
    saved = config_of("--steps", "100", "--validations", "4")
    longer = extended_config(saved, 50)
    assert (longer.steps, longer.validations) == (150, 6)
    by_time = extended_config(config_of("--minutes", "10", "--validations", "4"), 10.0)
    assert (by_time.steps, by_time.minutes, by_time.validations) == (0, 20.0, 8)
    for wrong in (-1.0, 0.5):
        with pytest.raises(TrainingError, match="a whole number of steps, above 0"):
            extended_config(saved, wrong)


def test_an_earlier_configuration_can_be_taken_over_in_part(tmp_path):
    earlier = config_of(
        "--name", "old", "--steps", "70", "--hidden", "40", "--room-chance", "0.2", "--num-sources", "0,1"
    )
    (tmp_path / "config.json").write_text(earlier.to_json())
    options = ("--config", str(tmp_path / "config.json"), "--name", "new", "--minutes", "5")
    again = config_of(*options, "--set", "conditions.room_chance=0.5", "--set", "batch=16")
    assert (again.network.name, again.network.hidden, again.mixtures) == ("new", 40, earlier.mixtures)
    assert (again.conditions.room_chance, again.batch) == (0.5, 16)
    assert (again.steps, again.minutes) == (0, 5.0)


def test_an_option_goes_before_the_same_one_in_set():
    assert config_of("--set", "batch=16", "--batch", "32").batch == 32


@pytest.mark.parametrize("content", [None, "{}", "\x00"])
def test_what_is_no_configuration_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TrainingError, match=r"configuration of a run|expected the config.json"):
        parse(("--config", str(path)))


@pytest.mark.parametrize("text", ["batch", "bach=3", "batch=many"])
def test_a_bad_assignment_is_told_with_usage(text, capsys):
    with pytest.raises(SystemExit):
        parse(("--set", text))
    assert text.split("=")[0] in capsys.readouterr().err.replace("-", "_")
