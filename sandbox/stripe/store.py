"""Where the stand-in keeps its objects: one SQLite file, which outlives the process that wrote it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox.stripe.objects import JsonObject

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF; -- a killed process loses nothing; only a machine that loses its power does
CREATE TABLE IF NOT EXISTS object (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    created INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS object_listed ON object (account, kind, created);
CREATE TABLE IF NOT EXISTS idempotency_key (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    path TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    request_id TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE TABLE IF NOT EXISTS webhook_endpoint (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS delivery (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    event TEXT NOT NULL,
    state TEXT NOT NULL, -- pending, held, delivered, failed (given up), dropped (the receiver was down)
    due_s REAL NOT NULL,
    statuses TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS delivery_due ON delivery (state, due_s);
"""

_PUT = """
INSERT INTO object (id, account, kind, created, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET body = excluded.body
"""

_PAGE = """
SELECT body FROM object
WHERE account = :account AND kind = :kind
  AND json_extract(body, '$.deleted') IS NULL
  AND NOT EXISTS (
        SELECT 1 FROM json_each(:only) AS wanted
        WHERE json_extract(body, '$.' || wanted.key) IS NOT wanted.value)
  AND (:types IS NULL OR EXISTS (
        SELECT 1 FROM json_each(:types) WHERE json_extract(body, '$.type') GLOB json_each.value))
  AND (:delivered IS NULL OR (json_extract(body, '$.pending_webhooks') = 0) = :delivered)
  AND (:since IS NULL OR created >= :since)
  AND (:gt IS NULL OR created > :gt) AND (:gte IS NULL OR created >= :gte)
  AND (:lt IS NULL OR created < :lt) AND (:lte IS NULL OR created <= :lte)
  AND (:older_than IS NULL OR seq < (SELECT seq FROM object WHERE id = :older_than))
  AND (:newer_than IS NULL OR seq > (SELECT seq FROM object WHERE id = :newer_than))
ORDER BY seq * CASE WHEN :newer_than IS NULL THEN -1 ELSE 1 END
LIMIT :limit
"""


@dataclass(frozen=True)
class Page:
    """Which objects to list: times are unix seconds, cursors are ids.

    `only` is a JSON object of what fields must be, `types` a JSON list of patterns for the type.
    """

    account: str
    kind: str
    limit: int
    only: str = "{}"
    types: str | None = None
    delivered: bool | None = None
    since: int | None = None
    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None
    older_than: str | None = None
    newer_than: str | None = None


class Store:
    """The objects of all accounts, for one thread.

    What is read and written inside one `transaction`, without awaiting in between, is atomic.
    """

    def __init__(self, file: Path) -> None:
        """Open the file, or make it."""
        self.db = sqlite3.connect(file, isolation_level=None)
        self.db.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end of the block; roll back when it raises."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def put(self, account: str, stored: JsonObject) -> None:
        """Add an object, or replace the one with its id."""
        row = (stored["id"], account, stored["object"], stored.get("created", 0), json.dumps(stored))
        self.db.execute(_PUT, row)

    def get(self, account: str, kind: str, object_id: str) -> JsonObject | None:
        """Return one object of an account."""
        row = self.db.execute(
            "SELECT body FROM object WHERE id = ? AND account = ? AND kind = ?", (object_id, account, kind)
        ).fetchone()
        return _loaded(row[0]) if row else None

    def page(self, page: Page) -> list[JsonObject]:
        """Return objects, the newest first, or the oldest first where `newer_than` is given."""
        return [_loaded(body) for (body,) in self.db.execute(_PAGE, asdict(page))]

    def owned(self, object_id: str) -> tuple[str, JsonObject] | None:
        """Return an object with the account it belongs to."""
        row = self.db.execute("SELECT account, body FROM object WHERE id = ?", (object_id,)).fetchone()
        return (str(row[0]), _loaded(row[1])) if row else None

    def owner(self, object_id: str) -> str | None:
        """Return the account an object belongs to."""
        row = self.db.execute("SELECT account FROM object WHERE id = ?", (object_id,)).fetchone()
        return str(row[0]) if row else None

    def every(self, kind: str) -> list[JsonObject]:
        """Return the objects of a kind of all accounts, the oldest first."""
        rows = self.db.execute("SELECT body FROM object WHERE kind = ? ORDER BY seq", (kind,))
        return [_loaded(body) for (body,) in rows]


def _loaded(body: str) -> JsonObject:
    loaded: JsonObject = json.loads(body)
    return loaded
