"""The migrations: they make what the models declare, and an upgrade keeps every row."""

import importlib.util
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask

from app.config import CHECKOUT
from app.database import db, init_database
from app.models import Base
from app.services import schema
from tests.conftest import make_config

SCRIPTS = ScriptDirectory(str(CHECKOUT / "migrations"))
REVISIONS = [script.revision for script in SCRIPTS.walk_revisions()]


@pytest.fixture
def empty_app(tmp_path: Path) -> Flask:
    app = Flask("migrated")
    init_database(app, make_config(tmp_path))
    schema.init_migrations(app)
    return app


def upgrade(app: Flask, revision: str) -> None:
    with app.app_context():
        command.upgrade(schema.alembic_of(app), revision)


def _same_type(_context, _column, _model_column, _found, declared):
    return False if isinstance(declared, sa.Enum) else None


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_the_migrations_make_what_the_models_declare(app: Flask):
    with app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": _same_type})

        differences = compare_metadata(context, Base.metadata)

    assert [d for d in differences if "ix_tasks_queued" not in str(d)] == []


def test_the_migrations_make_every_index_of_the_models(app: Flask):
    declared = {index.name for table in Base.metadata.tables.values() for index in table.indexes}

    with app.app_context(), db.engine.connect() as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'index'"
        if connection.dialect.name == "postgresql":
            query = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"
        made = set(connection.scalars(sa.text(query)))

    assert declared - made == set()


def test_the_revisions_are_one_line():
    assert len(SCRIPTS.get_heads()) == 1


def _fill(connection: sa.Connection) -> dict[str, int]:
    """One row in every table as it stands, whatever its columns are by then."""
    connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    found = sa.MetaData()
    found.reflect(connection)
    tables = [table for name, table in found.tables.items() if name != "alembic_version"]
    for table in tables:
        connection.execute(table.insert().values({column.name: _value(column) for column in table.columns}))
    return {table.name: 1 for table in tables}


def _value(column: sa.Column) -> object:
    if column.foreign_keys or column.primary_key:
        return 1 if isinstance(column.type, sa.Integer) else "x"  # every reference finds its row
    if column.nullable:
        return None
    if isinstance(column.type, sa.LargeBinary):
        return b""
    return "[]" if isinstance(column.type, sa.String) else 1


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_upgrade_from_any_revision_keeps_its_rows(empty_app: Flask, revision: str):
    upgrade(empty_app, revision)
    with empty_app.app_context(), db.engine.begin() as connection:
        before = _fill(connection)

    upgrade(empty_app, "head")

    with empty_app.app_context(), db.engine.connect() as connection:
        after = {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in before}
    assert after == before


def test_every_revision_can_be_loaded_without_the_application():
    for script in SCRIPTS.walk_revisions():
        spec = importlib.util.spec_from_file_location(script.revision, script.path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

        assert "app" not in {name.partition(".")[0] for name in vars(module)}
