"""The gate: whether a request is served, and what it holds until it is paid for.

Redis answers. What it does not know, or refuses, it is told afresh from the books and asked again; so a
refusal is never older than the moment. Where Redis is away, a setting chooses between refusing and weighing
in the database, where holds are rows until Redis is back; all processes do so together (`gate_mode`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.clock import utc_now
from shared.db import gate as sql
from shared.domain.errors import NotFoundError, PaygError, RefusedError
from shared.domain.gate import (
    IN_DATABASE,
    MAX_HELD_NANOS,
    Held,
    KeyPeriod,
    KeyStanding,
    Placed,
    Refusal,
    Refused,
    Standing,
    StoredHold,
    weigh,
)
from shared.gateways.redis_gate import GateUnavailableError, RedisGate, Unknown
from shared.ids import new_id
from shared.operations.gate_mode import LEASE, GateMode
from shared.settings import Settings

log = structlog.get_logger(__name__)

_LOADS = 10
_TRIES = 5


class GateClosedError(PaygError):
    """Redis is away, and the settings say that nothing is served then."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """How long a hold lives, what happens without Redis, and who waits after Redis was emptied."""

    hold_life: timedelta
    serves_without_redis: bool
    floor_nanos: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A request that may be served."""

    hold_id: str
    account_id: str
    held_nanos: int
    expires_at: datetime


class Gate:
    """Asked before a request is served. Every process has its own; they meet in Redis."""

    def __init__(
        self, engine: AsyncEngine, redis: RedisGate | None, policy: GatePolicy, now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._redis = redis
        self._policy = policy
        self._now = now
        self._mode = GateMode(engine, redis) if redis and policy.serves_without_redis else None
        self._returning = asyncio.Lock()
        self._returned: int | None = None

    async def authorize(self, account_id: str, list_nanos: int, limited_key: str | None) -> Hold | Refused:
        """Hold the price of a request, or say why not. ``limited_key`` is its key where that has a limit.

        Raises NotFoundError for an unknown account, RefusedError for a price beyond all reason,
        GateClosedError where nothing is served.
        """
        if list_nanos > MAX_HELD_NANOS:
            raise RefusedError("a request of more than $9,000,000 is not held")
        for _ in range(_TRIES):
            hold_id = f"{new_id('hold')}.{account_id}"
            answer = await self._weigh_in_redis(hold_id, account_id, list_nanos, limited_key)
            if answer is None:
                hold_id += IN_DATABASE
                answer = await self._weigh_in_database(hold_id, account_id, list_nanos, limited_key)
            if isinstance(answer, Refused):
                return answer
            if answer is not None:
                return Hold(hold_id, account_id, list_nanos, answer.expires_at)
        raise GateClosedError("requests are weighed here and there in turns; try again in a moment")

    async def release(self, hold_id: str) -> bool:
        """Give a hold back; return whether it was held, and its record has not arrived.

        Raises GateUnavailableError.
        """
        found = False
        if hold_id.endswith(IN_DATABASE):
            async with self._engine.begin() as connection:
                found = bool(await sql.delete_holds(connection, [hold_id]))
        try:
            return await self._with_redis().release(hold_id) or found
        except GateUnavailableError:
            if found:
                return True
            raise

    async def extend(self, hold_id: str) -> datetime | None:
        """Let a hold live for one life more; return when it expires, None where it is gone."""
        if hold_id.endswith(IN_DATABASE):
            until = self._now() + self._policy.hold_life
            async with self._engine.begin() as connection:
                found = await sql.prolong_holds(connection, [hold_id], until, self._now())
            if found:
                return found[hold_id]
        return await self._with_redis().prolong(hold_id, self._policy.hold_life)

    def _with_redis(self) -> RedisGate:
        if self._redis is None:
            raise GateUnavailableError("PAYG_REDIS_URL is not set")
        return self._redis

    async def _weigh_in_redis(
        self, hold_id: str, account_id: str, list_nanos: int, limited_key: str | None
    ) -> Placed | Refused | None:
        """Return what Redis says, or None where all weigh in the database."""
        try:
            redis = self._with_redis()
            if self._mode is not None and not await self._mode.in_redis():
                return None
            turn = self._mode.turn if self._mode else 0
            await self._return_holds(redis, turn)
            answer = await self._ask(redis, hold_id, account_id, list_nanos, limited_key)
        except GateUnavailableError as error:
            if not self._policy.serves_without_redis:
                raise GateClosedError(f"nothing is served without Redis: {error}") from error
            if self._mode is not None:
                await self._mode.leave_redis()
            return None
        if self._mode is None or (await self._mode.in_redis() and self._mode.turn == turn):
            return answer
        return None  # others weigh elsewhere since then, and do not count what is held here

    async def _ask(
        self, redis: RedisGate, hold_id: str, account_id: str, list_nanos: int, limited_key: str | None
    ) -> Placed | Refused:
        life = self._policy.hold_life
        answer = await redis.authorize(account_id, hold_id, list_nanos, life, limited_key)
        for _ in range(_LOADS):
            if isinstance(answer, Placed):
                break
            if refused := await self._load(redis, account_id, limited_key):
                return refused
            asked = await redis.authorize(account_id, hold_id, list_nanos, life, limited_key)
            if isinstance(asked, Refused):
                return asked
            answer = asked
        if isinstance(answer, Unknown):
            raise GateClosedError("what the books say of the account changes faster than it can be told")
        return answer

    async def _load(self, redis: RedisGate, account_id: str, limited_key: str | None) -> Refused | None:
        """Tell Redis what the books say; what it forgot may be held, so those with little wait a life."""
        marker = await redis.marker()
        now = self._now()
        async with sql.one_view(self._engine) as connection:
            standing, key = await _standing(connection, account_id, limited_key, now)
            known = await sql.read_marker(connection)
        if known is None or marker != known[0]:
            emptied_at = await self._mark(redis, known)
        else:
            emptied_at = known[1]
        waits_until = emptied_at + self._policy.hold_life if emptied_at else now
        can_spend = standing.balance_nanos + standing.payer.quota_remaining_nanos
        if waits_until > now and can_spend < self._policy.floor_nanos:
            return Refused(Refusal.INSUFFICIENT_BALANCE, waits_until - now)
        await redis.load(account_id, standing, key)
        return None

    async def _mark(self, redis: RedisGate, known: tuple[str, datetime | None] | None) -> datetime | None:
        """Mark a Redis that does not carry the mark that is known; return when it was emptied, if it was.

        Whoever comes first marks it; the others find that the mark is another than the one they knew.
        """
        new, emptied_at = new_id("gate"), self._now() if known else None
        async with self._engine.begin() as connection:
            await sql.lock_gate(connection, "")
            current = await sql.read_marker(connection)
            if current is not None and current != known:
                return current[1]
            await sql.write_marker(connection, new, emptied_at)
        await redis.mark(new)
        log.warning("redis is new to the gate", emptied=known is not None)
        return emptied_at

    async def _weigh_in_database(
        self, hold_id: str, account_id: str, list_nanos: int, limited_key: str | None
    ) -> Placed | Refused | None:
        """Return what the books say, or None where all weigh in Redis again."""
        now = self._now()
        async with self._engine.begin() as connection:
            if self._mode is not None and not await sql.weighs_in_database(connection, LEASE):
                return None
            await sql.lock_gate(connection, account_id)
            # Holds before the books: what is debited in between is counted twice rather than not at all.
            live = await sql.live_holds(connection, now, account_id)
            standing, key = await _standing(connection, account_id, limited_key, now)
            held = Held.of((hold.list_nanos for hold in live), standing.payer.discount_ppm)
            of_key = sum(hold.list_nanos for hold in live if hold.api_key_id == limited_key)
            key_standing = key and KeyStanding(key.limit_nanos, key.spent_nanos, of_key)
            if why := weigh(standing, held, list_nanos, key_standing):
                return Refused(why, _wait(why, standing, key, now))
            expires_at = now + self._policy.hold_life
            await sql.insert_hold(
                connection, StoredHold(account_id, hold_id, limited_key, list_nanos, expires_at)
            )
        return Placed(expires_at)

    async def _return_holds(self, redis: RedisGate, turn: int) -> None:
        """Give Redis the holds that were placed while it was away."""
        if self._returned == turn:
            return
        async with self._returning:
            if self._returned != turn:
                await return_holds(self._engine, redis, self._now())
                self._returned = turn


def configured_gate(engine: AsyncEngine, redis: RedisGate | None, settings: Settings) -> Gate:
    """Return the gate as the settings want it."""
    policy = GatePolicy(
        timedelta(seconds=settings.hold_life_s),
        settings.gate_without_redis == "database",
        settings.gate_floor_usd,
    )
    return Gate(engine, redis, policy, utc_now)


async def return_holds(engine: AsyncEngine, redis: RedisGate, now: datetime) -> None:
    """Move live holds from the database to Redis. Doing it twice, or by two at once, does no harm."""
    async with engine.begin() as connection:
        await sql.delete_expired(connection, now)
    while True:
        async with engine.connect() as connection:
            live = await sql.live_holds(connection, now)
        if not live:
            return
        await redis.place(live)
        async with engine.begin() as connection:
            await sql.delete_placed(connection, live)


async def _standing(
    connection: AsyncConnection, account_id: str, limited_key: str | None, now: datetime
) -> tuple[Standing, KeyPeriod | None]:
    standing = (await sql.load_standings(connection, [account_id], now)).get(account_id)
    if standing is None:
        raise NotFoundError(f"there is no account {account_id}")
    key = await sql.load_key_period(connection, account_id, limited_key, now) if limited_key else None
    return standing, key


def _wait(why: Refusal, standing: Standing, key: KeyPeriod | None, now: datetime) -> timedelta | None:
    """Return how long until waiting helps, None where it does not."""
    ends = {
        Refusal.KEY_LIMIT_REACHED: key and key.ends,
        Refusal.QUOTA_EXHAUSTED: standing.until,
        Refusal.SPENDING_LIMIT_REACHED: standing.until,
    }.get(why)
    return ends - now if ends else None
