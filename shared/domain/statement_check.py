"""Check a statement without the books: its signature, its sums, and the entries it was made of. Pure.

The entries must recompute the hash chain from the head where the statement begins to the head where it ends,
and every figure of the statement; usage rows must recompute the digest that their entry carries in the chain.
A changed digit anywhere breaks one of these, and the fault names the entry, or else the figure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from shared.domain.ledger import Transfer, TransferKind, UsageRow, chain_hash, digest_of_rows
from shared.domain.signature import Signature, SignatureFault, check_signature
from shared.domain.statement import (
    Mark,
    State,
    Statement,
    Transaction,
    as_document,
    lines_of,
    mark,
    transaction_of,
    usage_days_of,
    usage_lines_of,
)
from shared.domain.statement_export import Exported, StatementFault
from shared.domain.statement_figures import adds_up, model_name
from shared.domain.statement_totals import Totals


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: how much was checked, and the first fault."""

    statement: Statement | None = None
    signed_by: str | None = None
    entries: int | None = None
    usage_rows: int = 0
    fault: StatementFault | None = None


def check_statement(
    signed: Mapping[str, Any],
    entries: Iterable[Exported] | None = None,
    trusted: Sequence[bytes] | None = None,
) -> Checked:
    """Check a statement with its signature, and its entries where there are any.

    ``trusted`` are the public keys that may have signed it; without any, whichever key it names.
    """
    try:
        statement = _read(signed)
    except StatementFault as unreadable:
        return Checked(fault=unreadable)
    unsigned = _signature_fault(signed, trusted)
    walk = Walk(statement, signed=unsigned is None)
    fault: StatementFault | None = None
    try:
        adds_up(statement)
        if entries is not None:
            walk.follow(entries)
    except StatementFault as found:
        fault = found
    return Checked(
        statement=statement,
        signed_by=None if unsigned else signed["signature"]["key_id"],
        entries=None if entries is None else walk.entries,
        usage_rows=walk.rows,
        fault=fault or unsigned,
    )


class Walk:
    """Goes through the entries of a statement, in order."""

    def __init__(self, statement: Statement, *, signed: bool) -> None:
        self._statement = statement
        self._signed = signed
        self._listed = iter(statement.transactions)
        self._head = bytes.fromhex(statement.opening.hash)
        self._seq = statement.opening.seq
        self._balance = statement.opening.balance_nanos
        self._totals = Totals()
        self._rowless = 0
        self.entries = 0
        self.rows = 0

    def follow(self, entries: Iterable[Exported]) -> None:
        """Check all entries, then what the statement says of them; raises StatementFault."""
        for transfer, rows in entries:
            self._check(transfer, rows)
        extra = next(self._listed, None)
        if extra is not None:
            raise StatementFault(
                f"entry {extra.seq}", "the statement lists it, and it is not among the entries"
            )
        end = mark(self._seq, self._head, self._balance)
        if end != self._statement.closing:
            what = f"the entries end with number {end.seq} and {_difference(end, self._statement.closing)}"
            raise StatementFault("closing", what)
        self._check_sums()

    def _check(self, transfer: Transfer, rows: Sequence[UsageRow]) -> None:
        where = f"entry {self._seq + 1}"
        if transfer.seq != self._seq + 1:
            raise StatementFault(where, f"number {transfer.seq} stands in its place")
        if transfer.hash != chain_hash(self._head, transfer):
            raise StatementFault(*self._broken(where))
        if transfer.balance_after_nanos != self._balance + transfer.amount_nanos:
            raise StatementFault(where, "its balance_after is not the balance before plus its amount")
        if transfer.kind != TransferKind.USAGE:
            self._check_listed(where, transfer)
        self._check_rows(where, transfer, rows)
        self._totals.add(transfer, rows)
        self._seq, self._head, self._balance = transfer.seq, transfer.hash, transfer.balance_after_nanos
        self.entries += 1
        self.rows += len(rows)

    def _broken(self, where: str) -> tuple[str, str]:
        # Where the statement itself was changed, the first link breaks at the head that it names.
        if self.entries == 0 and not self._signed:
            return "opening", f"{where} does not chain to its head"
        return where, "a value was changed: the hash chain breaks here"

    def _check_listed(self, where: str, transfer: Transfer) -> None:
        listed, expected = next(self._listed, None), transaction_of(transfer)
        if listed is None or listed.seq != expected.seq:
            raise StatementFault(where, "the statement does not list it in its place")
        if listed != expected:
            raise StatementFault(where, f"in the statement {_difference(listed, expected)}")

    def _check_rows(self, where: str, transfer: Transfer, rows: Sequence[UsageRow]) -> None:
        if not rows:
            self._rowless += transfer.kind == TransferKind.USAGE
            return
        for row in rows:
            if (row.account_id, row.transfer_seq) != (self._statement.account.account_id, transfer.seq):
                raise StatementFault(where, f"its usage row {row.event_id} is that of another entry")
        if digest_of_rows((row.event_id, row.digest()) for row in rows) != transfer.rows_digest:
            raise StatementFault(where, "a usage row was changed, added or taken away: their digest differs")
        quota, balance = sum(row.quota_nanos for row in rows), sum(row.balance_nanos for row in rows)
        if (-quota, -balance) != (transfer.quota_amount_nanos, transfer.amount_nanos):
            raise StatementFault(where, "its usage rows do not add up to it")

    def _check_sums(self) -> None:
        movements, statement = self._totals.movements, self._statement
        _same("lines", statement.lines, lines_of(movements), lambda line: str(line.kind))
        _same("usage_days", statement.usage_days, usage_days_of(movements), lambda day: str(day.day))
        if not self.rows:
            return
        if self._rowless:
            raise StatementFault("usage", f"{self._rowless} entries of usage have no usage rows beside them")
        if all(line.model is not None for line in statement.usage):
            expected = usage_lines_of(self._totals.usage, movements)
            _same("usage", statement.usage, expected, model_name)


def _read(signed: Mapping[str, Any]) -> Statement:
    if signed.keys() != {"statement", "signature"}:
        raise StatementFault("statement", "the file holds no statement with its signature")
    try:
        statement = msgspec.convert(signed["statement"], Statement)
        heads = [bytes.fromhex(place.hash) for place in (statement.opening, statement.closing)]
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise StatementFault("statement", f"it cannot be read: {error}") from None
    # What it was read as must be what it says: no other way to write a time or a number.
    if as_document(statement) != signed["statement"] or any(len(head) != 32 for head in heads):
        raise StatementFault("statement", "it is not written as payg writes it")
    return statement


def _signature_fault(signed: Mapping[str, Any], trusted: Sequence[bytes] | None) -> StatementFault | None:
    if signed["statement"]["state"] != State.CLOSED:
        return StatementFault("signature", "the statement is open, a preview that nobody signed")
    if signed["signature"] is None:
        return StatementFault("signature", "the statement is not signed")
    try:
        signature = msgspec.convert(signed["signature"], Signature)
        check_signature(signed["statement"], signature)
    except (msgspec.ValidationError, SignatureFault, ValueError) as error:
        return StatementFault("signature", str(error))
    if trusted is not None and bytes.fromhex(signature.public_key) not in trusted:
        return StatementFault(
            "signature", f"it was made with key {signature.key_id}, which is none of those given"
        )
    return None


def _same(what: str, said: Sequence[Any], expected: Sequence[Any], name: Callable[[Any], str]) -> None:
    for one, other in zip(said, expected, strict=False):
        if one != other:
            raise StatementFault(f"{what}, {name(one)}", f"by the entries, {_difference(other, one)}")
    if len(said) != len(expected):
        raise StatementFault(what, f"there are {len(said)}, by the entries {len(expected)}")


def _difference(one: Mark | Transaction | Any, other: Any) -> str:  # noqa: ANN401 - two of a kind
    """Return the first field of one in which it is not like the other."""
    for field in one.__struct_fields__:
        if getattr(one, field) != getattr(other, field):
            return f"{field} is {getattr(one, field)}, not {getattr(other, field)}"
    return "nothing differs"
