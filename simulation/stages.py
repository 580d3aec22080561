"""The real stages between the queues of a run: processes that take a message, handle it, and may die."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.usage import PricedUsage
from shared.gateways.redis_gate import GateUnavailableError, RedisGate
from shared.gateways.stripe_events import StripeEventList
from shared.messaging.envelope import NO_ORIGIN, Origin, StageMessage
from shared.messaging.failure import GiveUp, Halve, after_failure, is_transient
from shared.messaging.topology import Stage, stage_queues
from shared.messaging.transport import Transport
from shared.operations.holds import Holds
from shared.operations.payments.event_backfill import EventBackfill
from shared.operations.payments.event_handlers import event_handlers
from shared.operations.payments.settle import SettlePolicy
from shared.operations.payments.stripe_events import StripeEvents
from shared.settings import Settings
from simulation.queues import Exchange, Message, Queues
from simulation.scheduler import Scheduler
from simulation.servers import Servers
from workers.clock import Clock
from workers.debit import Debiting
from workers.intake import Intake
from workers.notifications import Notifications
from workers.pricing import Pricing
from workers.thresholds import Thresholds
from workers.topup import TopUps

GRACE = timedelta(hours=1)
COOLDOWN = timedelta(minutes=1)
DEBIT_QUEUES = 2
_POLICY = SettlePolicy(retry_after=timedelta(minutes=1), grace=GRACE)
_PROCESSES = 2
_STAGES = (
    Stage.INTAKE,
    Stage.PRICING,
    Stage.DEBIT,
    Stage.THRESHOLDS,
    Stage.TOPUP,
    Stage.NOTIFICATIONS,
)
_SKEWS_S = (0, 0, 0, 2, -2, 90, -90)
_ANSWER_LOST_PERCENT = 2
#: Nothing connects by these: the run has connections of its own.
_SETTINGS = Settings(database_url="postgresql://simulated", broker_url="amqp://simulated")


class Arrived(NamedTuple):
    """A message of usage at the entrance."""

    body: bytes
    content_type: str | None = None
    sent_at: datetime | None = None
    origin: Origin = NO_ORIGIN


@dataclass(frozen=True, slots=True)
class World:
    """What the stages of a run share."""

    scheduler: Scheduler
    queues: Queues
    exchange: Exchange
    servers: Servers

    @property
    def engine(self) -> AsyncEngine:
        """The database's connections."""
        return self.servers.database.engine

    def skewed(self) -> Callable[[], datetime]:
        """Return the clock of one machine, which may be wrong."""
        skew = timedelta(seconds=_SKEWS_S[self.scheduler.choices.below(len(_SKEWS_S))])
        return lambda: self.servers.clock.now + skew

    def events(self, now: Callable[[], datetime]) -> StripeEvents:
        """Return what is done with Stripe's events."""
        return StripeEvents(
            self.engine, event_handlers(self.engine, self.servers.stripe.payments, now, _POLICY)
        )


class SimulatedHolds(Holds):
    """What a process tells the gate. What Redis was not there for is told again in turns of its own."""

    def __init__(self, world: World, now: Callable[[], datetime]) -> None:
        super().__init__(world.engine, world.servers.redis, now)
        self._scheduler = world.scheduler
        self._takes_turns = False

    async def _tell_later(self, redis: RedisGate) -> None:
        if not self._takes_turns:
            self._takes_turns = True
            self._scheduler.begin("the gate is told again", self._tell_in_turns(redis), lambda: None)

    async def _tell_in_turns(self, redis: RedisGate) -> None:
        try:
            while self._untold:
                await self._scheduler.point("telling the gate")
                with suppress(GateUnavailableError):
                    await redis.debited([self._untold[0]])
                    self._untold.popleft()
        finally:
            self._takes_turns = False


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a process does: how it reads a message, and the handler."""

    read: Callable[[bytes], list[Any]]
    handle: Callable[[list[Any]], Awaitable[Sequence[StageMessage] | None]]
    close: Callable[[], None] = lambda: None


class Process:
    """A process of a stage. It handles one message at a time; when it dies, another takes its place."""

    def __init__(self, world: World, stage: Stage, number: int) -> None:
        self.name = f"{stage}-{number}"
        self.queues = stage_queues(stage, DEBIT_QUEUES)
        self.busy = False
        self._world = world
        self._stage = stage
        self._does = _stage(world, stage)

    def close(self) -> None:
        """End what goes on beside the run."""
        self._does.close()

    def take(self, queue: str) -> None:
        """Take a message off a queue and begin to handle it."""
        message = self._world.queues.take(queue)
        self.busy = True
        self._world.scheduler.tell(f"{self.name} takes #{message.number}: {message.body[:60].decode()}")

        def die() -> None:
            self.close()
            self._does = _stage(self._world, self._stage)
            self._world.queues.give_back(queue, message)
            self.busy = False

        self._world.scheduler.begin(self.name, self._process(queue, message), die)

    async def _process(self, queue: str, message: Message) -> None:
        """Do with a message what ``StageRunner`` does: handle, publish, acknowledge; wait out what passes."""
        scheduler, batch = self._world.scheduler, self._does.read(message.body)
        attempt = 1
        while True:
            try:
                following = await self._does.handle(batch) or []
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


def _stage(world: World, stage: Stage) -> _Stage:
    """Return a fresh stage, as ``workers.process`` makes it."""
    now = world.skewed()
    holds = SimulatedHolds(world, now)
    if stage is Stage.INTAKE:
        intake = Intake(world.queues, world.engine, _SETTINGS, holds, now)
        return _Stage(lambda body: [Arrived(body)], intake.handle, intake.close)
    if stage is Stage.PRICING:
        return _reading(msgspec.Raw, Pricing(world.engine, DEBIT_QUEUES, holds).handle)
    if stage is Stage.DEBIT:
        return _reading(PricedUsage, Debiting(world.engine, GRACE, now, holds).handle)
    if stage is Stage.THRESHOLDS:
        return _reading(int, Thresholds(world.engine, now, COOLDOWN, holds).handle)
    if stage is Stage.TOPUP:
        return _reading(str, TopUps(world.engine, world.servers.stripe.payments, now, _POLICY).handle)
    # It publishes alerts and does nothing else with its connection.
    exchange = cast("Transport", world.exchange)
    return _reading(int, Notifications(world.engine, lambda: exchange).handle)


def _reading(element: type[Any], handle: Callable[[list[Any]], Awaitable[Sequence[StageMessage]]]) -> _Stage:
    return _Stage(msgspec.json.Decoder(list[element]).decode, handle)  # type: ignore[valid-type]


def processes(world: World) -> list[Process]:
    """Return the processes of a run, two a stage."""
    return [Process(world, stage, number) for stage in _STAGES for number in range(1, _PROCESSES + 1)]


def clock_sweep(world: World) -> Coroutine[Any, Any, None]:
    """Return one round of the clock, as far as it concerns these stages."""
    now = world.skewed()
    clock = Clock(world.engine, world.queues, now, GRACE)
    listed = StripeEventList(world.servers.stripe.payments.connection)
    backfill = EventBackfill(world.engine, listed, world.events(now), now)

    async def sweep() -> None:
        try:
            for each in (clock.evaluate_due, clock.deliver_alerts, clock.advance_payments, backfill.look):
                await each()
        except Exception as error:
            if not is_transient(error):
                raise
            world.scheduler.tell(f"the clock's sweep is interrupted by {type(error).__name__}")
        finally:
            clock.close()

    return sweep()
