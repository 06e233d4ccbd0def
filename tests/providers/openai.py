"""OpenAI: chat completions and models as its own specification judges them, moderations as documented.

It bills: `billed` has every request that was answered with tokens. `answers` are what it says next, the last one
for ever; a text, or a function of the request.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from tests.providers.http import Received, Says, StandIn, http_server, says_json
from tests.providers.specs import spec_path

KEY = "sk-proj-kX9sSecretOfOpenAI00"
BROKE_KEY = "sk-proj-kX9sNoCreditLeft0000"
SCOPED_KEY = "sk-proj-kX9sMayNotListModels"
MODELS = ("gpt-6-luna", "gpt-6-sol", "gpt-4o-mini", "omni-moderation-latest", "new-model")

_CATEGORIES = ("harassment", "hate", "self-harm", "sexual", "violence")


def says_error(status: int, message: str, kind: str, code: str | None = None, **headers: str) -> Says:
    """https://platform.openai.com/docs/guides/error-codes"""
    return says_json(
        {"error": {"message": message, "type": kind, "param": None, "code": code}}, status, **headers
    )


def busy(after_s: int) -> Says:
    words, after = "Rate limit reached for requests", {"Retry-After": str(after_s)}
    return says_error(429, words, "requests", "rate_limit_exceeded", **after)


RATE_LIMITED = busy(20)
NO_CREDIT = says_error(
    429,
    "You exceeded your current quota, please check your plan.",
    "insufficient_quota",
    "insufficient_quota",
)
BROKEN = says_error(500, "The server had an error while processing your request.", "server_error")
OVERLOADED = says_error(503, "The engine is currently overloaded.", "server_error")


@cache
def specification() -> OpenAPI:
    spec = json.loads(spec_path("openai/openapi.trimmed.json").read_text())
    _make_readable(spec)
    # Not judged itself: it has a few words of other versions, which mean nothing here.
    config = Config(spec_validator_cls=None)
    return OpenAPI.from_dict(spec | {"servers": [{"url": "http://openai.local/v1"}]}, config=config)


def _make_readable(part: Any) -> None:
    """What the judge does not understand: a bare `discriminator`, and 3.0's `nullable` in a 3.1 file."""
    if isinstance(part, list):
        for value in part:
            _make_readable(value)
    if not isinstance(part, dict):
        return
    for value in list(part.values()):
        _make_readable(value)
    if "mapping" not in part.get("discriminator", {"mapping": None}):
        del part["discriminator"]
    if part.pop("nullable", None) is True:
        plain = dict(part)
        part.clear()
        part["anyOf"] = [plain, {"type": "null"}]


@dataclass
class Bill:
    """What the account owes for, and what the service says next."""

    answers: list[str | Callable[[Any], str]] = field(default_factory=lambda: ["Hello!"])
    billed: list[Any] = field(default_factory=list)
    faults: list[Says] = field(default_factory=list)
    finish: str = "stop"
    refusal: str | None = None
    cached: int = 0
    slow_s: float = 0.0
    # The answer is made and billed, and then the line breaks.
    lose_answers: int = 0

    def answer(self, request: Received) -> Says:
        if self.faults:
            return self.faults.pop(0)
        time.sleep(self.slow_s)
        refused = _stranger(request)
        if refused:
            return refused
        if (request.method, request.path) == ("GET", "/v1/models"):
            return _checked(request, {"object": "list", "data": [_model(name) for name in MODELS]})
        if (request.method, request.path) == ("POST", "/v1/moderations"):
            return _moderated(request)
        if (request.method, request.path) == ("POST", "/v1/chat/completions"):
            return self._completed(request)
        return says_error(
            404, f"Unknown request URL: {request.method} {request.path}", "invalid_request_error"
        )

    def _completed(self, request: Received) -> Says:
        if wrong := objection(request):
            return says_error(400, wrong, "invalid_request_error", "invalid_value")
        body = request.json()
        if body["model"] not in MODELS:
            words = f"The model `{body['model']}` does not exist or you do not have access to it."
            return says_error(404, words, "invalid_request_error", "model_not_found")
        self.billed.append(body)
        if self.lose_answers:
            self.lose_answers -= 1
            return Says(hang_up=True)
        told = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return _checked(request, self._completion(body, told(body) if callable(told) else told))

    def _completion(self, body: Any, text: str) -> Any:
        message = {"role": "assistant", "content": None if self.refusal else text, "refusal": self.refusal}
        return {
            "id": f"chatcmpl-{len(self.billed)}",
            "object": "chat.completion",
            "created": 1795000000,
            "model": f"{body['model']}-2026-09-22" if body["model"].startswith("gpt-6") else body["model"],
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish}],
            "usage": {
                "prompt_tokens": 1000,
                "completion_tokens": 100,
                "total_tokens": 1100,
                "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            },
        }


def _stranger(request: Received) -> Says | None:
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    if key == BROKE_KEY and request.method == "POST":
        return NO_CREDIT
    if key == SCOPED_KEY and request.path == "/v1/models":
        words = "You have insufficient permissions for this operation. Missing scopes: api.model.read."
        return says_error(403, words, "invalid_request_error")
    if key not in {KEY, BROKE_KEY, SCOPED_KEY}:
        words = f"Incorrect API key provided: {key[:4]}****{key[-4:]}."
        return says_error(401, words, "invalid_request_error", "invalid_api_key")
    return None


def objection(request: Received) -> str | None:
    """What the specification has against a request; and what it cannot say, but the service does."""
    asked = MockRequest(
        "http://openai.local",
        request.method.lower(),
        request.path,
        headers=dict(request.headers),
        data=request.body,
        content_type=request.headers.get("content-type", ""),
    )
    try:
        specification().validate_request(asked)
        return _unstrict(request.json()) if request.body else None
    except OpenAPIError as error:
        return f"{type(error).__name__}: {error}; {error.__cause__}"[:300]


def _unstrict(body: Any) -> str | None:
    """https://platform.openai.com/docs/guides/structured-outputs: all required, nothing besides."""
    answer = (body.get("response_format") or {}).get("json_schema") or {}
    schema = answer.get("schema", {})
    if not answer.get("strict"):
        return None
    if schema.get("additionalProperties") is not False or set(schema["required"]) != set(
        schema["properties"]
    ):
        return "Invalid schema for response_format 'answer'"
    return None


def _checked(request: Received, value: Any) -> Says:
    """A stand-in that answers what the service cannot answer proves nothing either."""
    asked = MockRequest("http://openai.local", request.method.lower(), request.path, data=request.body)
    specification().validate_response(asked, MockResponse(json.dumps(value).encode()))
    return says_json(value)


def _model(name: str) -> Any:
    return {"id": name, "object": "model", "created": 1790000000, "owned_by": "openai"}


def _moderated(request: Received) -> Says:
    """https://platform.openai.com/docs/api-reference/moderations"""
    body = request.json()
    if not isinstance(body.get("input"), str) or not body["input"] or body.keys() - {"input", "model"}:
        return says_error(400, "Invalid value for 'input'", "invalid_request_error", "invalid_value")
    bad = {"violence"} if "kill" in body["input"] else set()
    verdict = {
        "flagged": bool(bad),
        "categories": {name: name in bad for name in _CATEGORIES},
        "category_scores": {name: 0.98 if name in bad else 0.0001 for name in _CATEGORIES},
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    return says_json(
        {"id": "modr-1", "model": body.get("model", "omni-moderation-latest"), "results": [verdict]}
    )


@contextmanager
def openai_server() -> Iterator[tuple[StandIn, Bill]]:
    bill = Bill()
    with http_server(bill.answer) as stand_in:
        stand_in.url += "/v1"
        yield stand_in, bill
