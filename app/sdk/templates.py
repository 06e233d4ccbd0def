"""Liquid templates in params: `{{ event.order }}`, with types kept, errors in plain words, and limits."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from liquid.exceptions import LiquidError, LiquidTypeError, ResourceLimitError

from app.sdk import dialect
from app.sdk.errors import RejectedError
from app.sdk.paths import MissingPath, lookup

MAX_SOURCE_CHARS: Final = 200_000

_MAX_TAG_CHARS = 1000
_MAX_NESTING = 100
_REMEMBERED_CHARS = 10_000
_OPENING = re.compile(r"\{[{%]")
_LEFT_OUT = re.compile(r"\{%-?\s*(?:raw|doc)\b")
_WIDE_GAP = re.compile(r"\s{100}")
_NO_TAG = re.compile(r"unexpected tag '(\w*)'")
_NO_END = re.compile(r"expected tag end(\w+), found .*")
_COMPARED = re.compile(r".* between '(\w+)' and '(\w+)'")
_TYPES = {
    "str": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "an object",
}


class TemplateError(RejectedError):
    """A template that is wrong or does not fit the data; `where` is the dotted path of the parameter."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where


def render(value: object, context: Mapping[str, object]) -> object:
    """The value with every template in it replaced, through objects and lists; keys are not templates.

    A string that is one lone `{{ path }}` becomes what is found, of its own type. What is put in is never
    rendered again. All templates of one value share one limit of work. Raises TemplateError.
    """
    budget = dialect.Budget()
    return _walk(value, "", lambda source, where: _render_one(source, where, context, budget))


def check(value: object) -> dict[str, str]:
    """What is wrong with the writing of the templates: parameter → sentence."""
    found: dict[str, str] = {}
    for source, where in _sources(value):
        try:
            _template(source)
        except TemplateError as error:
            found[where] = str(error)
    return found


def paths(value: object) -> set[str]:
    """The paths that the templates name: `{"event.order", "steps.find.row"}`; raises TemplateError."""
    return {path for source, _ in _sources(value) for path in _template(source).paths}


def is_template(source: str) -> bool:
    return "{{" in source or "{%" in source


def _walk(value: object, where: str, replace: Callable[[str, str], object], depth: int = 0) -> object:
    if isinstance(value, str):
        return replace(value, where) if is_template(value) else value
    if depth > _MAX_NESTING:
        raise TemplateError(f"this is nested deeper than {_MAX_NESTING} levels", where[:200])
    if isinstance(value, Mapping):
        return {key: _walk(item, _join(where, str(key)), replace, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, _join(where, str(index)), replace, depth + 1) for index, item in enumerate(value)]
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _sources(value: object) -> Iterator[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    _walk(value, "", lambda source, where: found.append((source, where)))
    return iter(found)


def _render_one(source: str, where: str, context: Mapping[str, object], budget: dialect.Budget) -> object:
    try:
        template = _template(source)
        if template.lone is not None:
            return lookup(context, template.lone)
        return dialect.render(template.parsed, context, budget)
    except MissingPath as missing:
        raise TemplateError(str(missing), where) from None
    except TemplateError as error:
        raise TemplateError(str(error), where) from None
    except (LiquidError, ArithmeticError, RecursionError, TypeError, ValueError) as error:
        raise TemplateError(_sentence(error, source), where) from None


def _template(source: str) -> dialect.Template:
    return _remembered(source) if len(source) <= _REMEMBERED_CHARS else _parse(source)


@lru_cache(maxsize=1024)
def _remembered(source: str) -> dialect.Template:
    return _parse(source)


def _parse(source: str) -> dialect.Template:
    _scan(source)
    try:
        return dialect.parse(source)
    except (LiquidError, RecursionError) as error:
        raise TemplateError(_sentence(error, source)) from None


def _scan(source: str) -> None:
    """Refuse what would make the lexer's expressions backtrack: tags without an end, or very long ones."""
    if len(source) > MAX_SOURCE_CHARS:
        raise TemplateError(f"a template has at most {MAX_SOURCE_CHARS} characters")
    if left_out := _LEFT_OUT.search(source):
        place = _place(source, left_out.start())
        raise TemplateError(f'"{left_out.group()} %}}" is not available here{place}')
    opening = _OPENING.search(source)
    while opening is not None:
        start, closing = opening.start(), "}}" if opening.group() == "{{" else "%}"
        end = source.find(closing, start + 2)
        if end < 0:
            raise TemplateError(f'"{opening.group()}" has no "{closing}"{_place(source, start)}')
        if end - start > _MAX_TAG_CHARS or _WIDE_GAP.search(source, start, end):
            raise TemplateError(f'"{opening.group()} … {closing}" is too long{_place(source, start)}')
        opening = _OPENING.search(source, end + 2)


def _sentence(error: Exception, source: str) -> str:
    if isinstance(error, ResourceLimitError):
        return "this template does too much: it loops too often, nests too deeply or grows too long"
    if isinstance(error, RecursionError):
        return "this template nests too deeply"
    if not isinstance(error, LiquidError):
        return str(error)
    message = str(error.message)
    if isinstance(error, LiquidTypeError):
        message = _COMPARED.sub(_not_comparable, message)
    message = _NO_END.sub(r'"{% \1 %}" has no "{% end\1 %}"', message)
    message = _NO_TAG.sub(r'there is no tag "\1" here; templates know if, unless and for', message)
    start = error.token.start_index if error.token is not None else -1
    return message + (_place(source, start) if start >= 0 else "")


def _not_comparable(types: re.Match[str]) -> str:
    left, right = (_TYPES.get(name, "this") for name in types.groups())
    return f"{left} and {right} cannot be compared"


def _place(source: str, start: int) -> str:
    line = source.count("\n", 0, start) + 1
    column = start - source.rfind("\n", 0, start)
    return f" (line {line}, column {column})"
