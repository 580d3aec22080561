"""The audit proves the books: one changed digit anywhere, and it names the row."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from audited_books import (
    NOT_PROVEN,
    Row,
    changed,
    key_of,
    one_digit_off,
    put,
    rows_of,
    take_away,
    write_books,
)
from sqlalchemy import Column, Table
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres
from shared.db import tables
from shared.db.engine import create_engine
from shared.domain.audit import Fault
from shared.domain.ledger import genesis_hash
from shared.operations.audit import audit

_BOOKS = (tables.accounts, tables.cycles, tables.transfers, tables.usage_ids, tables.usage_records)
_PROVEN = [c for table in _BOOKS for c in table.columns if (table.name, c.name) not in NOT_PROVEN]


@pytest.fixture(scope="module")
def written_url(postgres: Postgres) -> Iterator[str]:
    """A complete set of books; who changes it puts it right again."""
    postgres.create_database("audited", template="payg_template")

    async def write() -> None:
        engine = create_engine(postgres.url_of("audited"))
        await write_books(engine)
        await engine.dispose()

    asyncio.run(write())
    yield postgres.url_of("audited")
    postgres.drop_database("audited")


@pytest.fixture
async def written(written_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(written_url)
    yield engine
    await engine.dispose()


async def _fault(engine: AsyncEngine) -> Fault:
    report = await audit(engine)
    assert report.fault is not None, "the audit found nothing"
    return report.fault


async def test_complete_books_are_proven(written: AsyncEngine) -> None:
    report = await audit(written)
    assert report.ok, str(report.fault)
    assert (report.accounts, report.transfers, report.usage_records) == (3, 10, 10)
    kinds = {row["kind"] for row in await rows_of(written, tables.transfers)}
    assert kinds == {"credit", "usage", "void", "quota_reset"}


async def test_empty_books_are_proven(engine: AsyncEngine) -> None:
    assert (await audit(engine)).ok


def test_what_the_audit_does_not_prove_is_still_there() -> None:
    every = {(table.name, column.name) for table in _BOOKS for column in table.columns}
    assert set(NOT_PROVEN) <= every
    money = {name for name in every if name[1].endswith(("_nanos", "_tokens", "hash", "digest", "seq"))}
    assert money & set(NOT_PROVEN) == {("accounts", "spending_limit_nanos")}


@pytest.mark.parametrize("column", _PROVEN, ids=str)
async def test_one_digit_changed_in_any_row_is_found_there(
    written: AsyncEngine, column: "Column[Any]"
) -> None:
    """Rounding drift, or anything else that makes the books not add up."""
    table: Table = column.table  # type: ignore[assignment]
    tried = 0
    for row in await rows_of(written, table):
        if not _proves(column, row):
            continue
        async with changed(written, table, row, {column.name: one_digit_off(column, row[column.name])}):
            fault = await _fault(written)
        _assert_names(fault, column, row)
        tried += 1
    assert tried
    assert (await audit(written)).ok


def _proves(column: "Column[Any]", row: Row) -> bool:
    if column is tables.transfers.c.reverses_event_id:
        return row["kind"] == "void"  # on other kinds nobody reads it
    if column is tables.transfers.c.reverses_seq:
        return row["seq"] > 1  # what is older than the first the table itself refuses
    return True


def _assert_names(fault: Fault, column: "Column[Any]", row: Row) -> None:
    if column.primary_key:
        # The row is found missing where it was, or too much where it is.
        assert fault.key.split("/")[0][:-1] == row["account_id"][:-1], str(fault)
        return
    names = {key_of(column.table, row)}  # type: ignore[arg-type]
    if row.get("kind") == "void":
        # A void is weighed with the record that it gives back, so it may go by that one's id.
        names |= {f"{row['account_id']}/{row['reverses_event_id']}"}
        other = one_digit_off(tables.transfers.c.reverses_event_id, row["reverses_event_id"])
        names |= {f"{row['account_id']}/{other}"}
    assert fault.table == column.table.name, str(fault)  # type: ignore[attr-defined]
    assert fault.key in names, str(fault)


async def test_a_value_taken_away_is_found_there(written: AsyncEngine) -> None:
    for column in _PROVEN:
        table: Table = column.table  # type: ignore[assignment]
        rows = [row for row in await rows_of(written, table) if column.nullable and _proves(column, row)]
        for row in rows:
            if row[column.name] is not None:
                async with changed(written, table, row, {column.name: None}):
                    fault = await _fault(written)
                assert fault.table == table.name, f"{column}: {fault}"


async def _rows(engine: AsyncEngine, table: Table, name: str) -> list[Row]:
    """Return the rows of the account of that name."""
    account = next(row for row in await rows_of(engine, tables.accounts) if row["name"] == name)
    return [row for row in await rows_of(engine, table) if row["account_id"] == account["account_id"]]


async def test_a_deleted_usage_row_is_missed_by_its_transfer(written: AsyncEngine) -> None:
    for row in await rows_of(written, tables.usage_records):
        await take_away(written, tables.usage_records, row)
        fault = await _fault(written)
        await put(written, tables.usage_records, row)
        assert str(fault).startswith(f"transfers {row['account_id']}/{row['transfer_seq']}: ")


async def test_an_inserted_usage_row_is_found(written: AsyncEngine) -> None:
    for row in await rows_of(written, tables.usage_records):
        forged = {**row, "event_id": "zz_forged"}
        await put(written, tables.usage_records, forged)
        fault = await _fault(written)
        await take_away(written, tables.usage_records, forged)
        assert (fault.table, fault.key) == ("usage_records", key_of(tables.usage_records, forged))


async def test_a_usage_row_of_no_account_is_found(written: AsyncEngine) -> None:
    row = (await rows_of(written, tables.usage_records))[0]
    for nobody in ("aaaa", "zzzz"):
        forged = {**row, "account_id": nobody}
        await put(written, tables.usage_records, forged)
        fault = await _fault(written)
        await take_away(written, tables.usage_records, forged)
        assert (fault.table, fault.key) == ("usage_records", key_of(tables.usage_records, forged))


async def test_a_deleted_transfer_leaves_a_gap_that_is_found(written: AsyncEngine) -> None:
    usage = await _rows(written, tables.usage_records, "plain")
    for row in (await _rows(written, tables.transfers, "plain"))[:-1]:
        await take_away(written, tables.transfers, row)
        fault = await _fault(written)
        await put(written, tables.transfers, row)
        its_own = {key_of(tables.usage_records, r) for r in usage if r["transfer_seq"] == row["seq"]}
        assert fault.key in {*its_own, f"{row['account_id']}/{row['seq'] + 1}"}, str(fault)


async def test_the_last_transfer_deleted_is_missed_by_its_account(written: AsyncEngine) -> None:
    row = (await _rows(written, tables.transfers, "plain"))[-1]
    usage = [
        r for r in await _rows(written, tables.usage_records, "plain") if r["transfer_seq"] == row["seq"]
    ]
    for gone in usage:
        await take_away(written, tables.usage_records, gone)
    await take_away(written, tables.transfers, row)
    fault = await _fault(written)
    await put(written, tables.transfers, row)
    for gone in usage:
        await put(written, tables.usage_records, gone)
    assert (fault.table, fault.key) == ("accounts", row["account_id"])


async def test_a_transfer_moved_to_another_account_breaks_its_chain(written: AsyncEngine) -> None:
    (other,) = [row for row in await rows_of(written, tables.accounts) if row["name"] == "untouched"]
    first = (await _rows(written, tables.transfers, "plain"))[0]
    stolen = {"account_id": other["account_id"]}
    rich = {"balance_nanos": first["balance_after_nanos"], "seq": 1, "head_hash": first["hash"]}
    await put(written, tables.transfers, {**first, **stolen})
    async with changed(written, tables.accounts, other, rich):
        fault = await _fault(written)
    await take_away(written, tables.transfers, {**first, **stolen})
    assert (fault.table, fault.key) == ("transfers", f"{other['account_id']}/1")
    assert other["head_hash"] == genesis_hash(other["account_id"])


async def test_two_transfers_that_changed_places_are_found(written: AsyncEngine) -> None:
    one, two = (await _rows(written, tables.transfers, "plain"))[:2]
    async with (
        changed(written, tables.transfers, one, {"seq": 999}),
        changed(written, tables.transfers, two, {"seq": one["seq"]}),
        changed(written, tables.transfers, {**one, "seq": 999}, {"seq": two["seq"]}),
    ):
        fault = await _fault(written)
    assert (fault.table, fault.key) == ("transfers", key_of(tables.transfers, one))


async def test_two_records_that_changed_ids_are_found(written: AsyncEngine) -> None:
    rows = await _rows(written, tables.usage_records, "plain")
    one, two = [row for row in rows if row["event_id"] in ("req_40", "req_50")]
    async with (
        changed(written, tables.usage_records, one, {"event_id": "moving"}),
        changed(written, tables.usage_records, two, {"event_id": one["event_id"]}),
        changed(written, tables.usage_records, {**one, "event_id": "moving"}, {"event_id": two["event_id"]}),
    ):
        fault = await _fault(written)
    assert (fault.table, fault.key) == ("usage_records", key_of(tables.usage_records, one))


async def test_a_rate_changed_behind_what_was_charged_is_found(written: AsyncEngine) -> None:
    (rate,) = await rows_of(written, tables.rates)
    dearer = [{**rate["tiers"][0], "input": rate["tiers"][0]["input"] + 10**6}]
    async with changed(written, tables.rates, rate, {"tiers": dearer}):
        fault = await _fault(written)
    assert fault.table == "usage_records"
    assert "list price" in fault.what
