"""Train an embedding network: `python training/train.py`, `... --data DIR`, `... --resume RUN`; see training/README.md.

Read it from the top: arguments -> run's folder -> corpus -> state -> loop -> exported model.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, redirect_stdout
from pathlib import Path

# Threads that wait for each other must not burn the cores that others need: on a busy machine, a step on two threads
# takes ten times as long with the default. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from unmingle.model.network.trunk import EmbeddingNet, make_network
from unmingle.training import arguments, checkpoint, command, machine
from unmingle.training.augment.surroundings import find_surroundings
from unmingle.training.checkpoint import LATEST, State
from unmingle.training.divergence import Divergence
from unmingle.training.errors import TrainingError
from unmingle.training.interruption import Interruption, heed_interruptions
from unmingle.training.material import read_material
from unmingle.training.milestones import CONFIG, Milestones, write_config
from unmingle.training.mixtures import MixtureSampler, make_batch, samples_for
from unmingle.training.optimisation import GradientClipper, standardise
from unmingle.training.processes import Processes
from unmingle.training.provenance import write_provenance
from unmingle.training.run_log import RunLog
from unmingle.training.step_profile import Profile
from unmingle.training.stepping import Stepper
from unmingle.training.train_config import SMALL_NETWORK, TrainConfig
from unmingle.training.wandb_board import WandbBoard

DECODED = ".decoded"
"""Beside the runs: what was decoded of corpora. No run can have this name."""
CHECKPOINT_EVERY_S = 60.0
STANDARDISE_ON = 64
VALIDATION_SHARE = 0.2
"""Of a run that ends by the clock, so that a slow machine trains rather than measures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trainer; returns the process's exit code."""
    processes = Processes()

    def work() -> int:
        asked = arguments.parse(argv)
        stack.enter_context(processes.joined())
        folder, config, resume = processes.from_first(find_run(asked, processes))
        return train(folder, config, resume, processes, asked.profile, asked.wandb)

    with ExitStack() as stack:
        if not processes.is_first:
            # One of them speaks; errors are told by all.
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        return command.run(work)


def find_run(asked: arguments.Arguments, processes: Processes) -> tuple[Path, TrainConfig, bool]:
    """Folder and configuration of the run, and whether it goes on with what is there."""
    name = asked.given.get("name", "")
    if not asked.resume and processes.restarted and (asked.runs / name / LATEST).is_file():
        folder = asked.runs / name
        return folder, TrainConfig.from_json((folder / CONFIG).read_text()), True
    folder, config = resumed_run(asked) if asked.resume else new_run(asked)
    if config.accumulate == 1 and not asked.resume:
        config = dataclasses.replace(config, accumulate=processes.count)
    if config.accumulate % processes.count:
        raise TrainingError(
            f"A step learns from {config.accumulate} batch(es), which {processes.count} processes cannot share evenly: "
            "start as many processes as divide that, or a new run with another --accumulate."
        )
    return folder, config, bool(asked.resume)


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


def train(
    folder: Path, config: TrainConfig, resume: bool, processes: Processes, profiled: bool = False, wandb: str = ""
) -> int:
    """One sitting: until the budget is used up or somebody asks to stop. Returns the process's exit code."""
    machine.set_threads(config.threads, processes.on_this_machine)
    # Before the corpus is decoded: that takes long.
    device = machine.choose_device(config.device, processes.local_rank)
    precision = machine.choose_precision(config.precision, device)
    torch.manual_seed(config.seed)

    cache = Path(config.cache) if config.cache else folder.parent / DECODED
    generator = torch.Generator().manual_seed(config.seed)
    with processes.one_after_the_other():
        material = read_material(config, cache)
        config, corpus = material.config, material.corpus.to(device)
        sampler = MixtureSampler(corpus, config.mixtures, generator)
        surroundings = find_surroundings(
            config.conditions,
            Path(config.data),
            corpus,
            len(config.mixtures.num_sources),
            generator,
            config.rooms,
            config.seed,
            config.mixtures.pieces,
            cache,
        )
    with heed_interruptions() as interruption, ExitStack() as stack:
        state = begin(config, sampler, device)
        state.corpus = material.fingerprint
        if resume:
            checkpoint.restore(folder / LATEST, state, config)
            print(f"going on with {folder} after step {state.step}")
        else:
            initialise(config, state, sampler)
        # Only now: nobody may write what another still reads.
        processes.wait()
        if processes.is_first:
            folder.mkdir(parents=True, exist_ok=resume)
            write_config(folder, config)
            write_provenance(folder, state, device, precision, processes.count)
            if not resume:
                checkpoint.save(folder / LATEST, state, config)
        weights = sum(p.numel() for p in state.network.parameters())
        several = f", in {processes.count} processes" if processes.count > 1 else ""
        print(
            f"{weights / 1e6:.1f} million weights in training on {device}, in {precision}{several}".replace(
                "torch.", ""
            )
        )
        log = None
        if processes.is_first:
            board = WandbBoard(wandb, folder, dataclasses.asdict(config)) if wandb else None
            log = stack.enter_context(closing(RunLog(folder, state.step, board)))
        milestones = Milestones(folder, config, state, material.choosing, material.judging, log, processes)
        profile = Profile(device, profiled)
        stepper = Stepper(config, state, sampler, surroundings, precision, processes, profile)
        run_steps(stepper, milestones, interruption)
    print("".join(line + "\n" for line in profile.lines()), end="")
    milestones.finish()
    if interruption:
        again = f"python training/train.py --runs {folder.parent} --resume {folder.name}"
        print(f"stopped after step {state.step}; go on with: {again}")
    return interruption.exit_code


def begin(
    config: TrainConfig, sampler: MixtureSampler, device: torch.device, network: EmbeddingNet | None = None
) -> State:
    """Network and optimiser as they are made, with random weights; or those of `network`, in place of the usual one."""
    scaler = machine.loss_scaler(machine.choose_precision(config.precision, device), device)
    network = (network or make_network(config.network, config.dropout)).to(device)
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


def run_steps(stepper: Stepper, milestones: Milestones, interruption: Interruption) -> None:
    """The loop. A checkpoint is written every minute and at the end, so that hardly anything can be lost."""
    config, state, log, processes = stepper.config, stepper.state, milestones.log, stepper.processes
    found_db = milestones.start() if state.step == 0 else float("nan")
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
        disable=log is None,
    )
    state.network.train()
    while state.progress(config) < 1.0 and not interruption:
        if config.patience and state.since_best >= config.patience:
            print(f"\nno validation was better than {state.best_db:.2f} dB {state.since_best} times: the run ends here")
            break
        record = stepper.step()
        # One clock for all, and who stops, stops all.
        sitting_s, stopped_by = processes.highest([time.monotonic() - began, interruption.signal_number])
        interruption.signal_number = int(stopped_by)
        state.elapsed_s = used_before + sitting_s
        if log:
            log.add({**record, "elapsed_s": round(state.elapsed_s, 3)})
        if divergence.note(record["loss"], record["gradient_norm"]):
            milestones.rewind()
            first_step, divergence = state.step, Divergence()
            continue
        progress = min(1.0, state.progress(config))
        affordable = config.steps or progress == 1.0 or validated_s <= VALIDATION_SHARE * sitting_s
        if int(progress * config.validations) > state.validations and affordable:
            state.validations = int(progress * config.validations)
            found_db = milestones.validate()
            (passed_s,) = processes.highest([time.monotonic() - began])
            validated_s += passed_s - sitting_s
        # Never in the middle of bad steps: a checkpoint is what the run goes back to.
        if time.monotonic() - saved_at > CHECKPOINT_EVERY_S and not divergence.bad_steps:
            milestones.save()
            saved_at = time.monotonic()
        if log:
            speed = (state.step - first_step) * config.seconds_per_step / (time.monotonic() - began)
            left = state.elapsed_s * (1.0 - progress) / progress
            bar.set_description_str(
                f"step {state.step}, loss {log.recent_loss():.4f}, SI-SDRi {found_db:.1f} dB, {speed:.0f} x real time, "
                f"{tqdm.format_interval(left)} left",
                refresh=False,
            )
            bar.update(progress - bar.n)
    bar.close()
    milestones.save()
    if log:
        log.draw_curves()


if __name__ == "__main__":
    Processes().leave(main())
