# SPDX-License-Identifier: Apache-2.0
"""Step 1: the tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:  # noqa: PLR0915  # a table or an index a statement
    """Make every table; there is no way back but a backup."""
    op.create_table(
        "act",
        sa.Column("act_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("act_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "api_token",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("groups", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
        sa.UniqueConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "device",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("enrolled_at", sa.Text(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("version_key", sa.Text(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("connectivity", sa.Text(), nullable=True),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("site", sa.Text(), nullable=True),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("keys", sa.Text(), nullable=False),
        sa.Column("given", sa.Text(), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("state IN ('active', 'revoked')", name="device_state"),
        sa.PrimaryKeyConstraint("device_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("device_by_bucket", "device", ["product", "bucket", "device_id"])
    op.create_index("device_by_kind", "device", ["product", "hardware", "bucket", "device_id"])
    op.create_index("device_check_in", "device", ["device_id", "state"])
    for name in ("hardware", "product", "version_key", "connectivity", "customer", "region", "site"):
        op.create_index(f"device_by_{name}", "device", [name, "device_id"])
    for name in ("region", "site"):
        op.create_index(f"device_in_{name}", "device", [name, "product", "bucket", "device_id"])
    op.create_table(
        "manifest",
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("product", "version", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "release",
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("release_counter", sa.Integer(), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("provenance", sa.LargeBinary(), nullable=False),
        sa.Column("is_retired", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("product", "version"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "component",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("version_key", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("hash", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "shared_file",
        sa.Column("repository", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("repository", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "token",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("hash"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollout",
        sa.Column("rollout_id", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("precedence", sa.Integer(), nullable=False),
        sa.Column("is_security", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=False),
        sa.Column("is_live", sa.Integer(), nullable=False),
        sa.Column("population", sa.Integer(), nullable=True),
        sa.Column("audience", sa.LargeBinary(), nullable=False),
        sa.Column("walk_place", sa.BigInteger(), nullable=False),
        sa.Column("walk_device", sa.Text(), nullable=False),
        sa.Column("walk_passed", sa.BigInteger(), nullable=False),
        sa.Column("walk_is_over", sa.Integer(), nullable=False),
        sa.Column("walk_again_at", sa.BigInteger(), nullable=False),
        sa.Column("walk_no_more", sa.Text(), nullable=False),
        sa.Column("walk_left", sa.Integer(), nullable=False),
        sa.Column("reverts", sa.Integer(), nullable=True),
        sa.Column("walk_canaries_at", sa.BigInteger(), nullable=False),
        sa.Column("walk_canaries_of", sa.Text(), nullable=False),
        sa.Column("walk_canaries_place", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id"),
    )
    op.create_index(
        "rollout_reverting",
        "rollout",
        ["reverts", "status"],
        unique=False,
        sqlite_where=sa.text("reverts IS NOT NULL"),
        postgresql_where=sa.text("reverts IS NOT NULL"),
    )
    op.create_index("rollout_of_release", "rollout", ["release", "status"], unique=False)
    op.create_index(
        "rollout_live",
        "rollout",
        ["rollout_id"],
        unique=False,
        sqlite_where=sa.text("is_live = 1"),
        postgresql_where=sa.text("is_live = 1"),
    )
    op.create_table(
        "baseline",
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("product", "hardware", "region"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "install_time",
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("product", "hardware"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "counter",
        sa.Column("rollout_id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("offered", sa.Integer(), nullable=False),
        sa.Column("started", sa.Integer(), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("rolled_back", sa.Integer(), nullable=False),
        sa.Column("silent", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("superseded", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("unhealthy", sa.Integer(), nullable=False),
        sa.Column("late_good", sa.Integer(), nullable=False),
        sa.Column("late_bad", sa.Integer(), nullable=False),
        sa.Column("due", sa.Integer(), nullable=False),
        sa.Column("relapsed", sa.Integer(), nullable=False),
        sa.Column("retried", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.rollout_id"]),
        sa.PrimaryKeyConstraint("rollout_id", "stage", "hardware", "region"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "decision",
        sa.Column("rollout_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("offered", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.rollout_id"]),
        sa.PrimaryKeyConstraint("rollout_id", "number"),
        sqlite_with_rowid=False,
    )
    op.create_index("decision_at", "decision", ["rollout_id", "at", "offered"], unique=False)
    op.create_table(
        "assignment",
        sa.Column("assignment_id", sa.Integer(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("rollout_id", sa.Integer(), nullable=True),
        sa.Column("is_started", sa.Integer(), nullable=False),
        sa.Column("is_fetching", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_from", sa.Text(), nullable=True),
        sa.Column("bucket", sa.BigInteger(), nullable=True),
        sa.Column("at_region", sa.Text(), nullable=True),
        sa.Column("at_site", sa.Text(), nullable=True),
        sa.Column("load", sa.Integer(), nullable=False),
        sa.Column("offered_at", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["device.device_id"],
        ),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.rollout_id"]),
        sa.PrimaryKeyConstraint("assignment_id"),
    )
    op.create_index("assignment_of_rollout", "assignment", ["rollout_id", "device_id", "outcome"], unique=False)
    op.create_index(
        "updated_by_rollout",
        "assignment",
        ["rollout_id", "updated_from", "bucket", "device_id"],
        unique=False,
        sqlite_where=sa.text("updated_from IS NOT NULL"),
        postgresql_where=sa.text("updated_from IS NOT NULL"),
    )
    op.create_index(
        "assignment_due",
        "assignment",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "fetching_of_rollout",
        "assignment",
        ["rollout_id"],
        unique=False,
        sqlite_where=sa.text("is_fetching = 1"),
        postgresql_where=sa.text("is_fetching = 1"),
    )
    op.create_index(
        "offer_of_rollout",
        "assignment",
        ["rollout_id"],
        unique=False,
        sqlite_where=sa.text("outcome IS NULL AND is_started = 0"),
        postgresql_where=sa.text("outcome IS NULL AND is_started = 0"),
    )
    for name in ("region", "site"):
        op.create_index(
            f"traffic_of_{name}",
            "assignment",
            ["rollout_id", f"at_{name}", "load", "offered_at", "size"],
            unique=False,
            sqlite_where=sa.text(f"at_{name} IS NOT NULL"),
            postgresql_where=sa.text(f"at_{name} IS NOT NULL"),
        )
    op.create_index("assignment_of_device", "assignment", ["device_id", "assignment_id"], unique=False)
    op.create_index(
        "open_assignment",
        "assignment",
        ["device_id"],
        unique=True,
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "queue",
        sa.Column("rollout_id", sa.Integer(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("look_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.rollout_id"]),
        sa.PrimaryKeyConstraint("rollout_id", "network"),
        sqlite_with_rowid=False,
    )
    op.create_index("queue_to_look_at", "queue", ["rollout_id", "look_at", "network"])
    op.create_table(
        "setback",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("rollout_id", sa.Integer(), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("retry_at", sa.BigInteger(), nullable=True),
        sa.Column("is_quarantined", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.device_id"]),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.rollout_id"]),
        sa.PrimaryKeyConstraint("device_id", "product", "version"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "setback_to_retry",
        "setback",
        ["rollout_id", "retry_at"],
        unique=False,
        sqlite_where=sa.text("retry_at IS NOT NULL"),
        postgresql_where=sa.text("retry_at IS NOT NULL"),
    )
    op.create_table(
        "certificate",
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["device.device_id"],
        ),
        sa.PrimaryKeyConstraint("serial"),
        sqlite_with_rowid=False,
    )
    op.create_index("certificate_of_device", "certificate", ["device_id"], unique=False)
    op.create_table(
        "divergence",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("journal", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["device.device_id"],
        ),
        sa.PrimaryKeyConstraint("device_id", "journal"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("journal", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["device.device_id"],
        ),
        sa.PrimaryKeyConstraint("device_id", "journal", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "presence",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("polls", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["device.device_id"],
        ),
        sa.PrimaryKeyConstraint("device_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "director_view",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("assignment_id", sa.Integer(), nullable=True),
        sa.Column("renew_at", sa.BigInteger(), nullable=False),
        sa.Column("refresh_at", sa.BigInteger(), nullable=False),
        sa.Column("root_version", sa.Integer(), nullable=False),
        sa.Column("windows_version", sa.BigInteger(), nullable=False),
        sa.Column("timestamp", sa.LargeBinary(), nullable=False),
        sa.Column("snapshot", sa.LargeBinary(), nullable=False),
        sa.Column("targets", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["assignment_id"],
            ["assignment.assignment_id"],
        ),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["device.device_id"],
        ),
        sa.PrimaryKeyConstraint("device_id"),
    )
    op.create_index("view_check_in", "director_view", ["device_id", "tag", "due_at", "product"])
    op.create_table(
        "attribute_name",
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "version_count",
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("product", "version"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "maintenance_window",
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("level", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("window_by_version", "maintenance_window", ["version"])
    op.create_table(
        "member",
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("joined_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.device_id"]),
        sa.PrimaryKeyConstraint("group_name", "bucket", "device_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("member_by_device", "member", ["device_id", "group_name"])
    op.create_table(
        "group_rule",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("joins", sa.Text(), nullable=False),
        sa.Column("is_filled", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "consent",
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("is_in", sa.Integer(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.device_id"]),
        sa.PrimaryKeyConstraint("group_name", "device_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("consent_by_device", "consent", ["device_id", "group_name"])
    op.create_index(
        "consent_until",
        "consent",
        ["until"],
        sqlite_where=sa.text("until IS NOT NULL"),
        postgresql_where=sa.text("until IS NOT NULL"),
    )
