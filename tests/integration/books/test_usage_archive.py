"""Usage kept in a Parquet file: nothing is lost on the way, and its charges follow from it."""

import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from arro3.core import Array, DataType, RecordBatch
from arro3.io import write_parquet
from books_builders import GRACE, MODEL, NANO_A_TOKEN, Books
from old_months import debit_in, detach_before, month, settle

from shared.clock import utc_now
from shared.documents import usage_archive as parquet
from shared.documents.usage_archive import ArchiveError, read_usage
from shared.domain.errors import RefusedError
from shared.domain.pricing import BEGINNING_OF_TIME, Tier, TokenRates
from shared.domain.usage_archive import ArchivedUsage
from shared.gateways.genai_prices import CatalogModel
from shared.operations.money import void_usage
from shared.operations.prices import set_price
from shared.operations.rerate import OtherPrices, rerate
from shared.operations.usage_archive import rerate_archive, write_archive

_KEPT = set(ArchivedUsage._fields) - {"voided", "rate_provider", "rate_model", "rate_from", "tiers"}


def _rates(nanos_a_token: int) -> TokenRates:
    rate = nanos_a_token * NANO_A_TOKEN
    return TokenRates.inherit({"input": rate, "output": rate})


def _listed(*tiers: Tier) -> OtherPrices:
    return OtherPrices(listed=[CatalogModel("", MODEL, ((BEGINNING_OF_TIME, tiers),))])


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def _archived(books: Books, file: Path) -> Path:
    """Archive everything."""
    await write_archive(books.engine, (), month(12).start, utc_now() + timedelta(days=1), file)
    return file


async def test_every_record_is_kept_to_the_last_digit(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 2)
    account_id, subscriber = await books.account(), await books.subscriber(25, 200_000, fallback=True)
    await debit_in(books, account_id, "req_old", 10**9, ago=3)
    for owner in (account_id, subscriber):
        await books.debit([books.record(owner, f"ré☂_{n}", 10 + n, cache_read_tokens=n) for n in range(3)])
    await void_usage(books.engine, account_id, "ré☂_1", "mistake", GRACE)
    rows = list(read_usage(await _archived(books, tmp_path / "all.parquet")))
    assert sorted(({name: getattr(row, name) for name in _KEPT} for row in rows), key=str) == sorted(
        ({name: row[name] for name in _KEPT} for row in await books.usage()), key=str
    )
    assert [row.event_id for row in rows if row.voided] == ["ré☂_1"]
    assert _names(tmp_path) == ["all.parquet"]


async def test_the_file_alone_gives_the_figures_of_the_database(books: Books, tmp_path: Path) -> None:
    owners = [await books.account(), await books.subscriber(25, 200_000, fallback=True)]
    await debit_in(books, owners[0], "req_old", 10, ago=3)
    await books.debit([books.record(owner, f"req_{n}", 10 + n) for owner in owners for n in range(5)])
    await void_usage(books.engine, owners[0], "req_1", "mistake", GRACE)
    file = await _archived(books, tmp_path / "all.parquet")
    for prices in (
        OtherPrices(),
        _listed(Tier(0, _rates(3)), Tier(12, _rates(1))),
        OtherPrices(at=month(2).start),
    ):
        for start in (month(12).start, month(1).start):
            span = (start, utc_now() + timedelta(days=1))
            for chosen in ([], owners[:1]):
                found = rerate_archive(file, chosen, *span, prices)
                assert found == await rerate(books.engine, chosen, *span, prices)
                assert sum(line.records for line in found) > 0


async def test_charges_follow_from_the_file_whatever_prices_are_set_later(
    books: Books, tmp_path: Path
) -> None:
    account_id = await books.account()
    await debit_in(books, account_id, "req_1", 10, ago=3)
    file = await _archived(books, tmp_path / "before.parquet")
    await set_price(books.engine, None, MODEL, _rates(7), month(4).start)
    (line,) = rerate_archive(file, [], None, None, OtherPrices())
    assert (line.list_nanos, line.difference_nanos) == (10, 0)


async def test_a_month_that_is_detached_is_not_left_out_silently(books: Books, tmp_path: Path) -> None:
    await debit_in(books, await books.account(), "req_1", 10, ago=4)
    await settle(books)
    await detach_before(books, 3)
    with pytest.raises(RefusedError, match=f"attach {month(4)}"):
        await _archived(books, tmp_path / "all.parquet")
    assert _names(tmp_path) == []


async def test_a_file_that_is_cut_off_is_refused(books: Books, tmp_path: Path) -> None:
    file = await _archived(books, tmp_path / "none.parquet")
    assert list(read_usage(file)) == []
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(RefusedError, match="no whole Parquet"):
        list(read_usage(file))


async def test_a_damaged_file_is_read_or_refused(books: Books, tmp_path: Path) -> None:
    await books.debit([books.record(await books.account(), f"req_{n}", 10 + n) for n in range(20)])
    whole = (await _archived(books, tmp_path / "all.parquet")).read_bytes()
    refused = 0
    for seed in range(30):
        damaged, randomly = bytearray(whole), Random(seed)
        for _ in range(3):
            damaged[randomly.randrange(4, len(whole) - 8)] ^= 1 << randomly.randrange(8)
        refused += _is_refused(tmp_path / "damaged.parquet", bytes(damaged))
    assert refused > 5
    other = RecordBatch.from_pydict({"a": Array([1], DataType.int64())}, metadata={"payg.usage_archive": "1"})
    write_parquet(other, tmp_path / "other.parquet")
    with pytest.raises(RefusedError, match="no usage archive"):
        list(read_usage(tmp_path / "other.parquet"))


@pytest.mark.parametrize("tiers", ["", "{}", "[1]", '[{"above_tokens": 0}]', '[{"above_tokens": "0"}]'])
async def test_a_rate_that_cannot_be_read_is_named_by_a_record_it_charged(
    books: Books, tmp_path: Path, tiers: str
) -> None:
    await books.debit([books.record(await books.account(), "req_1", 10)])
    (row,) = read_usage(await _archived(books, tmp_path / "all.parquet"))

    async def changed() -> AsyncIterator[ArchivedUsage]:
        yield row._replace(tiers=tiers)

    await parquet.write_usage(tmp_path / "changed.parquet", changed())
    with pytest.raises(RefusedError, match="the rate that charged req_1"):
        rerate_archive(tmp_path / "changed.parquet", (), None, None, OtherPrices())


def _is_refused(file: Path, content: bytes) -> bool:
    file.write_bytes(content)
    try:
        list(read_usage(file))
    except RefusedError:
        return True
    return False


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arro3.io", None)
    with pytest.raises(ArchiveError, match=r"\[archive\]"):
        list(read_usage(tmp_path / "any.parquet"))
