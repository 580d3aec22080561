"""The dramatiq actor that a team writes first: one message, one record, ``SELECT … FOR UPDATE``.

Run as a program it waits for a line on standard input, then consumes with one process and 8 threads. Written
with psycopg, which on threads is twice as fast here as asyncpg on dramatiq's event loop.
"""

import os
import sys
import threading
from datetime import UTC, datetime

import dramatiq
import psycopg
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import default_middleware

QUEUE = "plain"
THREADS = 8

TABLES = """
CREATE TABLE accounts (account_id text PRIMARY KEY, balance_nanos bigint NOT NULL);
CREATE TABLE usage (
    account_id text NOT NULL, event_id text NOT NULL, model text NOT NULL, time timestamptz NOT NULL,
    input_tokens integer NOT NULL, output_tokens integer NOT NULL, charge_nanos bigint NOT NULL,
    PRIMARY KEY (account_id, event_id));
CREATE TABLE ledger (
    account_id text NOT NULL, entry_id bigint GENERATED ALWAYS AS IDENTITY, event_id text NOT NULL,
    amount_nanos bigint NOT NULL, balance_after_nanos bigint NOT NULL, PRIMARY KEY (account_id, entry_id));
"""
_LOCK = "SELECT balance_nanos FROM accounts WHERE account_id = %s FOR UPDATE"
_INSERT = "INSERT INTO usage VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING event_id"
_UPDATE = "UPDATE accounts SET balance_nanos = %s WHERE account_id = %s"
_LEDGER = """
    INSERT INTO ledger (account_id, event_id, amount_nanos, balance_after_nanos) VALUES (%s, %s, %s, %s)
"""
_of_this_thread = threading.local()


def plain_broker(url: str) -> RabbitmqBroker:
    """Return a broker as dramatiq makes it, with its default middleware and an actor that debits."""
    broker = RabbitmqBroker(url=url, middleware=[each() for each in default_middleware])
    dramatiq.actor(actor_name=QUEUE, queue_name=QUEUE, broker=broker)(debit)
    return broker


def debit(account_id: str, event_id: str, model: str, tokens: int, charge_nanos: int) -> None:
    """Debit one record."""
    connection = _connection()
    with connection.transaction():
        found = connection.execute(_LOCK, (account_id,)).fetchone()
        if found is None:
            raise LookupError(account_id)
        row = (account_id, event_id, model, datetime.now(UTC), tokens, tokens, charge_nanos)
        if connection.execute(_INSERT, row).fetchone() is None:
            return
        after = found[0] - charge_nanos
        connection.execute(_UPDATE, (after, account_id))
        connection.execute(_LEDGER, (account_id, event_id, -charge_nanos, after))


def _connection() -> "psycopg.Connection":
    connection: psycopg.Connection | None = getattr(_of_this_thread, "connection", None)
    if connection is None:
        connection = _of_this_thread.connection = psycopg.connect(os.environ["PLAIN_DATABASE_URL"])
    return connection


if __name__ == "__main__":
    worker = dramatiq.Worker(plain_broker(os.environ["PLAIN_BROKER_URL"]), worker_threads=THREADS)
    print("ready", flush=True)  # noqa: T201 - whoever started us waits for it
    sys.stdin.readline()
    worker.start()
    sys.stdin.readline()
    worker.stop()
