"""Usage as a Parquet file, row by row what ``ArchivedUsage`` is. It needs the extra ``archive``.

Memory is that of a few thousand rows, whatever the size of the file. Source: https://parquet.apache.org/docs/
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.domain.errors import PaygError, RefusedError
from shared.domain.usage_archive import ArchivedUsage

if TYPE_CHECKING:
    from arro3.core import Array, DataType, RecordBatch, Schema

_ROWS = 8192
_VERSION = {"payg.usage_archive": "1"}
_MAGIC = b"PAR1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIMES = frozenset({"debited_at", "time", "cycle_start", "rate_from"})
_TEXTS = frozenset(
    {"account_id", "event_id", "source", "api_key_id", "provider", "model", "rate_provider", "rate_model"}
) | {"tiers"}


class ArchiveError(PaygError):
    """What reads and writes archives is not installed."""


async def write_usage(file: Path, rows: AsyncIterator[ArchivedUsage]) -> int:
    """Write rows to a new file, which is there once it is whole, and return how many.

    Raises ArchiveError without the extra, RefusedError where the file exists.
    """
    _assert_installed()
    from arro3.core import RecordBatchReader  # noqa: PLC0415 - an extra
    from arro3.io import write_parquet  # noqa: PLC0415

    _assert_new(file)
    schema, loop, written = _schema(), asyncio.get_running_loop(), 0

    def batches() -> "Iterator[RecordBatch]":
        nonlocal written
        while chunk := asyncio.run_coroutine_threadsafe(_take(rows), loop).result():
            written += len(chunk)
            yield _batch(schema, chunk)

    part = file.with_name(f"{file.name}.part")
    try:
        reader = RecordBatchReader.from_batches(schema, batches())
        await asyncio.to_thread(write_parquet, reader, part, compression="zstd(3)")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return written


def read_usage(file: Path) -> Iterator[ArchivedUsage]:
    """Yield the rows of a file; raises ArchiveError without the extra, RefusedError for another file."""
    _assert_installed()
    from arro3.io import read_parquet  # noqa: PLC0415 - an extra

    with file.open("rb") as opened:
        # Without them the library's Rust code panics, with a report of its own on standard error.
        begins = opened.read(len(_MAGIC))
        opened.seek(max(0, file.stat().st_size - len(_MAGIC)))
        if begins != _MAGIC or opened.read() != _MAGIC:
            raise RefusedError(f"{file} is no whole Parquet file")
    with _damage_refused(file):
        batches = read_parquet(file, batch_size=_ROWS)
        if not _is_ours(batches.schema):
            raise RefusedError(f"{file} is no usage archive: `payg usage archive` writes one")
        for batch in batches:
            columns: list[Any] = [batch[name].to_pylist() for name in ArchivedUsage._fields]
            yield from map(ArchivedUsage._make, zip(*columns, strict=True))


def _is_ours(schema: "Schema") -> bool:
    ours = _schema()
    marked = _VERSION.items() <= schema.metadata_str.items()
    return marked and (schema.names, schema.types) == (ours.names, ours.types)


@contextmanager
def _damage_refused(file: Path) -> Iterator[None]:
    """Refuse a file that the library fails at; its Rust code may panic, which is no Exception."""
    try:
        yield
    except RefusedError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise RefusedError(f"{file} is damaged: {error}") from None
        raise


def _assert_installed() -> None:
    try:
        import arro3.io  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise ArchiveError("an archive needs the extra: .venv/bin/pip install -e '.[archive]'") from None


def _assert_new(file: Path) -> None:
    if file.exists():
        raise RefusedError(f"{file} exists: nothing was written")


async def _take(rows: AsyncIterator[ArchivedUsage]) -> list[ArchivedUsage]:
    """Return the next rows, none at the end."""
    taken: list[ArchivedUsage] = []
    async for row in rows:
        taken.append(row)
        if len(taken) == _ROWS:
            break
    return taken


def _schema() -> "Schema":
    from arro3.core import Field, Schema  # noqa: PLC0415 - an extra

    return Schema([Field(name, _type(name)) for name in ArchivedUsage._fields], metadata=_VERSION)


def _type(name: str) -> "DataType":
    from arro3.core import DataType  # noqa: PLC0415 - an extra

    if name in _TIMES:
        return DataType.timestamp("us", tz="UTC")
    if name in _TEXTS:
        return DataType.utf8()
    return DataType.bool() if name == "voided" else DataType.int64()


def _batch(schema: "Schema", rows: list[ArchivedUsage]) -> "RecordBatch":
    from arro3.core import RecordBatch  # noqa: PLC0415 - an extra

    columns = zip(ArchivedUsage._fields, zip(*rows, strict=True), strict=True)
    return RecordBatch.from_arrays([_array(name, values) for name, values in columns], schema=schema)


def _array(name: str, values: tuple[Any, ...]) -> "Array":
    from arro3.core import Array, DataType  # noqa: PLC0415 - an extra

    if name in _TIMES:
        since_epoch = [None if each is None else (each - _EPOCH) // _MICROSECOND for each in values]
        return Array(since_epoch, DataType.int64()).cast(_type(name))
    return Array(values, _type(name))
