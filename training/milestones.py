"""What a run does now and then: measure, keep the best, go back where it diverged, export in the end.

Measuring and writing are for the first process; all learn what came of it, so that all go on alike.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from unmingle.model.network.export import export
from unmingle.model.network.trunk import make_network
from unmingle.training import checkpoint
from unmingle.training.checkpoint import BEST, LATEST, State
from unmingle.training.divergence import RATE_FACTOR, check_rewinds
from unmingle.training.preview import Preview
from unmingle.training.processes import Processes
from unmingle.training.run_log import RunLog
from unmingle.training.train_config import TrainConfig
from unmingle.training.validation import Measured, Validation

CONFIG, MODEL = "config.json", "model.onnx"


@dataclasses.dataclass
class Milestones:
    """The run's folder, and what is kept in it.

    Attributes:
        choosing: mixtures that choose the best weights.
        judging: mixtures that say how good these are.
        log: None in all processes but the first.
    """

    folder: Path
    config: TrainConfig
    state: State
    choosing: Validation
    judging: Validation
    log: RunLog | None
    processes: Processes

    def start(self) -> float:
        """Measure what there is before the first step; with --init, this may turn out to be the best. Returns dB."""
        found_db = float("nan")
        if self.log:
            measured = self.choosing.measure(self.state.network)
            self.log.add({"step": 0, **measured.record()})
            print(f"before the first step: {measured}")
            found_db = measured.mean_db
            if self.config.init:
                checkpoint.save_network(self.folder / BEST, self.state.network)
        (found_db,) = self.processes.from_first([found_db])
        if self.config.init:
            self.state.best_db = found_db
        return found_db

    def validate(self) -> float:
        """Measure the weights, and their average if there is one; keep what is better than all before. Returns dB."""
        state = self.state
        found_db = self._measure(self.log) if self.log else float("nan")
        (found_db,) = self.processes.from_first([found_db])
        state.since_best += 1
        if found_db > state.best_db:
            state.best_db, state.since_best = found_db, 0
        return found_db

    def _measure(self, log: RunLog) -> float:
        state = self.state
        measured = self.choosing.measure(state.network)
        record, network, found_db = measured.record(), state.network, measured.mean_db
        averaged = state.averaged_network
        if averaged:
            record["average_si_sdr_improvement_db"] = average_db = self.choosing.measure(averaged).mean_db
            if average_db > found_db:
                network, found_db = averaged, average_db
        log.add({"step": state.step, **record})
        log.draw_curves()
        Preview(self.folder, self.choosing).write(network, state.step, log)
        if found_db > state.best_db:
            checkpoint.save_network(self.folder / BEST, network)
        return found_db

    def rewind(self) -> None:
        """Back to the last checkpoint, with a smaller learning rate.

        Raises:
            TrainingError: that did not help before.
        """
        state, config = self.state, self.config
        reached, factor, rewinds = state.step, state.rate_factor, state.rewinds
        elapsed_s, best_db = state.elapsed_s, state.best_db
        check_rewinds(rewinds, reached, config.learning_rate * factor)
        checkpoint.restore(self.folder / LATEST, state, config)
        state.rate_factor, state.rewinds = factor * RATE_FACTOR, rewinds + 1
        state.elapsed_s, state.best_db = elapsed_s, best_db  # best.pt stays, too
        self.processes.wait()  # until all have read it
        if self.log:
            self.log.rewind(state.step)
            self.log.add({"step": state.step, "rewound_from": reached, "rate_factor": state.rate_factor})
            print(
                f"\nwarning: the loss or its gradient stays NaN (step {reached}); going back to step {state.step} "
                f"with a learning rate of {config.learning_rate * state.rate_factor:.3g}",
                file=sys.stderr,
            )
        self.save()

    def save(self) -> None:
        """Checkpoint and log to disk, the log first: what it has too much, resuming forgets."""
        if self.log:
            self.log.flush()
            checkpoint.save(self.folder / LATEST, self.state, self.config)

    def finish(self) -> None:
        """Write the model of the best validation, or of the last step where there was none; say how good it is."""
        if not self.processes.is_first:
            return
        network = make_network(self.config.network)
        if (self.folder / BEST).is_file():
            checkpoint.load_weights(self.folder / BEST, network)
        else:
            network.load_state_dict(self.state.network.state_dict())
        export(network, self.folder / MODEL)
        self._say_quality(self.judging.measure(network))

    def _say_quality(self, measured: Measured) -> None:
        """What the exported model is worth, and what to do with it."""
        folder, config, state = self.folder, self.config, self.state
        print(f"{folder / MODEL}: {measured}, which had no say in choosing the weights")
        if config.init and state.since_best >= max(1, state.validations):
            print(
                "hint: no validation was better than the weights that the run started from, so these were exported; "
                "try a smaller --learning-rate, or more and other data",
                file=sys.stderr,
            )
        if measured.mean_db < 0.0:
            print(
                "hint: the stems are worse than the mixture itself, so this model does not separate yet; train for "
                "longer or on more speakers, or start from a model that does with --init",
                file=sys.stderr,
            )
        print(f"try: unmingle separate --model {folder / MODEL} FILE -o OUT")
        print(
            "It is in float32, which serves slower than 8 bits on a CPU; for serving: python training/publish.py "
            f"{folder} --name {config.network.name} --int8 -o {config.network.name}.onnx"
        )


def write_config(folder: Path, config: TrainConfig) -> None:
    """Whole or not at all: a run without its configuration is lost."""
    partial = folder / (CONFIG + ".partial")
    partial.write_text(config.to_json())
    os.replace(partial, folder / CONFIG)
