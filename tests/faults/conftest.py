"""What the fault tests share: databases to copy from, made once a process."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.databases import Databases
from tests.faults.staging import base_environ


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """SQLite; a PostgreSQL cluster of its own where the suite runs on PostgreSQL."""
    kind = "postgres" if os.environ.get("TEST_DATABASE_URL", "").startswith("postgres") else "sqlite"
    # A Unix socket's path must be short.
    home = Path("/tmp") / f"bq-faults-{os.getpid()}"
    home.mkdir()
    made = Databases(home, kind, base_environ())
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(home)
