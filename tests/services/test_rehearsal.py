"""An upgrade is tried on a copy first; one that fails leaves the database to the version before."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.config import CHECKOUT
from app.services import backup, postgres, rehearsal, schema, tallies
from app.services.restore import migrations
from tests.places import Place, copy_of, on_postgres, on_sqlite, place

_HEAD = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"

def upgrade():
    op.create_table("new_things", sa.Column("id", sa.Integer()))
    op.execute("UPDATE workspaces SET name = 'changed'")
"""
FAILS = '    op.execute("INSERT INTO nowhere VALUES (1)")\n'
MISTAKEN = "    raise KeyError('a mistake in the revision')\n"
# A row that refers to none: seen only by who looks for it, since foreign keys are off while tables change.
ORPHANS = "    op.execute(\"UPDATE queues SET workspace_id = 'none'\")\n"
ONLY_ON_THE_REAL_ONE = """
    if "rehearsal" not in str(op.get_bind().engine.url):
        op.execute("INSERT INTO nowhere VALUES (1)")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("made") / "home") as made:
        made.upgrade()
        made.add_workspaces(2)
        made.execute(
            "INSERT INTO queues (id, workspace_id, name, priority, paused, external, tokens, created_at) "
            "VALUES ('que_1', 'wsp_0', 'default', 0, false, false, 0, 0)"
        )
        yield made


@pytest.fixture
def old(made: Place, tmp_path: Path) -> Iterator[Place]:
    """A database at the newest revision, with rows."""
    with copy_of(made, tmp_path / "home") as old:
        yield old


@pytest.fixture
def upgrade(old: Place, tmp_path: Path) -> Callable[[str], str]:
    """By a version that has one more revision, which ends with these lines."""
    scripts = tmp_path / "migrations"
    shutil.copytree(CHECKOUT / "migrations", scripts, ignore=shutil.ignore_patterns("__pycache__"))

    def call(lines: str) -> str:
        newest = old.scalar("SELECT version_num FROM alembic_version")
        (scripts / "versions" / "9999_more.py").write_text(_HEAD.format(newest=newest) + lines)
        with migrations(old.config) as alembic:
            alembic.set_main_option("script_location", str(scripts))
            database = sa.create_engine(old.config.database_url, poolclass=sa.NullPool)
            return schema.upgrade(database, alembic, home=old.home)

    return call


def contents(made: Place) -> tuple[str, dict[str, tallies.Tally]]:
    with made.connected() as connection:
        return connection.scalar(sa.text("SELECT version_num FROM alembic_version")), tallies.take(connection)


def test_an_upgrade_that_fits_is_made(old: Place, upgrade):
    assert upgrade("") == "9999"

    assert old.scalar("SELECT min(name) FROM workspaces") == "changed"
    assert old.scalar("SELECT count(*) FROM new_things") == 0


@pytest.mark.parametrize("lines", [FAILS, MISTAKEN, ORPHANS])
def test_one_that_fails_on_the_copy_never_touches_the_database(old: Place, upgrade, lines: str):
    before = contents(old)

    with pytest.raises(schema.SchemaError, match="tried on a copy and failed") as refused:
        upgrade(lines)

    assert contents(old) == before
    assert "the version before can go on with it" in str(refused.value)


@on_sqlite
def test_not_a_byte_of_the_file_differs_then(old: Place, upgrade):
    file = backup.sqlite_file(old.config)
    before = file.read_bytes()

    with pytest.raises(schema.SchemaError):
        upgrade(FAILS)

    assert file.read_bytes() == before
    assert not [path for path in old.home.iterdir() if "rehearsal" in path.name]


def test_one_that_fails_halfway_on_the_database_itself_leaves_it_as_it_was(old: Place, upgrade):
    before = contents(old)

    with pytest.raises(schema.SchemaError, match="nothing was changed"):
        upgrade(ONLY_ON_THE_REAL_ONE)

    assert contents(old) == before
    old.execute("UPDATE workspaces SET name = 'the version before goes on'")


def test_a_database_at_the_newest_revision_is_not_copied(old: Place, monkeypatch):
    monkeypatch.setattr(rehearsal, "rehearse", lambda *_: pytest.fail("it was copied"))
    with migrations(old.config) as alembic:
        database = sa.create_engine(old.config.database_url, poolclass=sa.NullPool)

        assert schema.upgrade(database, alembic, home=old.home)


@on_sqlite
def test_without_room_for_the_copy_it_says_how_much_is_needed(old: Place, upgrade, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 10, 10))

    with pytest.raises(schema.SchemaError, match=r"need \d+ MB .* make room"):
        upgrade("")


@on_postgres
def test_the_copy_is_dropped_afterwards(old: Place, upgrade):
    with pytest.raises(schema.SchemaError):
        upgrade(FAILS)

    assert old.scalar("SELECT count(*) FROM pg_database WHERE datname LIKE '%rehearsal%'") == 0


@on_postgres
def test_a_dump_may_take_longer_than_a_transaction_may_wait(old: Place, monkeypatch):
    dumping = postgres.dumping

    @contextmanager
    def slow(*args, **more):
        with dumping(*args, **more):
            time.sleep(1.5)
            yield

    monkeypatch.setattr(postgres, "dumping", slow)
    impatient = {"options": "-c idle_in_transaction_session_timeout=1s"}
    database = sa.create_engine(old.config.database_url, poolclass=sa.NullPool, connect_args=impatient)

    with migrations(old.config) as alembic:
        assert rehearsal.rehearse(database, alembic) is None


@on_postgres
def test_a_role_that_may_make_no_database_is_told_what_was_not_tried(old: Place):
    name = f"plain_{old.scalar('SELECT pg_backend_pid()')}"
    database = sa.make_url(old.config.database_url).database
    old.execute(
        f"CREATE ROLE {name} LOGIN",
        f"GRANT ALL ON DATABASE {database} TO {name}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
    )
    plain = sa.create_engine(sa.make_url(old.config.database_url).set(username=name), poolclass=sa.NullPool)
    with migrations(old.config) as alembic:
        said = rehearsal.rehearse(plain, alembic)
    old.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")

    assert "may not create databases" in said
    assert "a failure changes nothing" in said
