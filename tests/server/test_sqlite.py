# SPDX-License-Identifier: Apache-2.0
"""Tests of the database file: its schema, and how it is opened."""

from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from surefoot.model.errors import StoreError
from surefoot.server.db.schema import metadata
from surefoot.server.db.sqlite import connect, migrate


def test_the_migrations_make_the_schema_that_the_code_knows(tmp_path: Path) -> None:
    migrate(tmp_path / "db")
    engine = create_engine(f"sqlite:///{tmp_path / 'db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_migrating_again_keeps_what_is_there(tmp_path: Path) -> None:
    migrate(tmp_path / "db")
    with closing(connect(tmp_path / "db")) as connection:
        connection.execute("INSERT INTO act (at, by, what, subject) VALUES (1, 'ann', 'x', 'y')")
    migrate(tmp_path / "db")
    with closing(connect(tmp_path / "db")) as connection:
        assert connection.execute("SELECT by FROM act").fetchall() == [("ann",)]


def test_a_migration_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "db")) as connection:
        connection.execute("CREATE TABLE version_count (in_the_way)")
    with pytest.raises(StoreError, match="cannot be brought up to date"):
        migrate(tmp_path / "db")
    with closing(connect(tmp_path / "db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'").fetchall() == [("version_count",)]
        connection.execute("DROP TABLE version_count")
    migrate(tmp_path / "db")


def test_a_connection_is_durable_and_holds_references(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "db")) as connection:
        said = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert said == ["wal", 2, 1]


def test_the_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    migrate(tmp_path / "db")
    with closing(connect(tmp_path / "db")) as connection:
        connection.execute("INSERT INTO act (at, by, what, subject) VALUES (1, 'ann', 'x', 'y')")
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"no database at all, " * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        migrate(tmp_path / "db")
    assert (tmp_path / "db").read_bytes().startswith(b"no database")
