"""A worker on a machine of a Ray cluster, as the server sees it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from unmingle.model.errors import ModelError
from unmingle.service.scheduling.work import Control, Task
from unmingle.service.scheduling.worker import Reason, WorkerLostError
from unmingle.service.version import version
from unmingle.service.workers.launch import how_it_ended
from unmingle.service.workers.messages import Loaded, Message, ModelFacts, Terms, Unusable, first_of, packed
from unmingle.service.workers.on_ray.cluster import ClusterError, Share, is_alive
from unmingle.service.workers.on_ray.host import Home, Host, Refusal, Sign, end
from unmingle.service.workers.remote import LOADING_S, RemoteWorker
from unmingle.service.workers.staging import Staging

T = TypeVar("T")

_CALLS_AT_ONCE = 3
"""Of the actor: one that waits for news, one that says something, and one to spare."""
_BURIAL_S, _LEAVING_S = 60.0, 10.0
_FADING_S = 3.0
"""So much later than it has to, a worker may end that nobody can reach any more."""

_FAULTS = (RayError, ConnectionError)
"""What Ray raises when an actor has gone."""

type_of_host: Any = ray.remote(Host)
end_there: Any = ray.remote(end)


class RayWorker(RemoteWorker):
    """An actor with the process of a worker. A `Worker`; belongs to one event loop once that has begun."""

    def __init__(
        self,
        terms: Terms,
        share: Share,
        sign: Sign,
        staging: Staging | None,
        silence_s: float,
        batch_sizes: collections.Counter[int] | None = None,
        expected: ModelFacts | None = None,
    ) -> None:
        """Have Ray start the actor, as soon as there is room for it.

        Args:
            terms: how it is to work.
            share: what it takes of its machine.
            sign: is found in the server's data directory, where it shares that.
            staging: brings it files where it does not.
            silence_s: a worker that gives no sign of life for so long is hung.
            batch_sizes: counts the network's calls by their segments.
            expected: the model that it must have.
        """
        super().__init__("on Ray", silence_s, batch_sizes)
        self._expected = expected
        self._actor = type_of_host.options(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            max_restarts=0,  # the engine replaces it
            max_concurrency=_CALLS_AT_ONCE,
            scheduling_strategy="SPREAD",
        ).remote()
        self._staging = staging
        store_url = staging.url if staging else ""
        self._begun = self._actor.begin.remote(packed(terms), sign, store_url, version(), silence_s)
        self._home: Home | None = None
        self._heard = bytearray()
        self._code: int | None = None
        self._fault: Exception | None = None
        self._leaves = False
        self._unsaid = bytearray()
        self._something_to_say = asyncio.Event()
        self._speaker: asyncio.Task[None] | None = None

    @property
    def home(self) -> Home | None:
        """Where it is; None until it has begun."""
        return self._home

    def facts(self, within_s: float, no_room: Callable[[], str]) -> ModelFacts:
        """What model it has. Blocking; before an event loop begins with it, and once.

        Args:
            within_s: longest wait for the actor to begin.
            no_room: says what there is instead of room for it.

        Raises:
            ClusterError: it does not begin.
            ModelError: it cannot use the model, or has gone.
        """
        try:
            self._take_home(ray.get(self._begun, timeout=within_s))
            give_up = time.monotonic() + LOADING_S
            while not isinstance(message := first_of(self._heard), Loaded | Unusable):
                if message is None:
                    data, self._code = ray.get(self._actor.news.remote(), timeout=LOADING_S)
                    self._heard += data
                    if self._code is not None:
                        raise ModelError(f"The process that loads the model {how_it_ended(self._code)[1]}.")
                    if time.monotonic() > give_up:
                        raise ModelError(f"The process that loads the model has not done so in {LOADING_S:g} s.")
        except GetTimeoutError as error:
            raise ClusterError(f"No worker has begun on the Ray cluster within {within_s:g} s: {no_room()}") from error
        except _FAULTS as error:
            raise ClusterError(f"No worker begins on the Ray cluster: {error}") from error
        if isinstance(message, Unusable):
            raise message.error
        return message.facts

    async def do(self, task: Task[T], control: Control) -> T:
        """See `Worker`."""
        done = super().do
        if self._staging is None or self._home is None or self._home.shares:
            return await done(task, control)
        return await self._staging.run(task, lambda staged: done(staged, control))

    async def end(self) -> None:
        """See `Worker`."""
        self._leaves = True
        if self._tasks:
            self._kill()
            await asyncio.wait(self._tasks, timeout=2 * _LEAVING_S)
            for task in self._tasks:  # where the cluster itself has gone, Ray says nothing for a minute
                task.cancel()
        else:
            await self._bury()

    async def _connect(self) -> None:
        try:
            self._take_home(await self._begun)
        except _FAULTS as error:
            raise WorkerLostError("ended", f"a worker does not begin on the Ray cluster: {error}") from error
        self._speaker = asyncio.create_task(self._speak())

    def _take_home(self, home: Home | Refusal) -> None:
        if isinstance(home, Refusal):
            raise ClusterError(home.detail)
        self._home, self.name = home, f"{home.pid} on Ray node {home.address}"

    async def _messages(self) -> AsyncIterator[Message]:
        while self._code is None:
            while (message := first_of(self._heard)) is not None:
                yield message
            try:
                data, self._code = await self._actor.news.remote()
            except _FAULTS as error:
                self._fault = error
                return
            self._heard += data

    def _take(self, message: Message) -> None:
        if isinstance(message, Loaded) and self._expected and message.facts.hash != self._expected.hash:
            message = Unusable(ModelError(f"Worker {self.name} has another model than the server's other workers."))
        super()._take(message)

    def _write(self, data: bytes) -> None:
        self._unsaid += data
        self._something_to_say.set()

    async def _speak(self) -> None:
        """One call after the other: Ray does not keep the order of calls that are made at the same time."""
        with contextlib.suppress(*_FAULTS):  # it has gone, which its news tell, too
            while True:
                await self._something_to_say.wait()
                self._something_to_say.clear()
                data, self._unsaid = bytes(self._unsaid), bytearray()
                await self._actor.say.remote(data)

    def _kill(self) -> None:
        with contextlib.suppress(*_FAULTS):
            ray.kill(self._actor)

    async def _bury(self) -> tuple[Reason, str]:
        if self._speaker:
            self._speaker.cancel()
        self._kill()
        there = True
        if self._home:  # Ray does not wait until processes have gone, and does not end one that is stopped
            try:
                at_home = NodeAffinitySchedulingStrategy(self._home.node, soft=False)
                ending = end_there.options(num_cpus=0, max_retries=0, scheduling_strategy=at_home).remote(self._home)
                async with asyncio.timeout(_LEAVING_S if self._leaves else _BURIAL_S):
                    await ending
            except (*_FAULTS, TimeoutError):
                there = await asyncio.to_thread(is_alive, self._home.node)
                # It may live on there, for all that is known; its host gives up on us as we do on it.
                await asyncio.sleep(0.0 if self._leaves else self._silence_s + _FADING_S)
        if self._code is not None:
            return how_it_ended(self._code)
        if not there:
            return "node", "is lost with its machine"
        return "killed", f"was killed, or its actor was ({_why(self._fault)})"


def _why(fault: Exception | None) -> str:
    """Ray's reason, without the advice that comes with it."""
    _, found, reason = str(fault).partition("The actor is dead because ")
    return " ".join(reason.split(". ")[0].split()) if found else type(fault).__name__
