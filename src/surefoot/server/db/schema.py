# SPDX-License-Identifier: Apache-2.0
"""The tables, once, in SQLAlchemy Core: what migrations build and management queries use.

Instants are whole seconds since 1970, but for those inside JSON. Columns that a poll reads stand before the large ones, so that
SQLite finds them on the row's first page; the two that every poll reads of a large row have an index that holds them all, so that
a poll of a large fleet finds them in memory.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from surefoot.rollout.evidence import FIELDS
from surefoot.rollout.network import KINDS

metadata = MetaData()

INDEXED = ("connectivity", "customer", "region", "site")
"""Attributes that have a column of their own, so that filters find them by an index."""

_TO_RETRY = text("retry_at IS NOT NULL")
_OFFERED = text("outcome IS NULL AND is_started = 0")
_FETCHING = text("is_fetching = 1")
_UPDATED = text("updated_from IS NOT NULL")
_REVERTS = text("reverts IS NOT NULL")
_LIMITED = {kind: text(f"at_{kind} IS NOT NULL") for kind in KINDS}

device = Table(
    "device",
    metadata,
    Column("device_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("hardware", Text, nullable=False),
    Column("enrolled_at", Text, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("product", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("version_key", Text),
    Column("hash", Text, nullable=False),
    *(Column(name, Text) for name in INDEXED),
    Column("attributes", Text, nullable=False),
    Column("keys", Text, nullable=False),
    Column("given", Text, nullable=False),
    Column("report", LargeBinary),
    CheckConstraint("state IN ('active', 'revoked')", name="device_state"),
    Index("device_by_bucket", "product", "bucket", "device_id"),
    Index("device_by_kind", "product", "hardware", "bucket", "device_id"),
    Index("device_check_in", "device_id", "state"),
    *(Index(f"device_in_{kind}", kind, "product", "bucket", "device_id") for kind in KINDS),
    *(Index(f"device_by_{name}", name, "device_id") for name in ("hardware", "product", "version_key", *INDEXED)),
    sqlite_with_rowid=False,
)

presence = Table(
    "presence",
    metadata,
    Column("device_id", Text, ForeignKey("device.device_id"), primary_key=True),
    Column("last_seen", BigInteger, nullable=False),
    Column("polls", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

certificate = Table(
    "certificate",
    metadata,
    Column("serial", Text, primary_key=True),
    Column("device_id", Text, ForeignKey("device.device_id"), nullable=False),
    Column("issuer", Text, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Index("certificate_of_device", "device_id"),
    sqlite_with_rowid=False,
)

token = Table(
    "token",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("device_id", Text, nullable=False),
    Column("hardware", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    sqlite_with_rowid=False,
)

release = Table(
    "release",
    metadata,
    Column("product", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("release_counter", Integer, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("provenance", LargeBinary, nullable=False),
    Column("is_retired", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

manifest = Table(
    "manifest",
    metadata,
    Column("product", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

component = Table(
    "component",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("version_key", Text),
    sqlite_with_rowid=False,
)

shared_file = Table(
    "shared_file",
    metadata,
    Column("repository", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

rollout = Table(
    "rollout",
    metadata,
    Column("rollout_id", Integer, primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("release", Text, nullable=False),
    Column("precedence", Integer, nullable=False),
    Column("is_security", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("salt", Text, nullable=False),
    Column("is_live", Integer, nullable=False),
    Column("population", Integer),
    Column("audience", LargeBinary, nullable=False),
    Column("walk_place", BigInteger, nullable=False),
    Column("walk_device", Text, nullable=False),
    Column("walk_passed", BigInteger, nullable=False),
    Column("walk_is_over", Integer, nullable=False),
    Column("walk_again_at", BigInteger, nullable=False),
    Column("walk_no_more", Text, nullable=False),
    Column("walk_left", Integer, nullable=False),
    Column("reverts", Integer),
    Column("walk_canaries_at", BigInteger, nullable=False),
    Column("walk_canaries_of", Text, nullable=False),
    Column("walk_canaries_place", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("rollout_of_release", "release", "status"),
    Index("rollout_reverting", "reverts", "status", sqlite_where=_REVERTS, postgresql_where=_REVERTS),
    Index("rollout_live", "rollout_id", sqlite_where=text("is_live = 1"), postgresql_where=text("is_live = 1")),
)

baseline = Table(
    "baseline",
    metadata,
    Column("product", Text, primary_key=True),
    Column("hardware", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

install_time = Table(
    "install_time",
    metadata,
    Column("product", Text, primary_key=True),
    Column("hardware", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

counter = Table(
    "counter",
    metadata,
    Column("rollout_id", Integer, ForeignKey("rollout.rollout_id"), primary_key=True),
    Column("stage", Integer, primary_key=True),
    Column("hardware", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    *(Column(name, Integer, nullable=False) for name in FIELDS),
    sqlite_with_rowid=False,
)

decision = Table(
    "decision",
    metadata,
    Column("rollout_id", Integer, ForeignKey("rollout.rollout_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("offered", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("decision_at", "rollout_id", "at", "offered"),
    sqlite_with_rowid=False,
)

assignment = Table(
    "assignment",
    metadata,
    Column("assignment_id", Integer, primary_key=True),
    Column("device_id", Text, ForeignKey("device.device_id"), nullable=False),
    Column("outcome", Text),
    Column("rollout_id", Integer, ForeignKey("rollout.rollout_id")),
    Column("is_started", Integer, nullable=False),
    Column("is_fetching", Integer, nullable=False),
    Column("due_at", BigInteger),
    Column("updated_from", Text),
    Column("bucket", BigInteger),
    Column("at_region", Text),
    Column("at_site", Text),
    Column("load", Integer, nullable=False),
    Column("offered_at", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("open_assignment", "device_id", unique=True, sqlite_where=text("outcome IS NULL"), postgresql_where=text("outcome IS NULL")),
    Index("assignment_of_device", "device_id", "assignment_id"),
    Index("assignment_of_rollout", "rollout_id", "device_id", "outcome"),
    Index("assignment_due", "due_at", sqlite_where=text("due_at IS NOT NULL"), postgresql_where=text("due_at IS NOT NULL")),
    Index("fetching_of_rollout", "rollout_id", sqlite_where=_FETCHING, postgresql_where=_FETCHING),
    Index("offer_of_rollout", "rollout_id", sqlite_where=_OFFERED, postgresql_where=_OFFERED),
    # The devices that a rollout updated from a version, in the order of the ring: what a revert walks.
    Index("updated_by_rollout", "rollout_id", "updated_from", "bucket", "device_id", sqlite_where=_UPDATED, postgresql_where=_UPDATED),
    *(
        Index(f"traffic_of_{kind}", "rollout_id", f"at_{kind}", "load", "offered_at", "size", sqlite_where=where, postgresql_where=where)
        for kind, where in _LIMITED.items()
    ),
)

queue = Table(
    "queue",
    metadata,
    Column("rollout_id", Integer, ForeignKey("rollout.rollout_id"), primary_key=True),
    Column("network", Text, primary_key=True),
    Column("place", BigInteger, nullable=False),
    Column("look_at", BigInteger, nullable=False),
    Index("queue_to_look_at", "rollout_id", "look_at", "network"),
    sqlite_with_rowid=False,
)

setback = Table(
    "setback",
    metadata,
    Column("device_id", Text, ForeignKey("device.device_id"), primary_key=True),
    Column("product", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("rollout_id", Integer, ForeignKey("rollout.rollout_id"), nullable=False),
    Column("hardware", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("retry_at", BigInteger),
    Column("is_quarantined", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("setback_to_retry", "rollout_id", "retry_at", sqlite_where=_TO_RETRY, postgresql_where=_TO_RETRY),
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    metadata,
    Column("device_id", Text, ForeignKey("device.device_id"), primary_key=True),
    Column("journal", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("received_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

divergence = Table(
    "divergence",
    metadata,
    Column("device_id", Text, ForeignKey("device.device_id"), primary_key=True),
    Column("journal", Text, primary_key=True),
    Column("received_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

director_view = Table(
    "director_view",
    metadata,
    Column("device_id", Text, ForeignKey("device.device_id"), primary_key=True),
    Column("tag", Text, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("product", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("assignment_id", Integer, ForeignKey("assignment.assignment_id")),
    Column("renew_at", BigInteger, nullable=False),
    Column("refresh_at", BigInteger, nullable=False),
    Column("root_version", Integer, nullable=False),
    Column("windows_version", BigInteger, nullable=False),
    Column("timestamp", LargeBinary, nullable=False),
    Column("snapshot", LargeBinary, nullable=False),
    Column("targets", LargeBinary, nullable=False),
    Index("view_check_in", "device_id", "tag", "due_at", "product"),
)

api_token = Table(
    "api_token",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("customer", Text),
    Column("groups", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

act = Table(
    "act",
    metadata,
    Column("act_id", Integer, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", Text, nullable=False),
    sqlite_autoincrement=True,
)

attribute_name = Table(
    "attribute_name",
    metadata,
    Column("name", Text, primary_key=True),
    sqlite_with_rowid=False,
)

version_count = Table(
    "version_count",
    metadata,
    Column("product", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("devices", Integer, nullable=False),
    sqlite_with_rowid=False,
)

maintenance_window = Table(
    "maintenance_window",
    metadata,
    Column("level", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("body", LargeBinary),
    Index("window_by_version", "version"),
    sqlite_with_rowid=False,
)

member = Table(
    "member",
    metadata,
    Column("group_name", Text, primary_key=True),
    Column("bucket", BigInteger, primary_key=True),
    Column("device_id", Text, ForeignKey("device.device_id"), primary_key=True),
    Column("joined_at", BigInteger, nullable=False),
    Index("member_by_device", "device_id", "group_name"),
    sqlite_with_rowid=False,
)

group_rule = Table(
    "group_rule",
    metadata,
    Column("name", Text, primary_key=True),
    Column("joins", Text, nullable=False),
    Column("is_filled", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

consent = Table(
    "consent",
    metadata,
    Column("group_name", Text, primary_key=True),
    Column("device_id", Text, ForeignKey("device.device_id"), primary_key=True),
    Column("is_in", Integer, nullable=False),
    Column("until", BigInteger),
    Column("body", LargeBinary, nullable=False),
    Index("consent_by_device", "device_id", "group_name"),
    Index("consent_until", "until", sqlite_where=text("until IS NOT NULL"), postgresql_where=text("until IS NOT NULL")),
    sqlite_with_rowid=False,
)
