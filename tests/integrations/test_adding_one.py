"""The example of docs/integrations.md works as it is written."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.sdk.errors import AuthError
from tests.providers.http import http_server, says_json

DOC = Path(__file__).parents[2] / "docs" / "integrations.md"
# What the example leaves out.
IMPORTS = """
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import SecretStr

from app.sdk.declare import Context, Integration
from app.sdk.fields import Settings, Text, setting
from app.sdk.http import raise_for_status
from app.sdk.shapes import shaped
"""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", DOC.read_text(), re.DOTALL)


@pytest.fixture
def weather(tmp_path, monkeypatch):
    """The integration of the files that the page shows."""
    file = tmp_path / "weather.py"
    file.write_text("\n".join([IMPORTS, *blocks("python")]))
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "weather.json").write_text(*blocks("json"))
    spec = importlib.util.spec_from_file_location("weather", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "weather", module)
    spec.loader.exec_module(module)
    return module.weather


def answer(request):
    if request.headers.get("x-key") != "wk_1":
        return says_json({"error": "unknown key"}, 401)
    return says_json(
        {"name": "ada"} if request.path == "/me" else {"sky": "clear", "city": request.query["city"][0]}
    )


def test_the_example_can_be_checked_and_called(ctx, weather):
    with http_server(answer) as server:
        near = replace(ctx, base_url=server.url)
        account = weather.settings(api_key="wk_1")

        assert weather.check_call(near, account) == "connected as ada"
        action = weather.actions["forecast"]
        assert action.call(near, account, action.params(city="Oslo")) == {"sky": "clear", "city": "Oslo"}


def test_the_example_tells_a_wrong_key(ctx, weather):
    with http_server(answer) as server, pytest.raises(AuthError):
        weather.check_call(replace(ctx, base_url=server.url), weather.settings(api_key="wk_2"))


def test_the_example_has_the_samples_beside_it(weather):
    (sample,) = weather.actions["forecast"].samples

    assert weather.actions["forecast"].params.model_validate(sample.params).city == "Oslo"
    assert sample.output == {"sky": "clear"}
