"""The fields of an account and of an action's parameters: what they mean to people, and which are secret."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from app.sdk import values

# Text as templates write it: a lone `{{ event.total }}` keeps its type, and a number is welcome as text.
Text: TypeAlias = Annotated[str, BeforeValidator(values.text)]


def _one_or_many(value: object) -> str | list[str]:
    return [values.text(item) for item in value] if isinstance(value, list | tuple) else values.text(value)


# Names and values as forms and queries have them: a name that repeats has a list.
Pairs: TypeAlias = dict[str, Annotated[str | list[str], BeforeValidator(_one_or_many)]]

# Up to a comma, semicolon or line break, unless that stands inside a template, a tag or quotes.
_ITEM = re.compile(r"""(?:\{\{.*?\}\}|\{%.*?%\}|"[^"\n]*"|[^,;\n])+""", re.DOTALL)


class Settings(BaseModel):
    """Base of every `Connection` and of every params model: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


def setting(
    title: str,
    default: Any = ...,
    *,
    help: str = "",
    example: Any = None,
    where: str = "",
    widget: str = "",
    choices: Mapping[str, str] | None = None,
    place: bool = False,
    **constraints: Any,
) -> Any:
    """A Pydantic field with its words.

    `where` tells where a person finds the value. `widget` is a hint for the form: "textarea", "code",
    "pairs" (names and values) or "" for what follows from the type. `choices` are the words for the values of
    a `Literal` that people would not say so. `place` marks what a trigger looks at: with another one it begins
    anew, as on its first look.
    """
    extra: dict[str, Any] = {"where": where, "widget": widget, "choices": dict(choices or {}), "place": place}
    return Field(
        default,
        title=title,
        description=help or None,
        examples=None if example is None else [example],
        json_schema_extra={key: value for key, value in extra.items() if value},
        **constraints,
    )


def place_of(model: type[BaseModel], params: Mapping[str, Any]) -> dict[str, Any]:
    """What a trigger with these params looks at, however it is written: an address and the id in it are alike."""
    marked = [name for name, field in model.model_fields.items() if _extra(field).get("place")]
    try:
        settings = model.model_validate(params)
    except ValidationError:
        return {name: params.get(name) for name in marked}
    return {name: getattr(settings, name) for name in marked}


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}


def spread(model: type[BaseModel], params: Mapping[str, Any]) -> dict[str, Any]:
    """The params with `a, {{ b }}` as `["a", "{{ b }}"]` where the model wants a list.

    To be called on what a person wrote, before templates are rendered: a comma that comes out of an event
    must not make two of one (a second address in a mail's `To`).
    """
    return {
        name: _split(value) if isinstance(value, str) and _is_list(model, name) else value
        for name, value in params.items()
    }


def _is_list(model: type[BaseModel], name: str) -> bool:
    return name in model.model_fields and get_origin(model.model_fields[name].annotation) is list


def _split(text: str) -> list[str]:
    return [part for part in (item.strip() for item in _ITEM.findall(text)) if part]


def secret_names(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for name, field in model.model_fields.items() if is_secret(field))


def is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))


def reveal(settings: BaseModel) -> dict[str, Any]:
    """As plain JSON values, secrets in clear: for sealing only (`model_dump` gives `**********`)."""
    plain = settings.model_dump(mode="json")
    for name in secret_names(type(settings)):
        value = getattr(settings, name)
        plain[name] = value.get_secret_value() if value is not None else None
    return plain


def sentences(error: ValidationError) -> dict[str, str]:
    """Pydantic's objections as dotted path → plain sentence."""
    return {
        _path(item["loc"]): _sentence(item) for item in error.errors(include_url=False, include_input=False)
    }


def _path(parts: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in parts)


_PLAIN = {
    "missing": "is needed",
    "extra_forbidden": "is not a field of this form",
    "string_too_short": "is needed",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "dict_type": "must be an object of names and values",
    "list_type": "must be a list",
}


def _sentence(item: Any) -> str:
    if item["type"] in _PLAIN:
        return _PLAIN[item["type"]]
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]
