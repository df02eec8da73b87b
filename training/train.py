"""Train an embedding network: `python training/train.py`, `... --data DIR`, `... --resume RUN`; see training/README.md.

Read it from the top: arguments -> run's folder -> corpus -> state -> loop -> exported model.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Threads that wait for each other must not burn the cores that others need: on a busy machine, a step on two threads
# takes ten times as long with the default. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from tqdm import tqdm

from unmingle.model.errors import UnmingleError
from unmingle.model.network.export import export
from unmingle.model.network.trunk import make_network
from unmingle.training import arguments, checkpoint, machine
from unmingle.training.augment.scene import Surroundings, make_scene
from unmingle.training.augment.surroundings import find_surroundings
from unmingle.training.checkpoint import BEST, LATEST, State
from unmingle.training.corpus import find_recordings, load_corpus
from unmingle.training.errors import TrainingError
from unmingle.training.interruption import Interruption, heed_interruptions
from unmingle.training.mixtures import MixtureSampler, join, make_batch, pick, samples_for
from unmingle.training.objectives import Objective, evaluate, parse_objective
from unmingle.training.optimisation import GradientClipper, learning_rate, standardise
from unmingle.training.run_log import RunLog
from unmingle.training.train_config import SMALL_NETWORK, TrainConfig
from unmingle.training.validation import Validation

CONFIG, MODEL = "config.json", "model.onnx"
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
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def new_run(asked: arguments.Arguments) -> tuple[Path, TrainConfig]:
    """Configuration of a new run, and where its folder is going to be."""
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
    return folder, arguments.resumed_config(asked.given, TrainConfig.from_json((folder / CONFIG).read_text()))


def train(folder: Path, config: TrainConfig, resume: bool) -> int:
    """One sitting: until the budget is used up or somebody asks to stop. Returns the process's exit code."""
    machine.set_threads(config.threads)
    device = machine.choose_device(config.device)
    torch.manual_seed(config.seed)

    recordings = find_recordings(Path(config.data))
    rate = config.network.sample_rate
    corpus = load_corpus([r for r in recordings if r.split == "train"], rate)
    held_out = load_corpus([r for r in recordings if r.split == "valid" and r.is_speech], rate)
    validation = Validation(held_out, config.validation_mixtures)
    print(
        f"{corpus.hours:.2f} hours of {len(corpus.speakers)} speakers to train on, {len(held_out.speakers)} speakers "
        "held out for validation"
    )
    corpus = corpus.to(device)
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
    )
    with heed_interruptions() as interruption:
        state = begin(config, sampler, device)
        if resume:
            checkpoint.restore(folder / LATEST, state, config)
            print(f"going on with {folder} after step {state.step}")
        else:
            initialise(config, state, sampler)
            folder.mkdir(parents=True)
            (folder / CONFIG).write_text(config.to_json())
            checkpoint.save(folder / LATEST, state, config)
        log = RunLog(folder, state.step)
        precision = machine.choose_precision(config.precision, device)
        weights = sum(p.numel() for p in state.network.parameters())
        print(f"{weights / 1e6:.1f} million weights in training on {device}, in {precision}".replace("torch.", ""))
        run_steps(folder, config, state, sampler, surroundings, precision, validation, log, interruption)
        log.close()
    export_best(folder, config, state)
    if interruption:
        again = f"python training/train.py --runs {folder.parent} --resume {folder.name}"
        print(f"stopped after step {state.step}; go on with: {again}")
    return interruption.exit_code


def begin(config: TrainConfig, sampler: MixtureSampler, device: torch.device) -> State:
    """Network and optimiser as they are made, with random weights."""
    scaler = machine.loss_scaler(machine.choose_precision(config.precision, device), device)
    network = make_network(config.network, config.dropout).to(device)
    optimiser = torch.optim.Adam(network.parameters(), config.learning_rate)
    return State(network, optimiser, GradientClipper(config.clip_percentile), sampler.generator, scaler)


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
    found_db = float("nan")
    state.network.train()
    while state.progress(config) < 1.0 and not interruption:
        record = step(config, state, sampler, surroundings, precision, objective)
        state.elapsed_s = used_before + time.monotonic() - began
        log.add({**record, "elapsed_s": round(state.elapsed_s, 3)})
        progress = min(1.0, state.progress(config))
        affordable = config.steps or progress == 1.0 or validated_s <= VALIDATION_SHARE * (time.monotonic() - began)
        if int(progress * config.validations) > state.validations and affordable:
            validated_s -= time.monotonic()
            state.validations = int(progress * config.validations)
            found_db = validation.si_sdr_improvement_db(state.network)
            log.add({"step": state.step, "si_sdr_improvement_db": found_db})
            if found_db > state.best_db:
                state.best_db = found_db
                checkpoint.save_network(folder / BEST, state.network)
            log.draw_curves()
            validated_s += time.monotonic()
        if time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
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
    step_size = learning_rate(config.learning_rate, state.step, state.progress(config))
    for group in state.optimiser.param_groups:
        group["lr"] = step_size
    norm = state.clipper.clip(state.network.parameters())
    if norm < float("inf"):  # not for nan either: a step with such gradients would be the last
        state.scaler.step(state.optimiser)
    state.scaler.update()
    state.step += 1
    return {"step": state.step, "loss": float(loss.detach()), "learning_rate": step_size, "gradient_norm": norm}


def save(folder: Path, config: TrainConfig, state: State, log: RunLog) -> None:
    """Checkpoint and log to disk, the log first: what it has too much, resuming forgets."""
    log.flush()
    checkpoint.save(folder / LATEST, state, config)


def export_best(folder: Path, config: TrainConfig, state: State) -> None:
    """Write the model of the best validation, or of the last step where there was none yet."""
    network = make_network(config.network)
    if (folder / BEST).is_file():
        checkpoint.load_weights(folder / BEST, network)
    else:
        network.load_state_dict(state.network.state_dict())
    export(network, folder / MODEL)
    quality = f"SI-SDRi {state.best_db:.2f} dB on the validation mixtures" if state.validations else "not yet validated"
    print(f"{folder / MODEL}: {quality}; try: unmingle separate --model {folder / MODEL} FILE -o OUT")


if __name__ == "__main__":
    sys.exit(main())
