"""The scripts in Redis do what `weigh` says, on any state."""

from datetime import timedelta
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.clock import utc_now
from shared.domain.allocation import Payer
from shared.domain.gate import (
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
from shared.domain.money import PPM
from shared.gateways.redis_gate import DebitedAccount, RedisGate, Spent, Unknown

LIFE = timedelta(minutes=10)
_numbers = count()

amounts = st.integers(0, 2_000) | st.integers(0, 9 * 10**15)
payers = st.builds(
    Payer,
    has_plan=st.booleans(),
    discount_ppm=st.sampled_from([0, 1, 200_000, 333_333, 999_999, PPM]) | st.integers(0, PPM),
    quota_remaining_nanos=amounts,
    fallback=st.booleans(),
    spending_limit_nanos=st.none() | amounts,
    cycle_spent_nanos=amounts,
).map(lambda payer: payer if payer.has_plan else Payer())
standings = st.builds(
    Standing,
    version=st.just(1),
    balance_nanos=amounts | st.integers(-(10**9), 0),
    frozen=st.booleans() | st.just(False),  # noqa: FBT003
    payer=payers,
    until=st.none(),
)
keys = st.none() | st.builds(KeyPeriod, st.just("key_1"), amounts, amounts, st.none(), st.none())


class Asked:
    """An account of its own in Redis."""

    def __init__(self, gate: RedisGate, account_id: str | None = None) -> None:
        self.gate = gate
        self.account_id = account_id or f"acct_{next(_numbers)}"
        self.holds: list[str] = []
        self.asked = False

    async def load(self, standing: Standing, key: KeyPeriod | None = None) -> bool:
        """Tell what the books say, after it was asked about."""
        if not self.asked:
            assert await self(0) == Unknown()
        return await self.gate.load(self.account_id, standing, key)

    async def __call__(
        self, list_nanos: int, key: str | None = None, life: timedelta = LIFE
    ) -> Placed | Refused | Unknown:
        hold_id = f"hold_{next(_numbers)}.{self.account_id}"
        self.asked = True
        answer = await self.gate.authorize(self.account_id, hold_id, list_nanos, life, key)
        if isinstance(answer, Placed):
            self.holds.append(hold_id)
        return answer


def paid(balance: int, version: int = 1, **payer: Any) -> Standing:
    return Standing(version, balance, False, Payer(**payer))  # noqa: FBT003


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(standing=standings, prices=st.lists(amounts, min_size=1, max_size=6), key=keys)
async def test_the_script_and_the_model_agree(
    redis_gate: RedisGate, standing: Standing, prices: list[int], key: KeyPeriod | None
) -> None:
    ask = Asked(redis_gate)
    assert await ask.load(standing, key)
    held: list[int] = []
    for price in prices:
        of_key = key and KeyStanding(key.limit_nanos, key.spent_nanos, sum(held))
        expected = weigh(standing, Held.of(held, standing.payer.discount_ppm), price, of_key)
        answer = await ask(price, key and key.api_key_id)
        assert (answer.why if isinstance(answer, Refused) else None) == expected
        if expected is None:
            held.append(price)


async def test_an_account_that_redis_does_not_know_has_to_be_loaded(redis_gate: RedisGate) -> None:
    assert await Asked(redis_gate)(1) == Unknown()


async def test_an_older_standing_never_overwrites_a_newer_one(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    assert await ask.load(paid(50, version=7))
    await ask.load(paid(900, version=6))
    await redis_gate.debited([DebitedAccount(ask.account_id, paid(900, version=7), [])])
    assert await ask(51) == Refused(Refusal.INSUFFICIENT_BALANCE)
    assert isinstance(await ask(50), Placed)


async def test_a_debit_drops_its_holds_and_moves_the_balance_in_one_step_once(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(100))
    await ask(60)
    await ask(40)
    first, _ = ask.holds
    told = [DebitedAccount(ask.account_id, paid(70, version=2), [first])]
    for _ in range(3):
        await redis_gate.debited(told)
    assert await ask(31) == Refused(Refusal.INSUFFICIENT_BALANCE)
    assert isinstance(await ask(30), Placed)


async def test_what_is_given_back_can_be_held_again(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(100))
    await ask(100)
    assert await redis_gate.release(ask.holds[0])
    assert not await redis_gate.release(ask.holds[0])
    assert isinstance(await ask(100), Placed)


async def test_a_hold_expires_and_a_prolonged_one_does_not(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(100))
    await ask(60, life=timedelta(milliseconds=40))
    await ask(40, life=timedelta(milliseconds=40))
    kept, _ = ask.holds
    expires_at = await redis_gate.prolong(kept, LIFE)
    assert expires_at is not None
    assert expires_at > utc_now() + LIFE / 2
    while isinstance(await ask(40), Refused):
        pass
    assert await ask(1) == Refused(Refusal.INSUFFICIENT_BALANCE)
    assert await redis_gate.prolong(ask.holds[1], LIFE) is None


async def test_a_key_spends_what_its_debits_say_in_its_period(redis_gate: RedisGate) -> None:
    ask, now = Asked(redis_gate), utc_now()
    key = KeyPeriod("key_1", 100, 10, now - timedelta(hours=1), now + timedelta(hours=1))
    await ask.load(paid(10_000), key)
    await ask(50, "key_1")
    spent = [Spent("key_1", 20, now), Spent("key_1", 500, now - timedelta(hours=2)), Spent("key_2", 500, now)]
    await redis_gate.debited([DebitedAccount(ask.account_id, paid(9_000, version=2), ask.holds, spent)])
    refused = await ask(71, "key_1")
    assert isinstance(refused, Refused)
    assert refused.why is Refusal.KEY_LIMIT_REACHED
    assert refused.wait is not None
    assert isinstance(await ask(70, "key_1"), Placed)


async def test_a_key_is_loaded_again_where_a_debit_was_missed(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(10_000), KeyPeriod("key_1", 100, 10, None, None))
    await redis_gate.debited([DebitedAccount(ask.account_id, paid(9_000, version=3), [])])
    assert await ask(1, "key_1") == Unknown()


async def test_a_cycle_that_ends_is_loaded_again(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    over = Standing(1, 0, False, Payer(True, 0, 100), utc_now() - timedelta(seconds=1))  # noqa: FBT003
    await ask.load(over)
    assert await ask(1) == Unknown()


async def test_holds_are_counted_anew_under_another_discount(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(0, has_plan=True, quota_remaining_nanos=100))
    await ask(100)
    half_price = paid(0, version=2, has_plan=True, discount_ppm=500_000, quota_remaining_nanos=100)
    await redis_gate.debited([DebitedAccount(ask.account_id, half_price, [])])
    assert await ask(100) == Unknown()
    await ask.load(half_price)
    assert isinstance(await ask(100), Placed)
    assert await ask(2) == Refused(Refusal.QUOTA_EXHAUSTED)


async def test_an_account_may_have_more_money_than_a_double_counts(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(4 * 10**18))
    assert isinstance(await ask(9 * 10**15 - 1), Placed)


async def test_books_that_were_read_before_a_debit_are_not_believed_after_it(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    assert await ask(1) == Unknown()
    read_before = paid(100)
    await redis_gate.debited([DebitedAccount(ask.account_id, paid(30, version=2), [])])
    await redis_gate.load(ask.account_id, read_before, None)
    assert await ask(31) == Refused(Refusal.INSUFFICIENT_BALANCE)
    assert isinstance(await ask(30), Placed)


async def test_a_key_is_loaded_again_where_the_account_was_loaded_past_a_debit(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(10_000), KeyPeriod("key_1", 100, 10, None, None))
    debited = paid(9_000, version=2)
    await ask.load(debited, KeyPeriod("key_2", 100, 10, None, None))
    await redis_gate.debited([DebitedAccount(ask.account_id, debited, [], [Spent("key_1", 80, utc_now())])])
    assert await ask(1, "key_1") == Unknown()
    assert isinstance(await ask(1, "key_2"), Placed)


async def test_a_repeated_debit_tells_not_all_that_keys_spent(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(10_000), KeyPeriod("key_1", 100, 10, None, None))
    repeated = DebitedAccount(ask.account_id, paid(9_000, version=2), [], all_spent=False)
    await redis_gate.debited([repeated])
    assert await ask(1, "key_1") == Unknown()


async def test_a_hold_whose_record_has_arrived_is_not_given_back_and_does_not_expire(
    redis_gate: RedisGate,
) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(100))
    await ask(60, life=timedelta(milliseconds=30))
    await ask(40, life=timedelta(milliseconds=30))
    arrived, _ = ask.holds
    for _ in range(2):
        await redis_gate.settling([arrived], LIFE)
    while isinstance(await ask(40), Refused):
        pass
    assert not await redis_gate.release(arrived)
    assert await ask(1) == Refused(Refusal.INSUFFICIENT_BALANCE)
    await redis_gate.debited([DebitedAccount(ask.account_id, None, [arrived])])
    assert isinstance(await ask(60), Placed)


async def test_what_expires_while_an_account_is_loaded_is_not_held_for_any_key(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(1_000), KeyPeriod("key_1", 100, 0, None, None))
    await ask(100, "key_1", life=timedelta(milliseconds=1))
    while await redis_gate.prolong(ask.holds[0], timedelta()) is not None:
        pass
    await ask.load(paid(1_000))
    assert isinstance(await ask(100, "key_1"), Placed)


async def test_a_hold_of_the_database_that_is_over_is_not_placed_late(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    late = [
        StoredHold(ask.account_id, f"hold_{n}.{ask.account_id}.db", None, 100, utc_now() + LIFE)
        for n in range(3)
    ]
    given_back, debited, live = (hold.hold_id for hold in late)
    assert not await redis_gate.release(given_back)
    await redis_gate.debited([DebitedAccount(ask.account_id, None, [debited])])
    for _ in range(2):
        await redis_gate.place(late)
    await ask.load(paid(150))
    assert await ask(51) == Refused(Refusal.INSUFFICIENT_BALANCE)
    await redis_gate.release(live)
    assert isinstance(await ask(150), Placed)


async def test_a_question_that_is_sent_twice_holds_once(redis_gate: RedisGate) -> None:
    ask = Asked(redis_gate)
    await ask.load(paid(100))
    for _ in range(2):
        await redis_gate.authorize(ask.account_id, f"hold_twice.{ask.account_id}", 40, LIFE, None)
    assert isinstance(await ask(60), Placed)


async def test_an_account_that_was_not_asked_about_before_its_books_were_read_is_not_loaded(
    redis_gate: RedisGate,
) -> None:
    ask = Asked(redis_gate)
    assert not await redis_gate.load(ask.account_id, paid(100), None)
    await redis_gate.refresh({ask.account_id: paid(100)})
    assert await ask(1) == Unknown()
    await redis_gate.refresh({ask.account_id: paid(100)})
    assert await ask(1) == Unknown()
