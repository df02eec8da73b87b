"""Several processes that train one network: `torchrun --nproc-per-node N training/train.py`.

Every process computes gradients of its own mixtures; DistributedDataParallel averages them (Li et al., "PyTorch
Distributed", VLDB 2020), so that all take the same step. The first process alone measures, prints and writes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import NoReturn, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from unmingle.training.errors import TrainingError

_PATIENCE = timedelta(hours=2)
"""How long the others wait for the first one, which decodes the corpus and measures."""

Anything = TypeVar("Anything")


class Processes:
    """The processes of a run, as torchrun's environment variables name them; without torchrun there is one.

    Attributes:
        rank: of this process, from 0.
        local_rank: the same on this machine only.
        count: how many there are.
        restarted: whether torchrun has started them anew, after one of them died.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self.restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0

    @property
    def is_first(self) -> bool:
        """Whether this process measures, prints and writes."""
        return self.rank == 0

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Inside, the processes can talk to each other.

        Raises:
            TrainingError: another process has ended.
        """
        if self.count == 1:
            yield
            return
        # Both: what is small travels on the CPU, gradients where they are.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=_PATIENCE)
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, distributed.DistError) or "gloo" in str(error):
                raise TrainingError(
                    "Another process of this run has ended. What was learned up to the last checkpoint is there: go on "
                    "with --resume RUN, with as many processes as you like."
                ) from error
            raise
        finally:
            distributed.destroy_process_group()

    @contextmanager
    def one_after_the_other(self) -> Iterator[None]:
        """The first process goes ahead, and the others follow together: they find what it left on disk."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            self.highest([0.0])

    def from_first(self, thing: Anything) -> Anything:
        """What the first process has; anything that can be pickled."""
        if self.count == 1:
            return thing
        things = [thing]
        distributed.broadcast_object_list(things, src=0)
        return things[0]

    def highest(self, values: Sequence[float]) -> list[float]:
        """The highest of each value over all processes."""
        return self._over_all(values, distributed.ReduceOp.MAX)

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum of each value over all processes."""
        return self._over_all(values, distributed.ReduceOp.SUM)

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network, so that gradients are averaged over all processes as they are computed."""
        if self.count == 1:
            return network
        return DistributedDataParallel(network, forward_sync_buffers=False)

    def leave(self, code: int) -> NoReturn:
        """End this process with an exit code; everything must have been written.

        Gloo's threads outlive `destroy_process_group` once DistributedDataParallel has used them (torch 2.13). One that
        lets go of a tensor while the interpreter shuts down aborts the process, so here it does not shut down.
        """
        if self.count == 1:
            sys.exit(code)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def share(self, parts: int) -> range:
        """Which of so many parts of a step are this process's."""
        return range(self.rank, parts, self.count)

    def _over_all(self, values: Sequence[float], operation: distributed.ReduceOp.RedOpType) -> list[float]:
        if self.count == 1:
            return list(values)
        sent: Tensor = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(sent, operation)
        return [float(value) for value in sent]


def without_averaging(network: nn.Module) -> AbstractContextManager[None]:
    """Inside, gradients stay with this process, to be averaged with those that come after."""
    if isinstance(network, DistributedDataParallel):
        return cast(AbstractContextManager[None], network.no_sync())
    return nullcontext()
