"""Train an embedding network: `python training/train.py`, `... --data DIR`, `... --resume RUN`; see training/README.md.

Read it from the top: arguments -> run's folder -> corpus -> state -> loop -> exported model.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

# Threads that wait for each other must not burn the cores that others need: on a busy machine, a step on two threads
# takes ten times as long with the default. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from unmingle.model.errors import UnmingleError
from unmingle.model.network.export import export
from unmingle.model.network.trunk import make_network
from unmingle.training import arguments, checkpoint, machine
from unmingle.training.augment.scene import Surroundings, make_scene
from unmingle.training.augment.surroundings import find_surroundings
from unmingle.training.checkpoint import BEST, LATEST, State
from unmingle.training.divergence import RATE_FACTOR, Divergence, check_rewinds
from unmingle.training.errors import TrainingError
from unmingle.training.interruption import Interruption, heed_interruptions
from unmingle.training.material import read_material
from unmingle.training.mixtures import MixtureSampler, join, make_batch, pick, samples_for
from unmingle.training.objectives import Objective, evaluate, parse_objective
from unmingle.training.optimisation import GradientClipper, learning_rate, standardise
from unmingle.training.run_log import RunLog
from unmingle.training.train_config import SMALL_NETWORK, TrainConfig
from unmingle.training.validation import Measured, Validation

CONFIG, MODEL = "config.json", "model.onnx"
DECODED = ".decoded"
"""Beside the runs: what was decoded of corpora. No run can have this name."""
CHECKPOINT_EVERY_S = 60.0
STANDARDISE_ON = 64
VALIDATION_SHARE = 0.2
"""Of a run that ends by the clock, so that a slow machine trains rather than measures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trainer; returns the process's exit code."""
    try:
        asked = arguments.parse(argv)
        folder, config = resumed_run(asked) if asked.resume else new_run(asked)
        return train(folder, config, resume=bool(asked.resume))
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a disk that is full, a folder that may not be written to
        print(f"error: {error.filename or 'a file of the run'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def new_run(asked: arguments.Arguments) -> tuple[Path, TrainConfig]:
    """Configuration of a new run, and where its folder is going to be."""
    if asked.extend:
        raise TrainingError("--extend goes with --resume RUN: it makes a run longer.")
    init = asked.given.get("init")
    if init:
        found = [checkpoint.find(asked.runs, part) for part in init.split(",")]
        asked.given["init"] = ",".join(map(str, found))
    start = checkpoint.read_network_config(found[0]) if init else SMALL_NETWORK
    taken = {p.name for p in asked.runs.iterdir()} if asked.runs.is_dir() else set()
    name = asked.given.get("name") or next(f"run-{n}" for n in range(1, len(taken) + 2) if f"run-{n}" not in taken)
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise TrainingError(f"--name {name} cannot name a folder: expected letters, digits, '_', '-' and '.'.")
    if name in taken:
        raise TrainingError(
            f"There is a run {asked.runs / name} already: choose another --name, go on with it by --resume {name}, or "
            "remove its folder."
        )
    return asked.runs / name, arguments.new_config({**asked.given, "name": name}, start)


def resumed_run(asked: arguments.Arguments) -> tuple[Path, TrainConfig]:
    """Folder and configuration of a run to go on with."""
    folder = next((f for f in (asked.runs / asked.resume, Path(asked.resume)) if (f / CONFIG).is_file()), None)
    if folder is None:
        raise TrainingError(
            f"There is no run to go on with at {asked.runs / asked.resume}: expected a folder with {CONFIG} and "
            f"{LATEST} in it, as an earlier run of training/train.py wrote."
        )
    config = arguments.resumed_config(asked.given, TrainConfig.from_json((folder / CONFIG).read_text()))
    if asked.extend:
        config = arguments.extended_config(config, asked.extend)
    return folder, config


def train(folder: Path, config: TrainConfig, resume: bool) -> int:
    """One sitting: until the budget is used up or somebody asks to stop. Returns the process's exit code."""
    machine.set_threads(config.threads)
    # Before the corpus is decoded: that takes long.
    device = machine.choose_device(config.device)
    precision = machine.choose_precision(config.precision, device)
    torch.manual_seed(config.seed)

    cache = Path(config.cache) if config.cache else folder.parent / DECODED
    material = read_material(config, cache)
    config, corpus = material.config, material.corpus.to(device)
    sampler = MixtureSampler(corpus, config.mixtures, torch.Generator().manual_seed(config.seed))
    surroundings = find_surroundings(
        config.conditions,
        Path(config.data),
        corpus,
        len(config.mixtures.num_sources),
        sampler.generator,
        config.rooms,
        config.seed,
        config.mixtures.pieces,
        cache,
    )
    with heed_interruptions() as interruption:
        state = begin(config, sampler, device)
        state.corpus = material.fingerprint
        if resume:
            checkpoint.restore(folder / LATEST, state, config)
            write_config(folder, config)
            print(f"going on with {folder} after step {state.step}")
        else:
            initialise(config, state, sampler)
            folder.mkdir(parents=True)
            write_config(folder, config)
            checkpoint.save(folder / LATEST, state, config)
        weights = sum(p.numel() for p in state.network.parameters())
        print(f"{weights / 1e6:.1f} million weights in training on {device}, in {precision}".replace("torch.", ""))
        with closing(RunLog(folder, state.step)) as log:
            run_steps(folder, config, state, sampler, surroundings, precision, material.choosing, log, interruption)
    export_best(folder, config, state, material.judging)
    if interruption:
        again = f"python training/train.py --runs {folder.parent} --resume {folder.name}"
        print(f"stopped after step {state.step}; go on with: {again}")
    return interruption.exit_code


def write_config(folder: Path, config: TrainConfig) -> None:
    """Whole or not at all: a run without its configuration is lost."""
    partial = folder / (CONFIG + ".partial")
    partial.write_text(config.to_json())
    os.replace(partial, folder / CONFIG)


def begin(config: TrainConfig, sampler: MixtureSampler, device: torch.device) -> State:
    """Network and optimiser as they are made, with random weights."""
    scaler = machine.loss_scaler(machine.choose_precision(config.precision, device), device)
    network = make_network(config.network, config.dropout).to(device)
    optimiser = torch.optim.Adam(network.parameters(), config.learning_rate)
    state = State(network, optimiser, GradientClipper(config.clip_percentile), sampler.generator, scaler)
    if config.ema_decay:
        averaging = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]  # torch's
        state.average = AveragedModel(network, multi_avg_fn=averaging)
    return state


def initialise(config: TrainConfig, state: State, sampler: MixtureSampler) -> None:
    """The weights that a new run starts from, or at least the scale of the features."""
    if config.init:
        checkpoint.load_mean_weights([Path(part) for part in config.init.split(",")], state.network)
        return
    samples = samples_for(config.frames, config.network)
    draw = sampler.draw(STANDARDISE_ON * config.mixtures.pieces, samples)
    batch = make_batch(sampler.sources(draw, samples), config.network)
    state.network.mean, state.network.deviation = standardise(batch.features)


def run_steps(
    folder: Path,
    config: TrainConfig,
    state: State,
    sampler: MixtureSampler,
    surroundings: Surroundings,
    precision: torch.dtype,
    validation: Validation,
    log: RunLog,
    interruption: Interruption,
) -> None:
    """The loop. A checkpoint is written every minute and at the end, so that hardly anything can be lost."""
    objective = parse_objective(config.objective)
    found_db = measure_start(folder, config, state, validation, log) if state.step == 0 else float("nan")
    divergence = Divergence()
    began, used_before, first_step = time.monotonic(), state.elapsed_s, state.step
    saved_at, validated_s = began, 0.0
    tty = sys.stderr.isatty()
    bar = tqdm(
        total=1.0,
        initial=min(1.0, state.progress(config)),
        bar_format="{percentage:3.0f}%|{bar:20}| {desc}",
        mininterval=0.5 if tty else 20.0,
        # By itself, it would take the first stride of a resumed run for the usual one and say nothing more.
        miniters=0,
    )
    state.network.train()
    while state.progress(config) < 1.0 and not interruption:
        if config.patience and state.since_best >= config.patience:
            print(f"\nno validation was better than {state.best_db:.2f} dB {state.since_best} times: the run ends here")
            break
        record = step(config, state, sampler, surroundings, precision, objective)
        state.elapsed_s = used_before + time.monotonic() - began
        log.add({**record, "elapsed_s": round(state.elapsed_s, 3)})
        if divergence.note(record["loss"], record["gradient_norm"]):
            rewind(folder, config, state, log)
            first_step, divergence = state.step, Divergence()
            continue
        progress = min(1.0, state.progress(config))
        affordable = config.steps or progress == 1.0 or validated_s <= VALIDATION_SHARE * (time.monotonic() - began)
        if int(progress * config.validations) > state.validations and affordable:
            validated_s -= time.monotonic()
            state.validations = int(progress * config.validations)
            found_db = validate(folder, state, validation, log)
            log.draw_curves()
            validated_s += time.monotonic()
        # Never in the middle of bad steps: a checkpoint is what the run goes back to.
        if time.monotonic() - saved_at > CHECKPOINT_EVERY_S and not divergence.bad_steps:
            save(folder, config, state, log)
            saved_at = time.monotonic()
        speed = (state.step - first_step) * config.seconds_per_step / (time.monotonic() - began)
        left = state.elapsed_s * (1.0 - progress) / progress
        bar.set_description_str(
            f"step {state.step}, loss {log.recent_loss():.4f}, SI-SDRi {found_db:.1f} dB, {speed:.0f} x real time, "
            f"{tqdm.format_interval(left)} left",
            refresh=False,
        )
        bar.update(progress - bar.n)
    bar.close()
    save(folder, config, state, log)
    log.draw_curves()


def validate(folder: Path, state: State, validation: Validation, log: RunLog) -> float:
    """Measure the weights, and their average if there is one; keep what is better than all before. Returns dB."""
    measured = validation.measure(state.network)
    record, network, found_db = measured.record(), state.network, measured.mean_db
    averaged = state.averaged_network
    if averaged:
        record["average_si_sdr_improvement_db"] = average_db = validation.measure(averaged).mean_db
        if average_db > found_db:
            network, found_db = averaged, average_db
    log.add({"step": state.step, **record})
    state.since_best += 1
    if found_db > state.best_db:
        state.best_db, state.since_best = found_db, 0
        checkpoint.save_network(folder / BEST, network)
    return found_db


def measure_start(folder: Path, config: TrainConfig, state: State, validation: Validation, log: RunLog) -> float:
    """What there was before the first step; with --init, this may turn out to be the best."""
    measured = validation.measure(state.network)
    log.add({"step": 0, **measured.record()})
    print(f"before the first step: {measured}")
    if config.init:
        state.best_db = measured.mean_db
        checkpoint.save_network(folder / BEST, state.network)
    return measured.mean_db


def rewind(folder: Path, config: TrainConfig, state: State, log: RunLog) -> None:
    """Back to the last checkpoint, with a smaller learning rate; raises where that did not help before."""
    reached, factor, rewinds = state.step, state.rate_factor, state.rewinds
    elapsed_s, best_db = state.elapsed_s, state.best_db
    check_rewinds(rewinds, reached, config.learning_rate * factor)
    checkpoint.restore(folder / LATEST, state, config)
    state.rate_factor, state.rewinds = factor * RATE_FACTOR, rewinds + 1
    state.elapsed_s, state.best_db = elapsed_s, best_db  # best.pt stays, too
    log.rewind(state.step)
    log.add({"step": state.step, "rewound_from": reached, "rate_factor": state.rate_factor})
    print(
        f"\nwarning: the loss or its gradient stays NaN (step {reached}); going back to step {state.step} "
        f"with a learning rate of {config.learning_rate * state.rate_factor:.3g}",
        file=sys.stderr,
    )
    save(folder, config, state, log)


def step(
    config: TrainConfig,
    state: State,
    sampler: MixtureSampler,
    surroundings: Surroundings,
    precision: torch.dtype,
    objective: Objective,
) -> dict[str, float]:
    """Mixtures -> embeddings -> loss -> one step of the optimiser; what is worth logging of it."""
    samples = samples_for(config.frames, config.network)
    sources = sampler.sources(sampler.draw(config.batch, samples), samples)
    rate, pieces = config.network.sample_rate, config.mixtures.pieces
    scene = make_scene(sources, config.conditions, surroundings, pieces, rate, sampler.generator)
    batch = make_batch(
        scene.sources, config.network, config.weighting, background=scene.background, mixture=scene.mixture
    )
    with torch.autocast(sources.device.type, precision, enabled=precision != torch.float32):
        embeddings = state.network(batch.features)
    # Outside autocast: Gram matrices want float32.
    heard, index = batch.joined(pieces).loudest(config.loss_share)
    chosen = pick(join(embeddings, pieces), index, heard.weights.shape[1])
    loss = evaluate(objective, chosen, heard, config.network)
    state.optimiser.zero_grad()
    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's
    state.scaler.unscale_(state.optimiser)
    highest = config.learning_rate * state.rate_factor
    step_size = learning_rate(highest, state.step, state.progress(config), config.warm_up)
    for group in state.optimiser.param_groups:
        group["lr"] = step_size
    norm = state.clipper.clip(state.network.parameters())
    if norm < float("inf"):  # not for nan either: a step with such gradients would be the last
        state.scaler.step(state.optimiser)
        if state.average:
            state.average.update_parameters(state.network)
    state.scaler.update()
    state.step += 1
    return {"step": state.step, "loss": float(loss.detach()), "learning_rate": step_size, "gradient_norm": norm}


def save(folder: Path, config: TrainConfig, state: State, log: RunLog) -> None:
    """Checkpoint and log to disk, the log first: what it has too much, resuming forgets."""
    log.flush()
    checkpoint.save(folder / LATEST, state, config)


def export_best(folder: Path, config: TrainConfig, state: State, judging: Validation) -> None:
    """Write the model of the best validation, or of the last step where there was none, and say how good it is."""
    network = make_network(config.network)
    if (folder / BEST).is_file():
        checkpoint.load_weights(folder / BEST, network)
    else:
        network.load_state_dict(state.network.state_dict())
    export(network, folder / MODEL)
    say_quality(folder, config, state, judging.measure(network))


def say_quality(folder: Path, config: TrainConfig, state: State, measured: Measured) -> None:
    """What the exported model is worth, and what to do with it."""
    print(f"{folder / MODEL}: {measured}, which had no say in choosing the weights")
    if config.init and state.since_best >= max(1, state.validations):
        print(
            "hint: no validation was better than the weights that the run started from, so these were exported; try a "
            "smaller --learning-rate, or more and other data",
            file=sys.stderr,
        )
    if measured.mean_db < 0.0:
        print(
            "hint: the stems are worse than the mixture itself, so this model does not separate yet; train for longer "
            "or on more speakers, or start from a model that does with --init",
            file=sys.stderr,
        )
    print(f"try: unmingle separate --model {folder / MODEL} FILE -o OUT")
    print(
        "It is in float32, which serves slower than 8 bits on a CPU; for serving: python training/publish.py "
        f"{folder} --name {config.network.name} --int8 -o {config.network.name}.onnx"
    )


if __name__ == "__main__":
    sys.exit(main())
