"""One run: traffic, stages and faults as the choices have it, until all is quiet again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from shared.db import accounts as accounts_sql
from shared.domain.ids import AccountId
from shared.domain.ledger import genesis_hash
from shared.operations import money
from shared.operations.accounts import set_account
from shared.operations.payments.topups import set_auto_topup
from simulation.choices import Choices
from simulation.database import plan_of
from simulation.invariants import BrokenInvariantError, Invariants, Sent
from simulation.model import ACCOUNTS, START, Account
from simulation.queues import Exchange, Queues
from simulation.randomness import same_ids
from simulation.scheduler import Scheduler
from simulation.servers import Servers
from simulation.stages import GRACE, World, clock_sweep, processes
from simulation.traffic import Traffic

_STEPS = 800
_QUIET_STEPS = 5_000
#: Seconds that pass once nothing is left to do at that moment: for the sweeps of a clock that may be late;
#: then as long as payments wait for another attempt, and at last for the owner of a card.
_WAITS_S = (5, 5, 120)
_LONG_WAITS_S = (60, 300, 300, 1_200, 1_200, 25 * 3_600, 60, 300, 300, 1_200)
_REDIS_EMPTIED_PERCENT = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went. ``broken`` says which invariant does not hold, None for a clean run."""

    broken: str | None
    story: tuple[str, ...] = field(repr=False)
    choices: tuple[int, ...] = field(repr=False)
    commits: int


async def run(servers: Servers, choices: Choices) -> Outcome:
    """Run on emptied servers; the choices alone decide what happens."""
    with same_ids(lambda: servers.clock.now):
        return await _run(servers, choices)


async def _run(servers: Servers, choices: Choices) -> Outcome:
    scheduler = Scheduler(choices)
    await servers.start(scheduler)
    world = World(scheduler, Queues(scheduler), Exchange(scheduler), servers)
    sent = Sent()
    driver = None
    broken = None
    try:
        await _open_accounts(world, sent)
        driver = _Driver(world, Traffic(world, sent), Invariants(world, sent))
        await driver.drive()
    except BrokenInvariantError as error:
        broken = str(error)
    except Exception as error:  # noqa: BLE001 - no stage may end like this
        broken = f"{type(error).__name__}: {error}"
    finally:
        await scheduler.stop()
        if driver is not None:
            driver.close()
    if broken is not None:
        scheduler.tell(f"BROKEN: {broken}")
    return Outcome(broken, tuple(scheduler.story), tuple(choices.drawn), scheduler.commits)


async def _open_accounts(world: World, sent: Sent) -> None:
    """Open the accounts two hours before the price changes, by the real operations and under fixed ids."""
    world.scheduler.faults = False
    clock = world.servers.clock
    await clock.set(START - timedelta(hours=2))
    for account in ACCOUNTS:
        sent.credits[account.account_id, "first"] = account.credit
        await _open_account(world, account)
    await clock.set(START)
    world.scheduler.faults = True


async def _open_account(world: World, account: Account) -> None:
    account_id, engine = AccountId(account.account_id), world.engine
    async with engine.begin() as connection:
        values = {"account_id": account_id, "head_hash": genesis_hash(account_id)}
        await accounts_sql.insert_account(connection, values | {"fallback": account.fallback})
    if account.quota is not None:
        await set_account(engine, account_id, {}, plan=plan_of(account_id), grace=GRACE)
    await money.credit_account(engine, account_id, account.credit, "first", GRACE, "first")
    if account.topup is not None:
        threshold, amount = account.topup
        payments, card = world.servers.stripe.payments, "pm_card_visa"
        await set_auto_topup(
            engine, payments, account_id, threshold_nanos=threshold, amount_nanos=amount, payment_method=card
        )


class _Driver:
    """Chooses what goes on next. The plainest choice finishes what was begun, oldest first."""

    def __init__(self, world: World, traffic: Traffic, invariants: Invariants) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._traffic = traffic
        self._invariants = invariants
        self._processes = processes(world)

    def close(self) -> None:
        """End what goes on beside the run."""
        for process in self._processes:
            process.close()

    async def drive(self) -> None:
        """Run with faults for a while, then without, until nothing is left to do; check the end."""
        for _ in range(_STEPS):
            if not self._options():
                break
            await self._step(self._scheduler.choices.below)
        self._scheduler.faults = False
        self._scheduler.tell("no more faults")
        await self._until_quiet()
        for wait_s in _WAITS_S:
            await self._wait(wait_s)
        for wait_s in _LONG_WAITS_S:
            if not await self._invariants.is_money_awaited():
                break
            await self._wait(wait_s)
        await self._invariants.check_end(self._traffic.gate())

    async def _wait(self, seconds: int) -> None:
        await self._tick(seconds)
        await self._until_quiet()

    async def _until_quiet(self) -> None:
        for _ in range(_QUIET_STEPS):
            if not self._options():
                return
            await self._step(lambda _bound: 0)
        raise BrokenInvariantError("it does not become quiet")

    async def _step(self, choose: Callable[[int], int]) -> None:
        if self._scheduler.fault(_REDIS_EMPTIED_PERCENT, "Redis is emptied"):
            self._world.servers.redis.lose_all()
        options = self._options()
        if not options or (self._scheduler.faults and self._scheduler.choices.happens(3)):
            await self._tick(1 + choose(3))
            return
        option = choose(len(options))
        if option < len(self._scheduler.works):
            work = self._scheduler.works[option]
            await self._scheduler.step(work)
            if work.holds_locks:
                return
        else:
            options[option]()
        if self._scheduler.changed:
            self._scheduler.changed = False
            await self._invariants.check_step()

    def _options(self) -> list[Callable[[], None]]:
        """Return what may go on: work that is under way, messages to take, and what comes from outside."""
        options: list[Callable[[], None]] = [_under_way for _ in self._scheduler.works]
        ready = self._world.queues.ready
        for process in self._processes:
            if not process.busy:
                options += [_taking(process.take, queue) for queue in process.queues if ready.get(queue)]
        return options + self._traffic.options()

    async def _tick(self, seconds: int) -> None:
        await self._world.servers.clock.advance(seconds)
        if not any(work.name == "clock" for work in self._scheduler.works):
            self._scheduler.tell(f"{seconds} s later the clock looks")
            self._scheduler.begin("clock", clock_sweep(self._world), lambda: None)


def _under_way() -> None:
    """Stands for work that is under way."""


def _taking(take: Callable[[str], None], queue: str) -> Callable[[], None]:
    return lambda: take(queue)
