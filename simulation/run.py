"""One run: traffic, stages and faults as the choices have it, until all is quiet again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from shared.db import accounts as accounts_sql
from shared.domain.events import USAGE_TYPE
from shared.domain.ids import AccountId
from shared.domain.ledger import genesis_hash
from shared.messaging.envelope import messages_to
from shared.messaging.failure import is_transient
from shared.messaging.topology import Stage
from shared.operations import money
from shared.operations.accounts import set_account
from simulation.choices import Choices
from simulation.database import SimulatedClock, SimulatedDatabase, plan_of
from simulation.invariants import BrokenInvariantError, Invariants
from simulation.model import ACCOUNTS, DOLLAR, MODEL, PROVIDER, START, Record
from simulation.queues import Exchange, Queues
from simulation.scheduler import Scheduler
from simulation.stages import GRACE, Process, World, clock_sweep, processes

_MESSAGES, _RECORDS_A_MESSAGE, _CREDITS = 6, 3, 2
_STEPS = 150
_QUIET_STEPS = 3_000
_AGAIN_PERCENT = 25


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went. ``broken`` says which invariant does not hold, None for a clean run."""

    broken: str | None
    story: tuple[str, ...] = field(repr=False)
    choices: tuple[int, ...] = field(repr=False)
    commits: int


async def run(database: SimulatedDatabase, choices: Choices) -> Outcome:
    """Run on emptied books; the choices alone decide what happens."""
    scheduler = Scheduler(choices)
    await database.start(scheduler)
    clock = SimulatedClock(database.observer)
    world = World(scheduler, Queues(scheduler), Exchange(scheduler), database.engine, clock)
    broken = None
    try:
        traffic = _Traffic(world)
        invariants = Invariants(database.observer, traffic.records, world.exchange)
        await _open_accounts(world, invariants)
        await _Driver(world, traffic, invariants).drive()
        await invariants.check_end(database.engine, world.queues)
    except BrokenInvariantError as error:
        broken = str(error)
    except Exception as error:  # noqa: BLE001 - no stage may end like this
        broken = f"{type(error).__name__}: {error}"
    finally:
        await scheduler.stop()
    if broken is not None:
        scheduler.tell(f"BROKEN: {broken}")
    return Outcome(broken, tuple(scheduler.story), tuple(choices.drawn), scheduler.commits)


async def _open_accounts(world: World, invariants: Invariants) -> None:
    """Open the accounts two hours before the price changes, by the real operations and under fixed ids."""
    await world.clock.set(START - timedelta(hours=2))
    for account in ACCOUNTS:
        account_id = AccountId(account.account_id)
        async with world.engine.begin() as connection:
            values = {"account_id": account_id, "head_hash": genesis_hash(account_id)}
            await accounts_sql.insert_account(connection, values | {"fallback": account.fallback})
        if account.quota is not None:
            await set_account(world.engine, account_id, {}, plan=plan_of(account_id), grace=GRACE)
        invariants.credits[account_id, "first"] = account.credit
        await money.credit_account(world.engine, account_id, account.credit, "first", GRACE, "first")
    await world.clock.set(START)


class _Traffic:
    """What services send: usage, some of it more than once, and credits, asked for until answered."""

    def __init__(self, world: World) -> None:
        self._world = world
        choices = world.scheduler.choices
        self.records: list[Record] = []
        self.messages: list[list[Record]] = []
        for _ in range(_MESSAGES):
            message = [self._record() for _ in range(1 + choices.below(_RECORDS_A_MESSAGE))]
            if choices.happens(_AGAIN_PERCENT):
                message.append(self.records[choices.below(len(self.records))])
            self.messages.append(message)
        self.credits_left = _CREDITS

    def send_usage(self) -> None:
        """Put the next message at the entrance of pricing."""
        message = self.messages.pop(0)
        self._world.scheduler.tell(f"sent: {', '.join(record.event_id for record in message)}")
        for each in messages_to(Stage.PRICING, [msgspec.Raw(_event(record)) for record in message]):
            self._world.queues.put(each)

    def ask_for_credit(self, credits_: dict[tuple[str, str], int]) -> None:
        """Credit an account by a key; who dies on the way asks again."""
        choices = self._world.scheduler.choices
        account_id = ACCOUNTS[choices.below(len(ACCOUNTS))].account_id
        amount, key = (1 + choices.below(20)) * DOLLAR, f"credit-{self.credits_left}"
        self.credits_left -= 1
        credits_[account_id, key] = amount
        self._credit(account_id, amount, key)

    def _credit(self, account_id: str, amount: int, key: str) -> None:
        async def ask() -> None:
            while True:
                try:
                    await money.credit_account(self._world.engine, account_id, amount, key, GRACE, key)
                    # The answer reaches whoever asked, or they ask again.
                    await self._world.scheduler.point("the answer")
                except Exception as error:
                    if not is_transient(error):
                        raise
                else:
                    return

        def again() -> None:
            self._credit(account_id, amount, key)

        self._world.scheduler.tell(f"{key} is asked for: ${amount // DOLLAR} to {account_id}")
        self._world.scheduler.begin(key, ask(), again)

    def _record(self) -> Record:
        choices = self._world.scheduler.choices
        record = Record(
            f"event-{len(self.records) + 1}",
            ACCOUNTS[choices.below(len(ACCOUNTS))].account_id,
            START + timedelta(minutes=choices.below(5) * 10 - 30),
            500 + 250 * choices.below(15),
        )
        self.records.append(record)
        return record


class _Driver:
    """Chooses what goes on next. The plainest choice finishes what was begun, oldest first."""

    def __init__(self, world: World, traffic: _Traffic, invariants: Invariants) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._traffic = traffic
        self._invariants = invariants
        self._processes = processes(world)

    async def drive(self) -> None:
        """Run with faults for a while, then without, until nothing is left to do."""
        for _ in range(_STEPS):
            await self._step(self._scheduler.choices.below)
        self._scheduler.faults = False
        self._scheduler.tell("no more faults")
        rounds_idle = 0
        for _ in range(_QUIET_STEPS):
            if not self._options():
                rounds_idle += 1
                if rounds_idle > 3:
                    return
                await self._tick(5)
            await self._step(lambda _bound: 0)
        raise BrokenInvariantError("it does not become quiet")

    async def _step(self, choose: Callable[[int], int]) -> None:
        options = self._options()
        if not options or (self._scheduler.faults and self._scheduler.choices.happens(3)):
            await self._tick(1 + choose(3))
            return
        kind, item = options[choose(len(options))]
        if kind == "work":
            work = self._scheduler.works[item]
            await self._scheduler.step(work)
            if self._scheduler.changed and not work.holds_locks:
                self._scheduler.changed = False
                await self._invariants.check_step()
        elif kind == "take":
            process, queue = self._takes()[item]
            process.take(queue)
        elif kind == "usage":
            self._traffic.send_usage()
        else:
            self._traffic.ask_for_credit(self._invariants.credits)

    def _options(self) -> list[tuple[str, int]]:
        options = [("work", number) for number in range(len(self._scheduler.works))]
        options += [("take", number) for number in range(len(self._takes()))]
        if self._traffic.messages:
            options.append(("usage", 0))
        if self._traffic.credits_left:
            options.append(("credit", 0))
        return options

    def _takes(self) -> list[tuple[Process, str]]:
        ready = self._world.queues.ready
        return [(p, queue) for p in self._processes if not p.busy for queue in p.queues if ready.get(queue)]

    async def _tick(self, seconds: int) -> None:
        await self._world.clock.advance(seconds)
        if not any(work.name == "clock" for work in self._scheduler.works):
            self._scheduler.tell(f"{seconds} s later the clock looks")
            self._scheduler.begin("clock", clock_sweep(self._world), lambda: None)


def _event(record: Record) -> bytes:
    """Return a record as the CloudEvent that a service sends."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "type": USAGE_TYPE,
            "source": "simulation",
            "id": record.event_id,
            "time": record.time,
            "data": {
                "account_id": record.account_id,
                "provider": PROVIDER,
                "model": MODEL,
                "input_tokens": record.tokens,
            },
        }
    )
