"""Bringing a database up to this version, and the ones that must not be touched."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from app.extensions import db, init_database
from app.services import schema
from tests.conftest import make_config


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    app = Flask("released")
    init_database(app, make_config(tmp_path))
    return app


@pytest.fixture
def release(app: Flask, tmp_path: Path):
    def call() -> str:
        with app.app_context():
            try:
                return schema.upgrade(
                    db.engine, app.extensions["migrate"].migrate.get_config(), home=tmp_path
                )
            finally:
                db.engine.dispose()

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bitqueue.db"


def execute(file: Path, *statements: str) -> None:
    connection = sqlite3.connect(file)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_an_empty_place_gets_a_database(release, file: Path):
    revision = release()

    assert revision
    assert sa.inspect(sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool)).has_table("tasks")


def test_a_second_time_is_harmless(release):
    assert release() == release()


def test_a_database_of_a_newer_version_is_refused(release, file: Path):
    release()
    execute(file, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(schema.SchemaError, match="newer bitqueue"):
        release()


def test_tables_without_a_revision_are_refused(release, file: Path):
    release()
    execute(file, "DELETE FROM alembic_version")

    with pytest.raises(schema.SchemaError, match="half migrated"):
        release()


def test_a_missing_table_is_refused(release, file: Path):
    release()
    execute(file, "DROP TABLE attempts")

    with pytest.raises(schema.SchemaError, match="no table attempts"):
        release()


def test_a_damaged_file_is_refused_and_left_as_it_is(release, file: Path):
    file.write_bytes(b"this is no database" * 100)

    with pytest.raises(schema.SchemaError, match="cannot be read"):
        release()

    assert file.read_bytes().startswith(b"this is no database")


def test_damaged_pages_are_refused(release, file: Path):
    release()
    whole = bytearray(file.read_bytes())
    whole[4096 * 3 : 4096 * 6] = b"\xff" * 4096 * 3
    file.write_bytes(whole)

    with pytest.raises(schema.SchemaError, match="cannot be"):
        release()


def test_a_database_that_is_gone_is_not_silently_replaced(release, file: Path):
    release()
    file.unlink()

    with pytest.raises(schema.SchemaError, match="is gone"):
        release()

    assert not file.exists()


def test_a_migration_that_fails_leaves_everything_as_it_was(release, file: Path):
    execute(file, "CREATE TABLE elsewhere (id)", "CREATE INDEX ix_tasks_workspace ON elsewhere (id)")

    with pytest.raises(schema.SchemaError):
        release()

    connection = sqlite3.connect(file)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert tables == {"elsewhere"}
