"""What the tests of pages share."""

import pytest

from app.engine.core import Engine
from tests.conftest import World
from tests.happened import Happened


@pytest.fixture
def happened(engine: Engine, world: World) -> Happened:
    """Makes things happen in the owner's workspace."""
    return Happened(engine, world)
