"""The example of docs/integrations.md works as it is written."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.sdk.declare import Context, Integration, Sample
from app.sdk.errors import AuthError
from app.sdk.fields import Settings, Text, setting
from app.sdk.http import raise_for_status
from tests.providers.http import http_server, says_json

DOC = Path(__file__).parents[2] / "docs" / "integrations.md"


@pytest.fixture
def weather():
    offered = [Context, Integration, Mapping, Sample, SecretStr, Settings, raise_for_status, setting]
    names = {one.__name__: one for one in offered}
    names |= {"Any": Any, "Text": Text, "__name__": "app.integrations.weather"}
    exec("\n".join(re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)), names)
    return names["weather"]


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
