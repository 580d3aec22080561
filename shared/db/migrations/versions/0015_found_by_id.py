"""What is parked is found by its event, an alert by its number, and a delivery by its alert.

Revision ID: 0015
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATEMENTS = [
    # By hash: the id of a malformed event may be longer than an ordered index can hold.
    "CREATE INDEX quarantine_of_event ON quarantine USING hash (event_id)",
    "CREATE INDEX alerts_of_sequence ON alerts (sequence)",
    "CREATE INDEX alert_deliveries_of_alert ON alert_deliveries (alert_account_id, sequence)",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
