"""What a record costs where the books are large already: with more usage rows, and with more accounts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import text

from bench.debit_stage import debit_stage
from bench.rig import Rig, connected
from bench.traffic import Traffic
from shared.messaging.topology import Stage

#: Records that one transfer of the rows that lie there already covers.
_ROWS_A_TRANSFER = 10

# History as the debit would have written it: ids and numbers that rise within each account.
_TRANSFERS = text("""
    INSERT INTO transfers (account_id, seq, kind, amount_nanos, balance_after_nanos, quota_amount_nanos,
                           quota_after_nanos, cycle_spent_after_nanos, cause, occurred_at, rows_digest, hash)
    SELECT account_id, s, 'usage', -1, -s, 0, 0, 0, 'history', now(), head_hash, head_hash
    FROM accounts, generate_series(CAST(:first AS bigint), :last) AS s
    ORDER BY s, account_id
""")
_IDS = text("""
    INSERT INTO usage_ids (account_id, event_id, transfer_seq, fingerprint)
    SELECT account_id, 'old_' || to_char(s * CAST(:rows AS bigint) + n, 'FM0000000000'),
           s, substr(head_hash, 1, 16)
    FROM accounts, generate_series(CAST(:first AS bigint), :last) AS s,
         generate_series(0, CAST(:rows AS integer) - 1) AS n
    ORDER BY s, account_id
""")
_RECORDS = text("""
    INSERT INTO usage_records (
        account_id, transfer_seq, event_id, source, api_key_id, model, rate_id, time, input_tokens,
        output_tokens, cache_read_tokens, cache_write_tokens, input_audio_tokens, output_audio_tokens,
        list_nanos, charge_nanos, quota_nanos, balance_nanos, uncollected_nanos, digest, debited_at)
    SELECT account_id, s, 'old_' || to_char(s * CAST(:rows AS bigint) + n, 'FM0000000000'),
           'bench', 'key_bench', 'bench-large', 1, now(), 374, 44, 120, 0, 0, 0,
           1375000, 1375000, 0, 1375000, 0, head_hash, now()
    FROM accounts, generate_series(CAST(:first AS bigint), :last) AS s,
         generate_series(0, CAST(:rows AS integer) - 1) AS n
    ORDER BY s, account_id
""")
_SEQS = text("UPDATE accounts SET seq = greatest(seq, :last)")
_TRANSFERS_AT_ONCE = 100
#: What is debited is numbered from here, so that more history fits before it.
_BEHIND_HISTORY = 10**6


@dataclass(frozen=True, slots=True)
class Growth:
    """Microseconds a record took in the debit stage, over all rounds: of time, and of CPU."""

    there_already: int
    wall_us: float
    cpu_us: float


def by_rows(
    rig: Rig, *, accounts: int, rows: Sequence[int], records: int, rounds: int
) -> tuple[list[Growth], list[Growth]]:
    """Measure the debit stage with so many usage rows there already, on one database that grows.

    Returns that for ids which rise with time, and for random ids with the most rows.
    """
    url, traffic = rig.database(accounts), Traffic(accounts)
    grown, filled = [], 0
    for target in rows:
        asyncio.run(_fill(url, accounts, filled, target))
        filled = target
        grown.append(_measure(rig, url, traffic, target, records, rounds))
    anywhere = _measure(rig, url, Traffic(accounts, random_ids=True), filled, records, rounds)
    rig.drop(url)
    return grown, [anywhere]


def by_accounts(rig: Rig, *, accounts: Sequence[int], records: int, rounds: int) -> list[Growth]:
    """Measure the debit stage with so many accounts, each as likely as any other."""
    grown = []
    for count in accounts:
        url = rig.database(count)
        grown.append(_measure(rig, url, Traffic(count), count, records, rounds))
        rig.drop(url)
    return grown


def _measure(rig: Rig, url: str, traffic: Traffic, size: int, records: int, rounds: int) -> Growth:
    measured = [debit_stage(rig, url, traffic, records) for _ in range(rounds)]
    cpu = [(run.cpu_s[str(Stage.DEBIT)] + run.cpu_s["postgres"]) / run.records for run in measured]
    return Growth(size, median(1e6 / run.records_per_s for run in measured), median(cpu) * 1e6)


async def _fill(url: str, accounts: int, there: int, target: int) -> None:
    """Write history until there are ``target`` rows; accounts go on behind all of it."""
    a_transfer_each = accounts * _ROWS_A_TRANSFER
    first, last = there // a_transfer_each + 1, target // a_transfer_each
    async with connected(url) as engine:
        for start in range(first, last + 1, _TRANSFERS_AT_ONCE):
            seqs = {"first": start, "last": min(last, start + _TRANSFERS_AT_ONCE - 1)}
            async with engine.begin() as connection:
                await connection.execute(_TRANSFERS, seqs)
                await connection.execute(_IDS, {**seqs, "rows": _ROWS_A_TRANSFER})
                await connection.execute(_RECORDS, {**seqs, "rows": _ROWS_A_TRANSFER})
        async with engine.begin() as connection:
            await connection.execute(_SEQS, {"last": _BEHIND_HISTORY})
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("VACUUM ANALYZE"))
            await connection.execute(text("CHECKPOINT"))
