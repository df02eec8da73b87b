"""Several servers: who runs a job and how far it is, who is alive, and what they agree on."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add the columns and the tables."""
    for column in (
        sa.Column("server", sa.Text),
        sa.Column("run", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("progress", sa.Double, nullable=False, server_default=sa.text("0")),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("traceparent", sa.Text),
    ):
        op.add_column("jobs", column)
    op.create_table("servers", sa.Column("id", sa.Text, primary_key=True), sa.Column("seen", sa.Double, nullable=False))
    deployment = op.create_table(
        "deployment",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("aged", sa.Double, nullable=False),
        sa.Column("store", sa.Text, nullable=False, server_default=sa.text("''")),
    )
    op.bulk_insert(deployment, [{"id": 1, "aged": 0.0}])
