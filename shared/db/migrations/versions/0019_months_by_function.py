"""Months of usage are made by a function: the clock may call it, and change no table.

Revision ID: 0019
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

STATEMENTS = [
    # Made apart and then attached: unlike creating it as a partition at once, that does not wait for debits.
    """
    CREATE FUNCTION payg_create_usage_month(month_start timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE
        starts timestamptz := date_trunc('month', month_start, 'UTC');
        ends timestamptz := (starts AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
        month_table text := 'usage_records_' || to_char(starts AT TIME ZONE 'UTC', 'YYYY_MM');
        columns text;
    BEGIN
        LOCK TABLE usage_records_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE usage_records INCLUDING ALL)', month_table);
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
        WHERE attrelid = 'usage_records'::regclass AND attnum > 0 AND NOT attisdropped;
        EXECUTE format(
            'WITH moved AS (DELETE FROM usage_records_default WHERE debited_at >= $1 AND debited_at < $2'
            ' RETURNING *) INSERT INTO %1$I (%2$s) SELECT %2$s FROM moved', month_table, columns)
        USING starts, ends;
        EXECUTE format(
            'ALTER TABLE usage_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            month_table, starts, ends);
    END
    $$
    """,
    "REVOKE ALL ON FUNCTION payg_create_usage_month(timestamptz) FROM PUBLIC",
    # Whoever calls it chooses no schema.
    """
    DO $$ BEGIN
        EXECUTE format('ALTER FUNCTION payg_create_usage_month(timestamptz) SET search_path = %I, pg_temp',
                       current_schema());
    END $$
    """,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
