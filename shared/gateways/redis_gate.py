"""The gate's scripts in Redis. Keys of an account carry its id as a hash tag: each call is in one slot."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from time import monotonic
from typing import Any, NamedTuple

import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as BrokenConnectionError
from redis.exceptions import NoScriptError, RedisError

from shared.domain.errors import PaygError
from shared.domain.gate import (
    MAX_HELD_NANOS,
    KeyPeriod,
    Placed,
    Refusal,
    Refused,
    Standing,
    StoredHold,
    account_of_hold,
)
from shared.domain.money import PPM

#: Whoever asks the gate is waited for.
_PATIENCE_S = 1.0
#: After a failure nothing is asked for so long: whoever waits for an answer has a database to ask.
_REST_S = 1.0
_MARKER = "payg:gate:marker"


class GateUnavailableError(PaygError, ConnectionError):
    """Redis does not answer."""


class Unknown(NamedTuple):
    """Redis has to be told first what the books say of the account."""


class Spent(NamedTuple):
    """What a debited record cost the key that it came under."""

    api_key_id: str
    charge_nanos: int
    time: datetime


class DebitedAccount(NamedTuple):
    """What a batch did to an account: its standing after it, holds that are over, what keys spent.

    ``all_spent`` says that this is all they spent since the version before; else it is read again.
    """

    account_id: str
    standing: Standing | None
    holds: Sequence[str]
    spent: Sequence[Spent] = ()
    all_spent: bool = True


_FIELDS = ("version", "balance", "frozen", "share", "quota", "fallback", "limit", "spent", "ends")
_HELD = ("count", "list", "discounted")
_KEY_FIELDS = ("limit", "spent", "starts", "ends", "held")


class Known(NamedTuple):
    """What Redis knows of an account, and what its holds come to; of keys likewise, by ``id.field``."""

    fields: Mapping[str, str]
    held: Mapping[str, str]
    keys: Sequence[str]

    def as_in_books(self, standing: Standing, keys: Sequence[KeyPeriod]) -> Mapping[str, str]:
        """Return what the fields are where books and holds are right."""
        told = dict(zip(_FIELDS, map(str, _standing(standing)), strict=True)) | dict(self.held)
        for key in keys:
            period = (key.limit_nanos, key.spent_nanos, _ms_or_0(key.starts), _ms_or_0(key.ends))
            told |= {f"{key.api_key_id}.{n}": str(v) for n, v in zip(_KEY_FIELDS[:4], period, strict=True)}
        return told


class RedisGate:
    """The scripts as functions. Every one raises GateUnavailableError."""

    def __init__(self, url: str, patience_s: float = _PATIENCE_S) -> None:
        self._redis = connect(url, patience_s)
        self._scripts = {
            name: self._redis.register_script(_source(name))
            for name in ("authorize", "load", "debited", "prolong", "release", "place", "known", "forget")
        }
        self._rests_until = 0.0

    async def close(self) -> None:
        await self._redis.aclose()

    async def authorize(
        self, account_id: str, hold_id: str, list_nanos: int, life: timedelta, api_key_id: str | None
    ) -> Placed | Refused | Unknown:
        """Weigh a request and hold it; ``api_key_id`` is its key where that has a limit."""
        arguments: list[Any] = [hold_id, list_nanos, _ms(life)]
        if api_key_id:
            arguments.append(api_key_id)
        answer = await self._run("authorize", _keys(account_id)[:1], arguments)
        if isinstance(answer, int):
            return Placed(_instant(answer))
        if answer == b"load":
            return Unknown()
        code, _, wait_ms = answer.decode().partition(" ")
        return Refused(Refusal(code), timedelta(milliseconds=int(wait_ms)) if wait_ms else None)

    async def load(self, account_id: str, standing: Standing, key: KeyPeriod | None) -> bool:
        """Write what the books say of an account, read after it was asked about, and of a key.

        False where Redis knows what is newer: ask again.
        """
        keys, arguments = _keys(account_id), [*_standing(standing), 0]
        if key:
            keys.append(_key(account_id, key.api_key_id))
            arguments += [key.limit_nanos, key.spent_nanos, _ms_or_0(key.starts), _ms_or_0(key.ends)]
        return bool(await self._run("load", keys, arguments))

    async def refresh(self, standings: Mapping[str, Standing]) -> None:
        """Write what the books say of those accounts that Redis knows."""
        for account_id, standing in standings.items():
            await self._run("load", _keys(account_id), [*_standing(standing), 1])

    async def versions(self, account_ids: Collection[str]) -> dict[str, int]:
        """Return the versions that Redis has of accounts that can be asked about."""
        pipeline = self._redis.pipeline(transaction=False)
        for account_id in account_ids:
            pipeline.hmget(_keys(account_id)[0], "loaded", "version")
        found = await self._guard(pipeline.execute())
        return {
            account_id: int(version)
            for account_id, (loaded, version) in zip(account_ids, found, strict=True)
            if loaded
        }

    async def known(self, account_id: str, limited_keys: Sequence[str]) -> Known | None:
        """Return what is known of an account and its keys, None where the books are read again anyway."""
        answer = await self._run("known", _keys(account_id), list(limited_keys))
        if not answer:
            return None
        values, held_values, of_keys = answer
        names = (*_FIELDS, *_HELD)
        fields = {name: value.decode() for name, value in zip(names, values, strict=True)}
        held = {name: value.decode() for name, value in zip(_HELD, held_values, strict=True)}
        keys = [key[0].decode() for key in of_keys]
        for name, key in zip(keys, of_keys, strict=True):
            fields |= {f"{name}.{n}": v.decode() for n, v in zip(_KEY_FIELDS, key[1:6], strict=True)}
            held[f"{name}.held"] = key[6].decode()
        return Known(fields, held, keys)

    async def forget(self, account_id: str) -> None:
        """Let the books of an account be read again, whatever is known of it; its holds stay."""
        await self._run("forget", _keys(account_id)[:1], [])

    async def debited(self, accounts: Sequence[DebitedAccount]) -> None:
        """Tell of a batch that was committed, in one call."""
        if accounts:
            told = msgspec.msgpack.encode([_debited(account) for account in accounts])
            await self._run("debited", _keys(accounts[0].account_id), [told])

    async def settling(self, hold_ids: Sequence[str], life: timedelta) -> None:
        """Let holds whose records have arrived live for so long from now."""
        await self._run("prolong", _keys(account_of_hold(hold_ids[0])), [_ms(life), 1, *hold_ids])

    async def prolong(self, hold_id: str, life: timedelta) -> datetime | None:
        """Let a hold live for so long from now; return when it expires, None where it is gone."""
        (expires,) = await self._run("prolong", _keys(account_of_hold(hold_id)), [_ms(life), 0, hold_id])
        return _instant(expires) if expires else None

    async def release(self, hold_id: str) -> bool:
        """Give a hold back; return whether it was held, and its record has not arrived."""
        return bool(await self._run("release", _keys(account_of_hold(hold_id)), [hold_id]))

    async def place(self, holds: Sequence[StoredHold]) -> None:
        """Place holds that were weighed elsewhere."""
        arguments = [
            part
            for hold in holds
            for part in (hold.hold_id, hold.list_nanos, _ms_of(hold.expires_at), hold.api_key_id or "")
        ]
        await self._run("place", _keys(holds[0].account_id), arguments)

    async def marker(self) -> str | None:
        """Return the mark that Redis was given when payg first used it; gone, Redis was emptied."""
        found = await self._guard(self._redis.get(_MARKER))
        return found.decode() if found else None

    async def mark(self, marker: str) -> None:
        """Give Redis the mark."""
        await self._guard(self._redis.set(_MARKER, marker))

    async def _run(self, name: str, keys: list[str], arguments: list[Any]) -> Any:  # noqa: ANN401 - Redis's answer
        script = self._scripts[name]
        try:
            return await self._guard(self._redis.evalsha(script.sha, len(keys), *keys, *arguments))
        except NoScriptError:
            return await self._guard(script(keys=keys, args=arguments))

    async def _guard(self, call: Any) -> Any:  # noqa: ANN401 - an awaitable of the client, and its answer
        if monotonic() < self._rests_until:
            call.close()
            raise GateUnavailableError("Redis did not answer a moment ago")
        try:
            return await call
        except NoScriptError:
            raise
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = monotonic() + _REST_S
            raise GateUnavailableError(f"Redis does not answer: {error}") from error


def connect(url: str, patience_s: float = _PATIENCE_S) -> Any:  # noqa: ANN401 - redis is loosely typed
    """Return a client of Redis that waits so long for a connection, and for an answer."""
    # A connection that broke while nobody used it is no reason to do without Redis.
    # What is sent twice does what it does once.
    retry = Retry(NoBackoff(), 1, supported_errors=(BrokenConnectionError,))
    return redis.asyncio.Redis.from_url(
        url, socket_timeout=patience_s, socket_connect_timeout=patience_s, retry=retry
    )


def _source(name: str) -> str:
    scripts = files("shared.gateways") / "lua"
    return (scripts / "account.lua").read_text() + (scripts / f"{name}.lua").read_text()


def _keys(account_id: str) -> list[str]:
    return [f"payg:{{{account_id}}}:account", f"payg:{{{account_id}}}:holds"]


def _key(account_id: str, api_key_id: str) -> str:
    return f"payg:{{{account_id}}}:key:{api_key_id}"


def _standing(standing: Standing) -> list[Any]:
    payer = standing.payer
    limit = payer.spending_limit_nanos
    return [
        standing.version,
        _within(standing.balance_nanos),
        int(standing.frozen),
        PPM - payer.discount_ppm if payer.has_plan else "",
        _within(payer.quota_remaining_nanos),
        int(payer.fallback),
        "" if limit is None else _within(limit),
        _within(payer.cycle_spent_nanos),
        _ms_or_0(standing.until),
    ]


def _debited(account: DebitedAccount) -> tuple[Any, ...]:
    spent = [
        part for each in account.spent for part in (each.api_key_id, each.charge_nanos, _ms_of(each.time))
    ]
    standing = account.standing and _standing(account.standing)
    return account.account_id, standing, account.all_spent, account.holds, spent


def _within(nanos: int) -> int:
    return max(-MAX_HELD_NANOS, min(MAX_HELD_NANOS, nanos))


def _ms(span: timedelta) -> int:
    return int(span / timedelta(milliseconds=1))


def _ms_of(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _ms_or_0(instant: datetime | None) -> int:
    return _ms_of(instant) if instant else 0


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
