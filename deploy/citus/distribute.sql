-- payg on Citus: every table of an account on that account's shard. NEVER RUN ON CITUS: a test holds this file against
-- the schema that PostgreSQL has after `payg migrate`, and against what Citus documents; see docs/deploy.md.
--
-- On the coordinator, after `payg migrate` and before the first account:
--     psql "$PAYG_DATABASE_URL" -v ON_ERROR_STOP=1 -f deploy/citus/distribute.sql
-- Source: https://docs.citusdata.com/en/stable/develop/api_udf.html
BEGIN;

CREATE EXTENSION IF NOT EXISTS citus;

-- A table on every node cannot refer to one that is divided: the stages check these accounts themselves.
ALTER TABLE api_keys DROP CONSTRAINT api_keys_account_fkey;
ALTER TABLE members DROP CONSTRAINT members_account_fkey;

-- Small, read with every batch or request, seldom changed: a copy on every node.
SELECT create_reference_table('plans');
SELECT create_reference_table('models');
SELECT create_reference_table('rates');
SELECT create_reference_table('model_aliases');
SELECT create_reference_table('price_book');
SELECT create_reference_table('api_keys');

-- Everything that belongs to an account, in shards of its own, side by side: each joins on account_id.
SELECT create_distributed_table('accounts', 'account_id');
SELECT create_distributed_table('cycles', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('transfers', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('usage_ids', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('usage_records', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('usage_period_cycles', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('usage_days', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('usage_rollups', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('key_spend', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('holds', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('evaluations', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('alerts', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('alert_settings', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('alert_rules', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('alert_deliveries', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('mail_recipients', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('webhook_endpoints', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('auto_topups', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('payment_customers', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('topups', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('refunds', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('disputes', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('invoices', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('statements', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('statement_movements', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('statement_rollups', 'account_id', colocate_with => 'accounts');
SELECT create_distributed_table('statement_usage', 'account_id', colocate_with => 'accounts');

-- What is of the platform and not of an account, or unique across accounts, stays on the coordinator:
--     alembic_version, audits, console_sessions, due_evaluations, gate_marker, gate_mode, invoice_numbers,
--     members, operator_actions, payment_differences, processes, quarantine, queue_looks, sign_in_links,
--     signing_keys, statement_closings, stripe_events, stripe_progress, usage_periods

COMMIT;
