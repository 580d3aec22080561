"""The books: a changed digit anywhere breaks the chain."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations
from typing import Any

import msgspec
import pytest
from domain_builders import NOW, ROW, TRANSFER
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ids import AccountId, EventId
from shared.domain.ledger import (
    Transfer,
    TransferKind,
    UsageRow,
    canonical_json,
    chain_hash,
    digest_of_rows,
    genesis_hash,
)

PREVIOUS = genesis_hash(AccountId("acc_1"))
CHANGES_OF_TRANSFER: dict[str, Any] = {
    "seq": 4,
    "kind": TransferKind.VOID,
    "amount_nanos": -51,
    "balance_after_nanos": 951,
    "quota_amount_nanos": 100,
    "quota_after_nanos": 0,
    "cycle_spent_after_nanos": 51,
    "cause": "2 usage records ",
    "occurred_at": NOW + timedelta(microseconds=1),
    "rows_digest": bytes(32),
}
DAYLIGHT = timezone(timedelta(hours=2))


def changed(value: Any) -> Any:
    """Return a value of the same kind that differs in one digit."""
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    return value + 1 if isinstance(value, int) else f"{value}0"


def test_the_canonical_json_of_a_transfer_is_the_same_for_ever() -> None:
    digest = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    assert canonical_json(TRANSFER) == (
        b'{"amount":-50,"balance_after":950,"cause":"2 usage records","cycle_spent_after":50,"kind":"usage",'
        b'"occurred_at":"2026-11-23T12:00:00Z","quota_after":900,"quota_amount":-100,'
        b'"rows_digest":"' + digest.encode() + b'","seq":3}'
    )


def test_the_canonical_json_of_a_credit_has_no_rows() -> None:
    credit = msgspec.structs.replace(
        TRANSFER,
        kind=TransferKind.CREDIT,
        cause='says "é"\n',
        rows_digest=None,
        occurred_at=datetime(2026, 11, 23, 14, 0, 0, 120_000, DAYLIGHT),
    )
    fields = msgspec.json.decode(canonical_json(credit))
    assert (fields["kind"], fields["cause"], fields["rows_digest"]) == ("credit", 'says "é"\n', None)
    assert fields["occurred_at"] == "2026-11-23T12:00:00.120000Z"


def test_the_hash_is_sha_256_of_the_previous_hash_and_the_canonical_json() -> None:
    expected = hashlib.sha256(PREVIOUS + canonical_json(TRANSFER)).digest()
    assert chain_hash(PREVIOUS, TRANSFER) == expected
    assert TRANSFER.with_hash(PREVIOUS).hash == expected


def test_a_transfer_gains_nothing_but_its_hash() -> None:
    assert msgspec.structs.replace(TRANSFER.with_hash(PREVIOUS), hash=b"") == TRANSFER


def test_every_field_of_a_transfer_is_tried_below() -> None:
    assert {*CHANGES_OF_TRANSFER, "hash"} == set(Transfer.__struct_fields__)


@pytest.mark.parametrize("field", CHANGES_OF_TRANSFER)
def test_the_hash_changes_with_each_field(field: str) -> None:
    other = msgspec.structs.replace(TRANSFER, **{field: CHANGES_OF_TRANSFER[field]})
    assert chain_hash(PREVIOUS, other) != chain_hash(PREVIOUS, TRANSFER)


def test_no_rows_and_rows_are_told_apart() -> None:
    assert chain_hash(PREVIOUS, msgspec.structs.replace(TRANSFER, rows_digest=None)) != chain_hash(
        PREVIOUS, TRANSFER
    )


@given(st.integers(0, 31), st.integers(1, 255))
def test_the_hash_changes_with_any_bit_of_the_previous_one(position: int, flip: int) -> None:
    other = bytearray(PREVIOUS)
    other[position] ^= flip
    assert chain_hash(bytes(other), TRANSFER) != chain_hash(PREVIOUS, TRANSFER)


def test_the_instant_counts_not_the_offset_it_is_written_with() -> None:
    same = msgspec.structs.replace(TRANSFER, occurred_at=NOW.astimezone(DAYLIGHT))
    assert chain_hash(PREVIOUS, same) == chain_hash(PREVIOUS, TRANSFER)


def test_a_chain_cannot_be_moved_to_another_account() -> None:
    assert genesis_hash(AccountId("acc_1")) == hashlib.sha256(b"payg:account:acc_1").digest()
    assert genesis_hash(AccountId("acc_1")) != genesis_hash(AccountId("acc_2"))


@pytest.mark.parametrize("field", UsageRow._fields)
def test_the_digest_of_a_row_changes_with_each_field(field: str) -> None:
    other = ROW._replace(**{field: changed(getattr(ROW, field))})
    assert other.digest() != ROW.digest()


@pytest.mark.parametrize("field", ["api_key_id", "provider", "cycle_start", "hold_id", "metadata"])
def test_nothing_and_the_word_null_are_told_apart(field: str) -> None:
    nothing = ROW._replace(**{field: None})
    word = ROW._replace(**{field: "null"})
    assert len({nothing.digest(), word.digest(), ROW.digest()}) == 3


def test_neighbouring_fields_of_a_row_do_not_run_together() -> None:
    one = ROW._replace(provider="a", model="bc", input_tokens=1, output_tokens=23)
    other = ROW._replace(provider="ab", model="c", input_tokens=12, output_tokens=3)
    assert one._replace(provider="ab", model="c").digest() != one.digest()
    assert one._replace(input_tokens=12, output_tokens=3).digest() != one.digest()
    assert other.digest() != one.digest()


def test_a_row_read_back_has_the_digest_it_was_written_with() -> None:
    read = ROW._replace(time=ROW.time.replace(tzinfo=UTC))
    assert read.digest() == ROW.digest()


def rows(*ids: str) -> list[tuple[EventId, bytes]]:
    return [(EventId(event_id), ROW._replace(event_id=EventId(event_id)).digest()) for event_id in ids]


def test_the_digest_of_rows_does_not_depend_on_the_order_of_arrival() -> None:
    digests = {digest_of_rows(order) for order in permutations(rows("a", "b", "c", "10", "9"))}
    assert len(digests) == 1


def test_the_digest_of_rows_is_over_their_digests_in_order_of_id() -> None:
    (_, first), (_, second) = rows("a", "b")
    assert digest_of_rows(rows("b", "a")) == hashlib.sha256(first + second).digest()


def test_a_row_more_less_or_changed_changes_the_digest_of_rows() -> None:
    two = rows("a", "b")
    altered = [two[0], (two[1][0], bytes(32))]
    digests = {digest_of_rows(each) for each in ([], two[:1], two, rows("a", "b", "c"), altered, two[1:])}
    assert len(digests) == 6
