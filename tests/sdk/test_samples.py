import importlib.util
import sys

import pytest

from app.sdk.declare import Context, Integration, Sample
from app.sdk.samples import samples_beside

SOURCE = """
from app.sdk.declare import Context, Integration

weather = Integration(module=__name__, title="Weather", about="ask for the forecast", need="none")

@weather.action("Get the forecast", idempotent=True)
def forecast(ctx: Context, connection: None) -> dict:
    'Tells the sky.'

@weather.manual("Ask now")
def ask(params) -> None:
    'Starts it.'
"""
SAMPLES = '{"forecast": [{"params": {}, "output": {"sky": "clear"}}], "ask": [{"city": "Oslo"}]}'


@pytest.fixture
def load(tmp_path, monkeypatch):
    """An integration from a folder of its own."""

    def load(samples=None):
        (tmp_path / "weather.py").write_text(SOURCE.replace("(params)", "()"))
        if samples is not None:
            (tmp_path / "samples").mkdir()
            (tmp_path / "samples" / "weather.json").write_text(samples)
        spec = importlib.util.spec_from_file_location("weather", tmp_path / "weather.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "weather", module)
        spec.loader.exec_module(module)
        return module.weather

    return load


def test_samples_are_found_by_the_name_of_the_function(load):
    weather = load(SAMPLES)

    assert weather.actions["forecast"].samples == (Sample({}, {"sky": "clear"}),)
    assert weather.triggers["ask"].samples == ({"city": "Oslo"},)


def test_without_a_file_there_are_none(load):
    weather = load()

    assert weather.actions["forecast"].samples == ()
    assert weather.triggers["ask"].samples == ()


def test_a_module_that_stands_in_no_file_has_none():
    assert samples_beside("no.such.module") == {}


def test_samples_may_be_given_to_the_function():
    here = Integration(module="weather", title="Weather", about="ask", need="none")

    @here.action("Get", idempotent=True, samples=[Sample({}, {"sky": "grey"})])
    def forecast(ctx: Context, connection: None) -> dict:
        """Tells the sky."""

    assert here.actions["forecast"].samples == (Sample({}, {"sky": "grey"}),)
