"""The real stages between the queues of a run: processes that take a message, handle it, and may die."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.usage import PricedUsage
from shared.messaging.envelope import StageMessage
from shared.messaging.failure import GiveUp, Halve, after_failure, is_transient
from shared.messaging.topology import Stage, stage_queues
from shared.messaging.transport import Transport
from simulation.database import SimulatedClock
from simulation.queues import Exchange, Message, Queues
from simulation.scheduler import Scheduler
from workers.clock import Clock
from workers.debit import Debiting
from workers.notifications import Notifications
from workers.pricing import Pricing
from workers.thresholds import Thresholds

GRACE = timedelta(hours=1)
DEBIT_QUEUES = 2
_PROCESSES = 2
_SKEWS_S = (0, 0, 0, 2, -2, 90, -90)
_ANSWER_LOST_PERCENT = 2

Handle = Callable[[list[Any]], Awaitable[Sequence[StageMessage]]]


@dataclass(frozen=True, slots=True)
class World:
    """What the stages of a run share."""

    scheduler: Scheduler
    queues: Queues
    exchange: Exchange
    engine: AsyncEngine
    clock: SimulatedClock

    def skewed(self) -> Callable[[], datetime]:
        """Return the clock of one machine, which may be wrong."""
        skew = timedelta(seconds=_SKEWS_S[self.scheduler.choices.below(len(_SKEWS_S))])
        return lambda: self.clock.now + skew


class Process:
    """A process of a stage. It handles one message at a time; when it dies, another takes its place."""

    def __init__(self, world: World, stage: Stage, number: int) -> None:
        self.name = f"{stage}-{number}"
        self.queues = stage_queues(stage, DEBIT_QUEUES)
        self.busy = False
        self._world = world
        self._stage = stage
        self._element, self._handle = _stage(world, stage)

    def take(self, queue: str) -> None:
        """Take a message off a queue and begin to handle it."""
        message = self._world.queues.take(queue)
        self.busy = True
        self._world.scheduler.tell(f"{self.name} takes #{message.number}: {message.body[:60].decode()}")

        def die() -> None:
            self._element, self._handle = _stage(self._world, self._stage)
            self._world.queues.give_back(queue, message)
            self.busy = False

        self._world.scheduler.begin(self.name, self._process(queue, message), die)

    async def _process(self, queue: str, message: Message) -> None:
        """Do with a message what ``StageRunner`` does: handle, publish, acknowledge; wait out what passes."""
        scheduler, batch = self._world.scheduler, msgspec.json.decode(message.body, type=self._element)
        attempt = 1
        while True:
            try:
                following = await self._handle(batch)
                self._lose_answer()
                break
            except Exception as error:  # noqa: BLE001 - the policy knows what to do with each
                step = after_failure(error, attempt, len(batch))
                scheduler.tell(f"{self.name} fails with {type(error).__name__}: {type(step).__name__}")
                if isinstance(step, GiveUp):
                    self._world.queues.dead.append(message)
                    following = []
                    break
                if isinstance(step, Halve):
                    middle = len(batch) // 2
                    halves = (batch[:middle], batch[middle:])
                    following = [StageMessage(self._stage, queue, half) for half in halves]
                    break
                attempt += 1
                await scheduler.point("trying again")
        for each in following:
            await scheduler.point(f"publishing to {each.queue}")
            self._world.queues.put(each)
        await scheduler.point("acknowledging")
        self.busy = False

    def _lose_answer(self) -> None:
        """Now and then take the answer to the last commit away: what was done is taken for failed."""
        if self._world.scheduler.fault(_ANSWER_LOST_PERCENT, "the answer to its commit is lost"):
            raise ConnectionError("connection lost after the commit")


def _stage(world: World, stage: Stage) -> tuple[type[Any], Handle]:
    """Return a fresh stage, as ``workers.process`` makes it, and the type of its batches."""
    now = world.skewed()
    if stage is Stage.PRICING:
        return list[msgspec.Raw], Pricing(world.engine, DEBIT_QUEUES).handle
    if stage is Stage.DEBIT:
        return list[PricedUsage], Debiting(world.engine, GRACE, now).handle
    if stage is Stage.THRESHOLDS:
        return list[int], Thresholds(world.engine, now, timedelta(minutes=1)).handle
    # It publishes alerts and does nothing else with its connection.
    exchange = cast("Transport", world.exchange)
    return list[int], Notifications(world.engine, lambda: exchange).handle


def processes(world: World) -> list[Process]:
    """Return the processes of a run, two a stage."""
    stages = (Stage.PRICING, Stage.DEBIT, Stage.THRESHOLDS, Stage.NOTIFICATIONS)
    return [Process(world, stage, number) for stage in stages for number in range(1, _PROCESSES + 1)]


def clock_sweep(world: World) -> Coroutine[Any, Any, None]:
    """Return one round of the clock, as far as it concerns these stages."""
    clock = Clock(world.engine, world.queues, world.skewed(), GRACE)

    async def sweep() -> None:
        try:
            await clock.evaluate_due()
            await clock.deliver_alerts()
        except Exception as error:
            if not is_transient(error):
                raise
            world.scheduler.tell(f"the clock's sweep is interrupted by {type(error).__name__}")
        finally:
            clock.close()

    return sweep()
