"""One step of training: mixtures -> embeddings -> loss -> gradients -> weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from unmingle.training.augment.scene import Surroundings, make_scene
from unmingle.training.checkpoint import State
from unmingle.training.mixtures import Batch, MixtureSampler, join, make_batch, pick, samples_for
from unmingle.training.objectives import Objective, evaluate, parse_objective
from unmingle.training.optimisation import learning_rate
from unmingle.training.processes import Processes, without_averaging
from unmingle.training.step_profile import Profile
from unmingle.training.train_config import TrainConfig


@dataclasses.dataclass
class Stepper:
    """Takes the steps of a run.

    A step learns from `config.accumulate` batches. Each has random numbers of its own, so it does not matter which
    process takes it: gradients are those of one process with all of them.

    Attributes:
        objective: in place of the configuration's.
    """

    config: TrainConfig
    state: State
    sampler: MixtureSampler
    surroundings: Surroundings
    precision: torch.dtype
    processes: Processes
    profile: Profile
    objective: Objective | None = None

    def __post_init__(self) -> None:
        self._objective = self.objective or parse_objective(self.config.objective)
        self._network: nn.Module = self.processes.parallel(self.state.network)

    def step(self) -> dict[str, float]:
        """Take a step; what is worth logging of it."""
        config, state = self.config, self.state
        state.optimiser.zero_grad()
        loss = torch.zeros(())
        with self._batches() as batches:
            for batch, is_last in batches:
                loss = loss + self._add_gradients(batch, is_last)
        with self.profile.part("optimiser"):
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
        self.profile.end_step()
        (total,) = self.processes.total([float(loss)])
        mean = total / config.accumulate
        return {"step": state.step, "loss": mean, "learning_rate": step_size, "gradient_norm": norm}

    @contextmanager
    def _batches(self) -> Iterator[Iterator[tuple[Batch, bool]]]:
        """The batches of a step that are this process's, and whether each is the last."""
        generator, parts = self.sampler.generator, self.config.accumulate
        if parts == 1:
            yield iter([(self._make_batch(), True)])
            return
        seeds = torch.randint(2**62, (parts,), generator=generator).tolist()
        after = generator.get_state()
        own = self.processes.share(parts)

        def made() -> Iterator[tuple[Batch, bool]]:
            for part in own:
                generator.manual_seed(seeds[part])
                yield self._make_batch(), part == own[-1]

        yield made()
        generator.set_state(after)

    def _make_batch(self) -> Batch:
        config, sampler, pieces = self.config, self.sampler, self.config.mixtures.pieces
        with self.profile.part("mixtures"):
            samples = samples_for(config.frames, config.network)
            sources = sampler.sources(sampler.draw(config.batch, samples), samples)
        with self.profile.part("conditions"):
            rate = config.network.sample_rate
            scene = make_scene(sources, config.conditions, self.surroundings, pieces, rate, sampler.generator)
        with self.profile.part("features and targets"):
            return make_batch(
                scene.sources, config.network, config.weighting, background=scene.background, mixture=scene.mixture
            )

    def _add_gradients(self, batch: Batch, is_last: bool) -> Tensor:
        """Loss of a batch, a scalar; its gradients, as part of the step's, are added to those that there are."""
        config, pieces = self.config, self.config.mixtures.pieces
        device = batch.features.device.type
        with nullcontext() if is_last else without_averaging(self._network):
            with (
                self.profile.part("network"),
                torch.autocast(device, self.precision, enabled=self.precision != torch.float32),
            ):
                embeddings = self._network(batch.features)
            with self.profile.part("loss"):
                # Outside autocast: Gram matrices want float32.
                heard, index = batch.joined(pieces).loudest(config.loss_share)
                chosen = pick(join(embeddings, pieces), index, heard.weights.shape[1])
                loss = evaluate(self._objective, chosen, heard, config.network)
            with self.profile.part("gradients"):
                # The mean over processes is taken as gradients are; so is that over batches.
                scaled = self.state.scaler.scale(loss * (self.processes.count / config.accumulate))
                scaled.backward()  # type: ignore[no-untyped-call]  # torch's
        return loss.detach().cpu()
