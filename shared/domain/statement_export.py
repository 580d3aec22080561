"""The entries of a statement as JSON lines, to check it by. Pure.

First the statement, then each entry in order, each followed by its usage rows where those were asked for.

    {"statement": {…}, "signature": {…}}
    {"entry": {"seq": 18, "kind": "usage", …, "rows_digest": "…", "hash": "…"}}
    {"usage": {"event_id": "req_1", …}}

An entry has the fields that the hash chain covers, and its hash; a usage row those that its digest covers.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import Annotated, Any, NamedTuple

import msgspec

from shared.domain.errors import PaygError
from shared.domain.ledger import Transfer, TransferKind, UsageRow


class StatementFault(PaygError):  # noqa: N818 - a finding, not an error of ours
    """What is wrong with a statement or its entries: where, and what is wrong there."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


class Exported(NamedTuple):
    """One entry with the usage rows that stood after it."""

    transfer: Transfer
    rows: list[UsageRow]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    seq: int
    kind: TransferKind
    amount_nanos: int
    balance_after_nanos: int
    quota_amount_nanos: int
    quota_after_nanos: int
    cycle_spent_after_nanos: int
    cause: str
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)]
    rows_digest: str | None
    hash: str


def entry_line(transfer: Transfer) -> bytes:
    """Return an entry as a line."""
    fields = msgspec.structs.asdict(transfer)
    digest = transfer.rows_digest
    entry = _Entry(**fields | {"hash": transfer.hash.hex(), "rows_digest": digest.hex() if digest else None})
    return msgspec.json.encode({"entry": entry}) + b"\n"


def usage_line(row: UsageRow) -> bytes:
    """Return a usage row as a line."""
    return msgspec.json.encode({"usage": row._asdict()}) + b"\n"


def read_export(lines: Iterable[bytes]) -> tuple[Mapping[str, Any] | None, Iterator[Exported]]:
    """Return the statement, if the first line holds one, and the entries one by one.

    Raises StatementFault for what cannot be read: at once, or when it is come to.
    """
    rest = enumerate((line for line in lines if line.strip()), start=1)
    first = next(rest, None)
    if first is None:
        return None, iter(())
    element = _decoded(*first)
    if "statement" in element:
        return element, _entries(_decoded(*line) for line in rest)
    return None, _entries(chain([element], (_decoded(*line) for line in rest)))


def read_json(text: bytes, where: str) -> Mapping[str, Any]:
    """Return a JSON object in UTF-8; raises StatementFault."""
    try:
        element = json.loads(text.decode("utf-8-sig"), object_pairs_hook=_once)
        if rb"\u" in text:
            # Half of a surrogate pair can be read, and then not be written for a hash.
            json.dumps(element, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise StatementFault(where, f"it is not JSON: {error}") from None
    if not isinstance(element, dict):
        raise StatementFault(where, "it is no JSON object")
    return element


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; raises ValueError where a name stands twice: readers would disagree."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _decoded(number: int, line: bytes) -> Mapping[str, Any]:
    return read_json(line, f"line {number}")


def _entries(elements: Iterator[Mapping[str, Any]]) -> Iterator[Exported]:
    current: Exported | None = None
    for element in elements:
        if element.keys() == {"entry"}:
            if current:
                yield current
            current = Exported(_transfer(element["entry"], current), [])
        elif element.keys() == {"usage"} and current:
            current.rows.append(_row(element["usage"], current.transfer.seq))
        else:
            raise StatementFault(_after(current), "a line that is neither an entry nor a usage row")
    if current:
        yield current


def _transfer(fields: Any, before: Exported | None) -> Transfer:  # noqa: ANN401 - whatever stands there
    where = f"entry {before.transfer.seq + 1}" if before else "the first entry"
    try:
        entry = msgspec.convert(fields, _Entry)
        digest = None if entry.rows_digest is None else bytes.fromhex(entry.rows_digest)
        read = {
            "occurred_at": entry.occurred_at.astimezone(UTC),
            "hash": bytes.fromhex(entry.hash),
            "rows_digest": digest,
        }
        transfer = Transfer(**msgspec.structs.asdict(entry) | read)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise StatementFault(where, f"it cannot be read: {error}") from None
    if (entry.hash, entry.rows_digest) != (transfer.hash.hex(), digest.hex() if digest else None):
        raise StatementFault(where, "a hash is not written in hex")
    return transfer


def _row(fields: Any, seq: int) -> UsageRow:  # noqa: ANN401
    where = f"entry {seq}"
    if not isinstance(fields, dict) or fields.keys() != set(UsageRow._fields):
        raise StatementFault(where, "one of its usage rows has other fields than a usage row")
    try:
        return msgspec.convert([fields[name] for name in UsageRow._fields], UsageRow)
    except (msgspec.ValidationError, ValueError) as error:
        raise StatementFault(where, f"its usage row {fields['event_id']} cannot be read: {error}") from None


def _after(current: Exported | None) -> str:
    return f"after entry {current.transfer.seq}" if current else "line 1"
