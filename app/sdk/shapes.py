"""Fields of a certain form: a token, an id, an address; what has another form is refused in words for people."""

import re
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, SecretStr

from app.sdk.fields import Text
from app.sdk.slots import find_zone


def shaped(pattern: str, sentence: str) -> AfterValidator:
    """Takes text, or a secret, that `pattern` matches as a whole; the space around it is left out."""
    form = re.compile(pattern)

    def check(typed: Any) -> Any:
        secret = isinstance(typed, SecretStr)
        text = (typed.get_secret_value() if secret else typed).strip()
        if not form.fullmatch(text):
            raise ValueError(sentence)
        return SecretStr(text) if secret else text

    return AfterValidator(check)


def _flat(given: Any) -> Any:
    """A lone `{{ event.blocks }}` stands in a list of its own before it is rendered (`app.sdk.fields.spread`)."""
    return given[0] if isinstance(given, list) and len(given) == 1 and isinstance(given[0], list) else given


# A JSON list of objects, or one value of an earlier step that is such a list.
Objects: TypeAlias = Annotated[list[dict[str, Any]], BeforeValidator(_flat)]

# One JSON object, or nothing.
Object: TypeAlias = Annotated[
    dict[str, Any] | None, BeforeValidator(lambda given: None if given in ("", {}) else given)
]


# Any JSON; an empty field of a form is none.
AnyJson: TypeAlias = Annotated[Any, BeforeValidator(lambda given: None if given == "" else given)]


def _known_zone(name: str) -> str:
    find_zone(name)
    return name


# The name of an IANA time zone.
Zone: TypeAlias = Annotated[Text, AfterValidator(_known_zone)]

WebAddress: TypeAlias = Annotated[
    Text, shaped(r"(https?://[^\s/<>\"][^\s<>\"]{0,1999})?", "must begin with https://")
]
