"""Bringing a database up to this version, and the ones that must not be touched."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from app.config import CHECKOUT
from app.database import db, init_database
from app.services import schema
from app.services.restore import migrations
from deploy.schema import is_current
from tests.conftest import make_config
from tests.places import on_postgres, place


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    app = Flask("released")
    init_database(app, make_config(tmp_path))
    schema.init_migrations(app)
    return app


@pytest.fixture
def release(app: Flask, tmp_path: Path):
    def call() -> str:
        with app.app_context():
            try:
                return schema.upgrade(db.engine, schema.alembic_of(app), home=tmp_path)
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


def test_a_database_that_is_gone_is_missed_also_where_only_the_keys_are_left(release, file: Path):
    keys = file.with_name("keys.env")
    keys.write_text("SECRET_KEY=x")
    release()
    file.unlink()
    file.with_name("database.made").unlink()

    with pytest.raises(schema.SchemaError, match=r"is gone; .* move .*keys.env away"):
        release()

    assert keys.read_text().startswith("SECRET_KEY=x\n# They belong to the database")
    assert not file.exists()


def test_a_home_that_was_moved_still_misses_its_database(release, file: Path):
    file.with_name("database.made").write_text("/where/it/was/bitqueue.db\n")

    with pytest.raises(schema.SchemaError, match="is gone"):
        release()


def test_a_home_whose_database_was_another_file_gets_this_one(release, file: Path):
    file.with_name("database.made").write_text("/elsewhere/other.db\n")

    assert release()


def test_kept_keys_alone_do_not_stop_a_first_start(release, file: Path):
    file.with_name("keys.env").write_text("SECRET_KEY=x\n")

    assert release()


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A directory on which this process, for the time being, has no more rights than anybody."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        yield place
        os.seteuid(os.getuid())
        for path in (place, *place.iterdir()):
            path.chmod(0o755)


def look_as_anybody(place: Path, *, file_mode: int, folder_mode: int) -> None:
    (place / "bitqueue.db").chmod(file_mode)
    place.chmod(folder_mode)
    if os.getuid() == 0:
        os.seteuid(65534)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o666, 0o555)])
def test_a_read_only_database_is_refused_by_name(nobody: Path, file_mode: int, folder_mode: int):
    app = Flask("released")
    init_database(app, make_config(nobody))
    schema.init_migrations(app)
    with app.app_context():
        alembic = schema.alembic_of(app)
        schema.upgrade(db.engine, alembic, home=nobody)
        db.engine.dispose()
        assert is_current(nobody / "bitqueue.db", CHECKOUT / "migrations" / "versions")

        look_as_anybody(nobody, file_mode=file_mode, folder_mode=folder_mode)

        assert not is_current(nobody / "bitqueue.db", CHECKOUT / "migrations" / "versions")
        with pytest.raises(schema.SchemaError, match=r"is read-only; make .* writable"):
            schema.upgrade(db.engine, alembic, home=nobody)
        db.engine.dispose()


@on_postgres
def test_a_read_only_server_is_refused_by_name(tmp_path: Path):
    with place(tmp_path / "home") as made:
        made.upgrade()
        name = sa.make_url(made.config.database_url).database
        made.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with migrations(made.config) as alembic:
            database = sa.create_engine(made.config.database_url, poolclass=sa.NullPool)

            with pytest.raises(schema.SchemaError, match="read-only: a standby, or set so"):
                schema.upgrade(database, alembic, home=tmp_path)


@on_postgres
def test_a_server_whose_database_was_emptied_is_not_silently_filled_anew(tmp_path: Path):
    with place(tmp_path / "home") as made, migrations(made.config) as alembic:
        database = sa.create_engine(made.config.database_url, poolclass=sa.NullPool)
        schema.upgrade(database, alembic, home=tmp_path)
        schema.upgrade(database, alembic, home=tmp_path)
        made.execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

        with pytest.raises(
            schema.SchemaError, match=r"is empty and was not; .* move .*database.made away"
        ) as refused:
            schema.upgrade(database, alembic, home=tmp_path)

        assert "postgres@" not in str(refused.value)
        assert not sa.inspect(database).get_table_names()
        (tmp_path / "database.made").unlink()
        assert schema.upgrade(database, alembic, home=tmp_path)


# --- the quick look of a start, which leaves what it doubts to the above


VERSIONS = CHECKOUT / "migrations" / "versions"


def test_a_good_database_is_believed(release, file: Path):
    release()

    assert is_current(file, VERSIONS)


def test_one_without_a_table_is_doubted(release, file: Path):
    release()
    execute(file, "DROP TABLE attempts")

    assert not is_current(file, VERSIONS)


def test_one_with_damaged_pages_is_doubted(release, file: Path):
    release()
    whole = bytearray(file.read_bytes())
    whole[4096 * 20 : 4096 * 60] = b"\xff" * 4096 * 40
    file.write_bytes(whole)

    assert not is_current(file, VERSIONS)


def test_one_that_was_cut_short_is_doubted(release, file: Path):
    release()
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)

    assert not is_current(file, VERSIONS)
