"""What the figures of one statement say of each other, without its entries. Pure."""

from shared.domain.ids import AccountId
from shared.domain.ledger import genesis_hash
from shared.domain.money import format_dollars
from shared.domain.periods import Period
from shared.domain.statement import LineKind, Statement, UsageLine
from shared.domain.statement_export import StatementFault


def adds_up(statement: Statement) -> None:
    """Raise StatementFault where the figures of a statement do not agree with each other."""
    _check_place(statement)
    _check_dollars(statement)
    opening, closing = statement.opening, statement.closing
    if opening.balance_nanos + sum(line.amount_nanos for line in statement.lines) != closing.balance_nanos:
        raise StatementFault("closing", "it is not the opening balance plus the lines")
    if sum(line.transfers for line in statement.lines) != closing.seq - opening.seq:
        raise StatementFault("lines", "they do not account for every entry")
    used = next((line for line in statement.lines if line.kind == LineKind.USAGE), None)
    taken = (-used.quota_amount_nanos, -used.amount_nanos) if used else (0, 0)
    for line in statement.usage:
        if line.charge_nanos != line.quota_nanos + line.balance_nanos + line.uncollected_nanos:
            raise StatementFault(
                f"usage of {model_name(line)}", "charge is not quota + balance + uncollected"
            )
    for name, parts in (("usage", statement.usage), ("usage_days", statement.usage_days)):
        if (sum(p.quota_nanos for p in parts), sum(p.balance_nanos for p in parts)) != taken:
            raise StatementFault(name, "it does not add up to the line of usage")


def model_name(line: UsageLine) -> str:
    """Return what a line of usage is for."""
    return line.model or "detached records"


def _check_place(statement: Statement) -> None:
    """Check where in time and in the books a statement says that it lies."""
    try:
        period = Period.parse(statement.period)
    except ValueError as error:
        raise StatementFault("period", str(error)) from None
    if (period.start, period.end) != (statement.start, statement.end):
        raise StatementFault("period", "its start and end are not those of its month")
    opening = statement.opening
    genesis = genesis_hash(AccountId(statement.account.account_id)).hex()
    if opening.seq == 0 and (opening.hash, opening.balance_nanos) != (genesis, 0):
        raise StatementFault("opening", "it is not how the books of this account begin")


def _check_dollars(statement: Statement) -> None:
    """Check what a statement says in nanos and in dollars."""
    said = {
        "opening": (statement.opening.balance_nanos, statement.opening.balance),
        "closing": (statement.closing.balance_nanos, statement.closing.balance),
    }
    said |= {f"line {line.kind}": (line.amount_nanos, line.amount) for line in statement.lines}
    said |= {f"entry {each.seq}": (each.amount_nanos, each.amount) for each in statement.transactions}
    for where, (nanos, dollars) in said.items():
        if dollars != format_dollars(nanos):
            raise StatementFault(where, "its amount in dollars is not that in nanos")
