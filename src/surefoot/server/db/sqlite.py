# SPDX-License-Identifier: Apache-2.0
"""The database in a file: how it is opened, brought up to date, and kept durable (SQLite, WAL)."""

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from surefoot.model.errors import StoreError

_MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(path: Path) -> None:
    """Create the database at ``path``, or bring it to the schema of this version: wholly or not at all.

    Raises:
        StoreError: It cannot be opened or changed, or is no database.
    """
    # SQLite gives its side files the mode of the database: nobody else is to read who the devices are.
    path.touch(mode=0o600)
    engine = create_engine(f"sqlite:///{path}", creator=lambda: connect(path))
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            # Our connections begin nothing by themselves: without this, each table would be a transaction of its own.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise StoreError(f"The database {path} cannot be brought up to date: {error}.", hint="Restore it from a backup.") from error
    finally:
        engine.dispose()


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that leaves transactions to its user; a commit on it survives a power cut.

    The connection may move between threads; one thread at a time may use it.

    Raises:
        StoreError: The file cannot be opened, or is no database.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=256)
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
    except sqlite3.Error as error:
        raise StoreError(f"The database {path} cannot be opened: {error}.", hint="Check the server's data folder.") from error
    return connection
