"""Judging by a few paths of a large OpenAPI document: compiling all of it would take seconds."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from openapi_core import OpenAPI

from tests.providers import openapi
from tests.providers.http import Received
from tests.providers.specs import spec_path


class Part:
    """The named paths, and what they refer to. `mend` may change the document where it is known to be wrong."""

    def __init__(
        self, spec: str, paths: Iterable[str], mend: Callable[[dict[str, Any]], None] = lambda document: None
    ) -> None:
        self.document: dict[str, Any] = json.loads(spec_path(spec).read_text())
        mend(self.document)
        kept = {name: self.document["paths"][name] for name in paths}
        part = {
            "openapi": self.document["openapi"],
            "info": self.document["info"],
            "servers": [{"url": "http://localhost"}],
            "paths": kept,
            "components": _reachable(self.document, kept),
        }
        self._judge = OpenAPI.from_dict(openapi._without_servers(part) | {"servers": part["servers"]})

    def objection(self, request: Received) -> str | None:
        """What the specification has against a request; None when it fits."""
        return openapi._heard(self._judge.iter_request_errors, openapi._as_request(request))


def _reachable(document: dict[str, Any], start: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    waiting = list(_references(start))
    while waiting:
        _, _, kind, name = waiting.pop().split("/")
        if name not in found.setdefault(kind, {}):
            found[kind][name] = document["components"][kind][name]
            waiting += _references(found[kind][name])
    schemes = document["components"].get("securitySchemes", {})
    return found | {"securitySchemes": schemes}


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, list):
        for each in node:
            yield from _references(each)
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
