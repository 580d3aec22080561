"""One campaign: load, faults, then rest, then the verdict."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from chaos.faults import DISK_FULL, FAULTS, deck, kill_one, kinds_of
from chaos.load import Load
from chaos.verdict import Verdict, judge, unsettled
from chaos.world import World, running_world
from shared.domain.alert_events import AlertEvent
from shared.domain.errors import PaygError
from shared.messaging.connect import open_transport
from shared.messaging.subscriber import Subscriber
from shared.messaging.transport import TransportError
from shared.operations.drain import drain

KILLED = "process-killed"
_WATCH_S = 1.0
_ALERTS_TIMEOUT_S = 20.0
_DEBITED = text("SELECT count(*) FROM usage_records")
_ALERTS = text("SELECT count(*) FROM alerts")


class CampaignError(PaygError):
    """A campaign cannot be run, or its system never came to rest."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard. ``rate`` is records a second; ``hold_s`` how long a fault lasts."""

    seconds: float
    seed: int
    rate: float = 40.0
    nodes: int = 3
    hold_s: float = 15.0
    again_s: float = 20.0
    kill_every_s: float = 5.0
    pause_s: float = 4.0
    rest_s: float = 600.0
    kinds: Sequence[str] = ()


@dataclass
class Story:
    """What happened: faults by kind, and when each was over, in seconds from the start of the load."""

    faults: Counter[str] = field(default_factory=Counter)
    lines: list[tuple[float, str, str]] = field(default_factory=list)
    deaths: int = 0
    drained_s: float = 0.0
    no_disk_filled: bool = False


class Watching(Protocol):
    """Who is told how a campaign goes."""

    def happened(self, at_s: float, kind: str, detail: str) -> None:
        """Hear of a fault that is over."""

    def goes_on(self, at_s: float, sent: int, debited: int | None, faults: int, now: str) -> None:
        """Hear every second; ``debited`` is None while the database does not answer."""


async def run_campaign(plan: Plan, place: Path, procfile: Path, watching: Watching) -> tuple[Story, Verdict]:
    """Run it below an empty directory. Raises CampaignError."""
    kinds = plan.kinds or kinds_of(plan.nodes)
    if unknown := set(kinds) - FAULTS.keys():
        raise CampaignError(f"no such fault: {min(unknown)}; there are {', '.join(FAULTS)}")
    small_disks = DISK_FULL in kinds
    async with running_world(
        place, procfile, nodes=plan.nodes, seed=plan.seed, small_disks=small_disks
    ) as world:
        heard: dict[str, AlertEvent] = {}
        listening = asyncio.create_task(_listen(world, heard))
        run = _Run(plan, world, kinds, watching)
        await run.load_and_faults()
        await run.rest()
        async with world.engine() as engine:
            await _until_told(engine, heard)
        verdict = await judge(world, run.load, list(heard.values()))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        return run.story, verdict


class _Run:
    """What goes on at once: the load, the faults of the deck, kills beside them, and a look every second."""

    def __init__(self, plan: Plan, world: World, kinds: Sequence[str], watching: Watching) -> None:
        self._plan = plan
        self._world = world
        self._kinds = deck(plan.seed, kinds)
        self._choose = random.Random(plan.seed)
        self._watching = watching
        self._started = monotonic()
        self._now = "nothing"
        self.load = Load(world, plan.rate, plan.again_s, plan.seed)
        self.story = Story()

    async def load_and_faults(self) -> None:
        """Return when the time is over, all is whole again, and what was sent is confirmed."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch())
            loading = tasks.create_task(self.load.run(stop))
            killing = tasks.create_task(self._kill_processes())
            await self._inject()
            killing.cancel()
            self._now = "nothing: all that was sent is being confirmed"
            stop.set()
            await loading
            watch.cancel()

    async def rest(self) -> None:
        """Return when nothing is on its way any more; raises CampaignError where that does not come."""
        began = monotonic()
        deadline = began + self._plan.rest_s
        waiting: str | None = "a first look"
        while waiting:
            if monotonic() > deadline:
                raise CampaignError(f"after {self._plan.rest_s:.0f} s it still waits for {waiting}")
            self._now = f"nothing: waiting for {waiting}"
            await self._look()
            waiting = await self._waits_for()
        self.story.drained_s = monotonic() - began
        self.story.deaths = sum(map(len, self._world.processes.deaths.values()))

    async def _waits_for(self) -> str | None:
        world = self._world
        try:
            async with world.engine() as engine, open_transport(world.settings.broker_url) as transport:
                waiting = await drain(engine, transport, world.settings.debit_queues, 5.0)
                return waiting or await unsettled(engine)
        except (TransportError, DBAPIError, OSError) as error:
            return repr(error)

    async def _inject(self) -> None:
        while self._at() < self._plan.seconds:
            await asyncio.sleep(self._plan.pause_s)
            kind = next(self._kinds)
            if kind == DISK_FULL and not self._world.postgres.has_small_disks:
                self.story.no_disk_filled = True
                continue
            self._now = kind
            detail = await FAULTS[kind](self._world, self._choose, self._plan.hold_s)
            self._now = "nothing"
            self._happened(kind, detail)

    async def _kill_processes(self) -> None:
        choose = random.Random(self._plan.seed)
        while True:
            await asyncio.sleep(self._plan.kill_every_s * (0.5 + choose.random()))
            if name := kill_one(self._world, choose):
                self._happened(KILLED, name)

    async def _watch(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(_WATCH_S)

    async def _look(self) -> None:
        debited = None
        with suppress(DBAPIError, OSError, TimeoutError):
            async with asyncio.timeout(2), self._world.engine() as engine, engine.connect() as connection:
                debited = (await connection.execute(_DEBITED)).scalar_one()
        faults = self.story.faults.total()
        self._watching.goes_on(self._at(), len(self.load.good), debited, faults, self._now)

    def _happened(self, kind: str, detail: str) -> None:
        self.story.faults[kind] += 1
        self.story.lines.append((self._at(), kind, detail))
        self._watching.happened(self._at(), kind, detail)

    def _at(self) -> float:
        return monotonic() - self._started


async def _listen(world: World, heard: dict[str, AlertEvent]) -> None:
    async def hear(event: AlertEvent) -> None:
        heard[event.id] = event

    await Subscriber(world.settings.broker_url, "chaos").run(hear)


async def _until_told(engine: AsyncEngine, heard: dict[str, AlertEvent]) -> None:
    """Wait for alerts that the broker has yet to hand to us; the verdict names what never comes."""
    deadline = monotonic() + _ALERTS_TIMEOUT_S
    async with engine.connect() as connection:
        written = (await connection.execute(_ALERTS)).scalar_one()
    while len(heard) < written and monotonic() < deadline:  # noqa: ASYNC110 - a task of a library fills it
        await asyncio.sleep(0.1)
