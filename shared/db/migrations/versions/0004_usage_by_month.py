"""Usage records by month, so that old months can be detached.

Stop the debit workers of the release before: what they write has no place in the new table.

Revision ID: 0004
"""

from datetime import UTC, datetime

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_MONTHS_AHEAD = 3

BEFORE = [
    "ALTER TABLE usage_records RENAME TO usage_records_undivided",
    "ALTER INDEX usage_records_pkey RENAME TO usage_records_undivided_pkey",
    # debited_at is when its transfer occurred: a transfer and its rows share a month, whatever their own time
    # may be.
    """
    CREATE TABLE usage_records (
        LIKE usage_records_undivided,
        debited_at timestamptz NOT NULL
    ) PARTITION BY RANGE (debited_at)
    """,
    # No debit fails for want of a month; the clock moves what lies here to a month of its own.
    "CREATE TABLE usage_records_default PARTITION OF usage_records DEFAULT",
]

_MONTHS = text("""
    SELECT DISTINCT date_trunc('month', coalesce(t.occurred_at, u.time), 'UTC')
    FROM usage_records_undivided u
    LEFT JOIN transfers t ON t.account_id = u.account_id AND t.seq = u.transfer_seq
""")

AFTER = [
    # A row that belongs to no transfer is carried over as well: it is for the audit to find.
    """
    INSERT INTO usage_records
    SELECT u.*, coalesce(t.occurred_at, u.time)
    FROM usage_records_undivided u
    LEFT JOIN transfers t ON t.account_id = u.account_id AND t.seq = u.transfer_seq
    """,
    "DROP TABLE usage_records_undivided",
    # After the rows: building an index at once is quicker than row by row.
    """
    ALTER TABLE usage_records ADD CONSTRAINT usage_records_pkey
        PRIMARY KEY (account_id, transfer_seq, event_id, debited_at)
    """,
    # Months whose rows are away. The digest is over the rows_digest of their transfers.
    """
    CREATE TABLE usage_periods (
        period_start timestamptz CONSTRAINT usage_periods_pkey PRIMARY KEY,
        table_name text NOT NULL,
        rows bigint NOT NULL,
        digest bytea NOT NULL,
        detached_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    # What rows that are away took from each cycle, without those that were voided.
    """
    CREATE TABLE usage_period_cycles (
        account_id text COLLATE "C" NOT NULL,
        cycle_start timestamptz NOT NULL,
        period_start timestamptz NOT NULL,
        quota_nanos bigint NOT NULL,
        balance_nanos bigint NOT NULL,
        CONSTRAINT usage_period_cycles_pkey PRIMARY KEY (account_id, cycle_start, period_start)
    )
    """,
]


def upgrade() -> None:
    for statement in BEFORE:
        op.execute(statement)
    for year, month in sorted(_months_with_rows() | _months_ahead()):
        start, end = datetime(year, month, 1, tzinfo=UTC), datetime(*_next(year, month), 1, tzinfo=UTC)
        op.execute(
            f"CREATE TABLE usage_records_{year:04}_{month:02} PARTITION OF usage_records "
            f"FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
        )
    for statement in AFTER:
        op.execute(statement)


def _months_with_rows() -> set[tuple[int, int]]:
    starts = (start.astimezone(UTC) for start in op.get_bind().execute(_MONTHS).scalars())
    return {(start.year, start.month) for start in starts}


def _months_ahead() -> set[tuple[int, int]]:
    now = datetime.now(UTC)
    months = [(now.year, now.month)]
    for _ in range(_MONTHS_AHEAD):
        months.append(_next(*months[-1]))
    return set(months)


def _next(year: int, month: int) -> tuple[int, int]:
    return (year + month // 12, month % 12 + 1)
