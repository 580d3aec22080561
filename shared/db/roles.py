"""Who may do what in the database: three roles without a login, to be granted to the users of the processes.

``payg_workers`` is for the stages and the clock, ``payg_api`` for the HTTP tier, ``payg_auditor`` for
``payg audit`` and whoever looks. Operators' commands (`migrate`, `rebuild`, …) take the owner.
Nobody but the owner changes or deletes what is in the books. ``payg migrate`` grants it anew.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

WORKERS, API, AUDITOR = "payg_workers", "payg_api", "payg_auditor"
ROLES = (WORKERS, API, AUDITOR)

#: Tables that only the HTTP tier reads: who signs in, and what operators did.
_OF_THE_API = frozenset({"console_sessions", "members", "sign_in_links", "operator_actions"})
#: Columns of which nobody but the HTTP tier, or those who send, may know.
_SECRETS = {
    WORKERS: {"api_keys": {"secret_hash"}},
    API: {},
    AUDITOR: {"api_keys": {"secret_hash"}, "webhook_endpoints": {"secret", "old_secret"}},
}
_HIDDEN = {
    WORKERS: _OF_THE_API,
    API: frozenset[str](),
    AUDITOR: frozenset({"console_sessions", "sign_in_links"}),
}

_ADD = "INSERT"
_KEEP = "INSERT, UPDATE"
_ALL = "INSERT, UPDATE, DELETE"
_BALANCE = "UPDATE (version, seq, head_hash, balance_nanos, cycle_start, cycle_end, frozen)"

#: What a role may write, by table. It may read all tables but those above.
WRITES: Mapping[str, Mapping[str, str]] = {
    WORKERS: {
        "accounts": _BALANCE,
        "cycles": _KEEP,
        "transfers": _ADD,
        "usage_ids": _ADD,
        "usage_records": _ADD,
        "model_aliases": _ADD,
        "quarantine": _KEEP,
        "processes": _ALL,
        "queue_looks": _ALL,
        "holds": "UPDATE, DELETE",
        "evaluations": _KEEP,
        "due_evaluations": _ALL,
        "key_spend": _KEEP,
        "alert_rules": "UPDATE",
        "alerts": _KEEP,
        "alert_deliveries": _KEEP,
        "mail_recipients": "UPDATE",
        "webhook_endpoints": "UPDATE",
        "topups": _KEEP,
        "auto_topups": _KEEP,
        "payment_customers": _KEEP,
        "refunds": _KEEP,
        "disputes": _KEEP,
        "invoices": _ADD,
        "invoice_numbers": "UPDATE",
        "stripe_events": _KEEP,
        "stripe_progress": _KEEP,
        "payment_differences": _KEEP,
        "statements": _KEEP,
        "statement_closings": _KEEP,
        "statement_rollups": _KEEP,
        "statement_movements": _KEEP,
        "statement_usage": _KEEP,
        "signing_keys": _KEEP,
    },
    API: {
        "accounts": _KEEP,
        "plans": _ADD,
        "api_keys": _KEEP,
        "cycles": _KEEP,
        "transfers": _ADD,
        "models": _KEEP,
        "rates": _ADD,
        "model_aliases": _ADD,
        "price_book": "UPDATE",
        "quarantine": _KEEP,
        "holds": _ALL,
        "gate_marker": _KEEP,
        "gate_mode": "UPDATE",
        "evaluations": "INSERT, UPDATE (look_again_at)",  # to lock them while settings change
        "due_evaluations": _ALL,
        "alerts": _KEEP,
        "alert_settings": _KEEP,
        "alert_rules": _ALL,
        "alert_deliveries": _KEEP,
        "mail_recipients": _ALL,
        "webhook_endpoints": _ALL,
        "topups": _KEEP,
        "auto_topups": _KEEP,
        "payment_customers": _KEEP,
        "refunds": _KEEP,
        "stripe_events": _KEEP,
        "disputes": _KEEP,
        "payment_differences": _KEEP,
        "stripe_progress": _KEEP,
        "usage_days": _KEEP,
        "usage_rollups": _KEEP,
        "statement_rollups": _KEEP,
        "statement_movements": _KEEP,
        "statement_usage": _KEEP,
        "members": _ALL,
        "sign_in_links": _ALL,
        "console_sessions": _ALL,
        "operator_actions": _KEEP,
    },
    AUDITOR: {"audits": _ADD},
}

# A role belongs to the whole server: another database may be making it at this moment.
_CREATE = """
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN; END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
    END $$
"""
_FOUND = text("SELECT rolname FROM pg_roles WHERE rolname = ANY (CAST(:roles AS text[]))")
_COLUMNS = text("""
    SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind IN ('r', 'p')
          AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, a.attnum
""")
_SCHEMA = text("SELECT quote_ident(current_schema())")


async def grant_roles(connection: AsyncConnection) -> list[str]:
    """Make the roles and grant them what they may, and no more; return those that may not be made here.

    Who may not make roles has an administrator run ``CREATE ROLE … NOLOGIN`` and migrates again.
    """
    for role in ROLES:
        await connection.execute(text(_CREATE.format(role=role)))
    found = set((await connection.execute(_FOUND, {"roles": list(ROLES)})).scalars())
    schema: str = (await connection.execute(_SCHEMA)).scalar_one()
    tables: dict[str, list[str]] = {}
    for table, column in await connection.execute(_COLUMNS):
        tables.setdefault(table, []).append(column)
    for role in sorted(found):
        for statement in _grants(role, schema, tables):
            await connection.execute(text(statement))
    return [role for role in ROLES if role not in found]


def _grants(role: str, schema: str, tables: Mapping[str, list[str]]) -> Iterable[str]:
    yield f"GRANT USAGE ON SCHEMA {schema} TO {role}"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}"
    secrets = _SECRETS[role]
    readable = [table for table in tables if table not in _HIDDEN[role] and table not in secrets]
    yield f"GRANT SELECT ON {', '.join(readable)} TO {role}"
    for table, hidden in secrets.items():
        columns = ", ".join(column for column in tables[table] if column not in hidden)
        yield f"GRANT SELECT ({columns}) ON {table} TO {role}"
    for table, privileges in WRITES[role].items():
        yield f"GRANT {privileges} ON {table} TO {role}"
    if role == WORKERS:
        yield f"GRANT SELECT ON usage_records_default TO {role}"
        yield f"GRANT EXECUTE ON FUNCTION payg_create_usage_month(timestamptz) TO {role}"
