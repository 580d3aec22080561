"""The charge of a top-up, and the receipt its owner may see.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = [
    "ALTER TABLE topups ADD COLUMN charge_id text, ADD COLUMN receipt_url text",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
