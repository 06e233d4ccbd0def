"""OpenAI: its own client sent through ours, what its answers took, and what its errors mean."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from app.sdk import ai
from app.sdk.answers import NOT_TAKEN, parse_retry_after
from app.sdk.context import Context
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.lazily import lazily
from app.sdk.sealed import mask
from app.sdk.transport import guarded

# It takes a second to import.
_library: Any = lazily("openai")

_OPENAI: Final = "https://api.openai.com/v1"
_DEADLINE_S: Final = 120.0
_VERDICT: Final = {"flagged", "categories", "category_scores"}
# No seconds of waiting mend these: somebody has to add credit. https://platform.openai.com/docs/guides/error-codes
_NO_CREDIT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


@dataclass(frozen=True, slots=True)
class Api:
    """OpenAI's client over `ctx.http`. Raises only app.sdk.errors."""

    ctx: Context
    key: str

    def models(self) -> int | None:
        """How many models the key may use; None when it may not list them."""
        try:
            return len(self._client().models.list().data or [])
        except _library.APIStatusError as error:
            if error.status_code == 403 and "missing scopes" in str(error.message).lower():
                return None
            raise self._failure(error) from None

    def completed(self, request: ai.Request) -> ai.Reply:
        """A model's answer to messages."""
        return self._read(_completed, request)

    def moderated(self, request: ai.Request) -> ai.Reply:
        """A verdict on a text, as JSON."""
        return self._read(_moderated, request)

    def _read(self, call: Callable[[Any, ai.Request], ai.Reply], request: ai.Request) -> ai.Reply:
        try:
            return call(self._client(), request)
        except _library.APIStatusError as error:
            raise self._failure(error, str(request.get("model"))) from None
        except (_library.APIError, AttributeError, LookupError, TypeError, ValueError) as error:
            # The library builds its objects from whatever came, unchecked.
            raise TemporaryError("openai gave an answer that cannot be read") from error

    def _client(self) -> Any:
        # Else the library would take both from environment variables.
        unnamed = dict.fromkeys(("OpenAI-Organization", "OpenAI-Project"), _library.Omit())
        return _library.OpenAI(
            api_key=self.key,
            organization="",
            project="",
            default_headers=unnamed,
            base_url=self.ctx.base_url or _OPENAI,
            max_retries=0,
            http_client=guarded(self.ctx.http, deadline_s=_DEADLINE_S),
        )

    def _failure(self, error: Any, model: str = "") -> IntegrationError:
        code, status = error.code or error.type or "no reason given", error.status_code
        if code in _NO_CREDIT or error.type in _NO_CREDIT:
            return AuthError(
                f"the openai account has no credit left ({code}); add some, then check this connection"
            )
        if code == "model_not_found":
            return RejectedError(
                f"openai has no model {model} for this key; choose another model in the step"
            )
        if status in {401, 403}:
            return AuthError(f"openai refused the key ({status} {code}); make a new one and connect it")
        if status in {408, 409, 429} or status >= 500:
            after = parse_retry_after(error.response.headers.get("retry-after"), self.ctx.now)
            sent = status not in NOT_TAKEN
            return TemporaryError(f"openai cannot take this now ({status} {code})", after=after, sent=sent)
        return RejectedError(f"openai rejected the request ({status} {code}: {self._told(error)})")

    def _told(self, error: Any) -> str:
        said = str(error.body.get("message")) if isinstance(error.body, dict) else "no reason given"
        return " ".join(mask(said, [self.key]).split())[:200].rstrip(".")


def _completed(client: Any, request: ai.Request) -> ai.Reply:
    answer = client.chat.completions.create(**request)
    choice, usage = answer.choices[0], answer.usage
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    filtered = "its content filter stopped it" if choice.finish_reason == "content_filter" else ""
    return ai.Reply(
        text=choice.message.content or "",
        model=answer.model,
        tokens_in=usage.prompt_tokens,
        tokens_out=usage.completion_tokens,
        tokens_cached=cached or 0,
        declined=choice.message.refusal or filtered,
        cut=choice.finish_reason == "length",
    )


def _moderated(client: Any, request: ai.Request) -> ai.Reply:
    answer = client.moderations.create(**request)
    verdict = answer.results[0].model_dump_json(by_alias=True, include=_VERDICT)
    return ai.Reply(text=verdict, model=answer.model)
