"""The transaction a team would write by hand, under pgbench: one record, three statements, 16 clients."""

import os
import re
import subprocess
from pathlib import Path

from bench.rig import Rig

CLIENTS = 16
_THREADS = 2

_TABLES = """
CREATE TABLE accounts (account_id text PRIMARY KEY, balance_nanos bigint NOT NULL) WITH (fillfactor = 70);
CREATE TABLE usage (
    account_id text NOT NULL, event_id text NOT NULL, source text NOT NULL, api_key_id text, provider text,
    model text NOT NULL, time timestamptz NOT NULL, input_tokens integer NOT NULL,
    output_tokens integer NOT NULL, cache_read_tokens integer NOT NULL, cache_write_tokens integer NOT NULL,
    input_audio_tokens integer NOT NULL, output_audio_tokens integer NOT NULL, list_nanos bigint NOT NULL,
    charge_nanos bigint NOT NULL, quota_nanos bigint NOT NULL, balance_nanos bigint NOT NULL,
    PRIMARY KEY (account_id, event_id));
CREATE TABLE ledger (
    account_id text NOT NULL, entry_id bigint GENERATED ALWAYS AS IDENTITY, event_id text NOT NULL,
    amount_nanos bigint NOT NULL, balance_after_nanos bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (account_id, entry_id));
INSERT INTO accounts SELECT 'acct_bench_' || n, 0 FROM generate_series(1, {accounts}) AS n;
VACUUM ANALYZE accounts;
"""
_TRANSACTION = r"""
\set account random(1, {accounts})
\set event random(1, 1000000000000)
BEGIN;
INSERT INTO usage VALUES ('acct_bench_' || :account, 'req_' || :event, 'bench', 'key_bench', NULL, 'gpt-4o',
    now(), 374, 44, 120, 0, 0, 0, 1375000, 1375000, 0, 1375000) ON CONFLICT DO NOTHING;
UPDATE accounts SET balance_nanos = balance_nanos - 1375000 WHERE account_id = 'acct_bench_' || :account
    RETURNING balance_nanos AS after \gset
INSERT INTO ledger (account_id, event_id, amount_nanos, balance_after_nanos)
    VALUES ('acct_bench_' || :account, 'req_' || :event, -1375000, :after);
COMMIT;
"""


def pgbench(rig: Rig, *, accounts: int, seconds: int) -> float:
    """Return how many such transactions a second PostgreSQL does: records debited, one each."""
    url = rig.postgres.create_database(f"pgbench_{accounts}")
    script = rig.place / "debit.sql"
    script.write_text(_TRANSACTION.format(accounts=accounts))
    binaries = rig.postgres.bin_dir
    _run(binaries / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", url, text=_TABLES.format(accounts=accounts))
    load = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", str(_THREADS), "-T", str(seconds)]
    output = _run(binaries / "pgbench", *load, "-f", str(script), url)
    rig.drop(url)
    found = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
    if found is None:
        raise ValueError(f"pgbench printed no figure: {output}")
    return float(found.group(1))


def _run(program: Path, *arguments: str, text: str = "") -> str:
    env = {"PATH": os.defpath, "LC_ALL": "C"}
    done = subprocess.run(
        [str(program), *arguments], input=text, text=True, capture_output=True, check=True, env=env
    )
    return done.stdout
