"""Our dialect of Liquid: output, if, unless and for, over plain data, with a budget of work."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import islice, takewhile
from typing import Final, TextIO, TypeVar

from liquid import Environment, RenderContext
from liquid.ast import Node
from liquid.builtin.content import Literal
from liquid.builtin.expressions import FilteredExpression, LoopExpression, Path
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.illegal import Illegal
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.for_tag import BreakTag, ContinueTag, ForNode, ForTag
from liquid.builtin.tags.if_tag import IfTag
from liquid.builtin.tags.unless_tag import UnlessTag
from liquid.exceptions import (
    LiquidSyntaxError,
    LoopIterationLimitError,
    OutputStreamLimitError,
    UndefinedError,
)
from liquid.expression import Expression
from liquid.stream import TokenStream
from liquid.template import BoundTemplate
from liquid.token import Token
from liquid.undefined import UNDEFINED, StrictUndefined
from liquid.utils import ReadOnlyChainMap

from app.sdk import values
from app.sdk.filters import FILTERS, MAX_CHARS, Filter, fail
from app.sdk.paths import MissingPath, PathError, Segment, lookup, spell
from app.sdk.paths import parse as path_segments

Value = TypeVar("Value")

MAX_ITERATIONS: Final = 10_000

_WORK = 1_000_000
_CALL = 20
_LOOKUP = 5
_CHARS_PER_UNIT = 20
_COUNTED_ITEMS = 1000
# Liquid takes these for its own words even as the name of a field, `event.limit`.
_OWN_WORDS = "true|false|nil|null|empty|blank|and|or|contains|not|in|offset|limit|reversed|cols|continue"
_OWN_WORDS += "|with|for|as|if|else|required"
_FIELD_OR_TEXT = re.compile(rf"\"[^\"]*\"|'[^']*'|(?<=[\w\]])\.({_OWN_WORDS})(?![\w-])")
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_UNCOUNTED = 50_000


@dataclass(slots=True)
class Budget:
    """Work left, in about microseconds; counted, not timed: the same input always ends the same way."""

    work: int = _WORK
    iterations: int = MAX_ITERATIONS
    chars: int = MAX_CHARS

    def spend(self, work: int) -> None:
        self.work -= work
        if self.work < 0:
            raise LoopIterationLimitError("too much work", token=None)

    def loop(self, iterations: int, body_chars: int) -> None:
        self.iterations -= iterations
        if self.iterations < 0:
            raise LoopIterationLimitError("too many iterations", token=None)
        self.spend(iterations * body_chars)

    def write(self, chars: int) -> None:
        self.chars -= chars
        if self.chars < 0:
            raise OutputStreamLimitError("too much output", token=None)


@dataclass(frozen=True, slots=True)
class Template:
    """`lone` is the path of a source that is nothing but `{{ path }}`."""

    parsed: BoundTemplate
    paths: frozenset[str]
    lone: tuple[Segment, ...] | None


def parse(source: str) -> Template:
    """Raises LiquidError."""
    parsed = _ENVIRONMENT.from_string(_TAG.sub(_quote_fields, source))
    static = RenderContext(parsed)
    for node in parsed.nodes:
        _refuse_unknown(node, static)
    analysis = parsed.analyze(include_partials=False)
    named = [variable.segments for variables in analysis.globals.values() for variable in variables]
    return Template(parsed, frozenset(map(_known_part, named)), _lone(parsed.nodes))


def render(template: BoundTemplate, variables: Mapping[str, object], budget: Budget) -> str:
    """Raises LiquidError, and ValueError for a value that has no text."""
    buffer = _Buffer(budget)
    template.render_with_context(_Context(template, variables, budget), buffer)
    return buffer.getvalue()


class _Missing(StrictUndefined):
    """May be tested (`if`) and defaulted; everything else with it is an error."""

    allowed_properties = StrictUndefined.allowed_properties | {"__liquid__", "force_liquid_default"}
    force_liquid_default = True


class _Buffer(StringIO):
    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def write(self, text: str, /) -> int:
        self._budget.write(len(text))
        return super().write(text)


class _Context(RenderContext):
    def __init__(self, template: BoundTemplate, variables: Mapping[str, object], budget: Budget) -> None:
        super().__init__(template, globals=variables)
        # Liquid's own scope also offers `now`, which would make the same event render differently.
        self.scope = ReadOnlyChainMap(self.locals, variables)
        self.budget = budget

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        try:
            found = lookup(self.scope, path)
        except MissingPath as missing:
            return _Missing(str(path[0]), token=None, hint=str(missing))
        self.budget.spend(_LOOKUP + len(path) + _units(found))
        return found

    def filter(self, name: str, token: Token | None) -> Filter:
        return partial(self._call, name)

    def _call(self, name: str, value: object, /, *args: object, **named: object) -> object:
        if isinstance(value, _Missing):
            value = None if name == "default" else _demand(value)
        self.budget.spend(_CALL + _units(value))
        try:
            demanded = {key: _demand(arg) for key, arg in named.items()}
            found = FILTERS[name](value, *map(_demand, args), **demanded)
        except TypeError:
            raise fail(f'the filter "{name}" cannot be used like this') from None
        self.budget.spend(_units(found))
        return found


class _Template(BoundTemplate):
    def make_partial_namespace(self, *_: object) -> Mapping[str, object]:
        return {}


class _OutputNode(OutputNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return buffer.write(values.text(_demand(self.expression.evaluate(context))))


class _Output(Output):
    node_class = _OutputNode


class _ForNode(ForNode):
    body_chars = 0

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        assert isinstance(context, _Context)
        context.budget.loop(self._length(context), self.body_chars)
        return super().render_to_output(context, buffer)

    def _length(self, context: RenderContext) -> int:
        """Known before Liquid walks it: `reversed` would make a list of a range first."""
        found = self.expression.iterable.evaluate(context)
        if isinstance(found, range):
            return max(0, found.stop - found.start)
        return len(_demand(found)) if isinstance(found, Mapping | list | tuple) else 1


class _ForTag(ForTag):
    node_class = _ForNode

    def parse(self, stream: TokenStream) -> Node:
        start = stream.current.start_index
        node = super().parse(stream)
        assert isinstance(node, _ForNode)
        node.body_chars = stream.current.start_index - start
        return node


class _Dialect(Environment):
    template_class = _Template
    context_depth_limit = 20
    block_nesting_limit = 20

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        for tag in (Literal, _Output, Illegal, IfTag, UnlessTag, _ForTag, BreakTag, ContinueTag):
            self.add_tag(tag)


def _demand(value: Value) -> Value:
    if isinstance(value, _Missing):
        raise UndefinedError(value.msg, token=None)
    return value


def _units(value: object) -> int:
    """What comparing, sorting or writing out a value may cost; large ones are not counted to the end."""
    if isinstance(value, str):
        return len(value) // _CHARS_PER_UNIT
    if not isinstance(value, dict | list | tuple):
        return 0
    units, open_items = 0, [value]
    while open_items:
        item = open_items.pop()
        units += len(item)
        for part in _parts(item):
            if isinstance(part, str):
                units += len(part) // _CHARS_PER_UNIT
            elif isinstance(part, dict | list | tuple):
                open_items.append(part)
        if units > _COUNTED_ITEMS:
            return _UNCOUNTED
    return units


def _parts(item: dict[str, object] | list[object] | tuple[object, ...]) -> Iterable[object]:
    return islice(item.values() if isinstance(item, dict) else item, _COUNTED_ITEMS)


def _known_part(segments: Sequence[object]) -> str:
    """`event.rows[event.index].name` is known up to `event.rows`."""
    path = spell(list(takewhile(lambda segment: isinstance(segment, str | int), segments)) or [""])
    try:
        path_segments(path)
    except PathError as error:
        raise LiquidSyntaxError(str(error), token=None) from None
    return path


def _quote_fields(tag: re.Match[str]) -> str:
    """`event.limit` as `event['limit']`, outside of quoted text."""
    return _FIELD_OR_TEXT.sub(lambda found: f"['{found[1]}']" if found[1] else found[0], tag[0])


def _lone(nodes: list[Node]) -> tuple[Segment, ...] | None:
    if len(nodes) != 1 or not isinstance(nodes[0], OutputNode):
        return None
    expression = nodes[0].expression
    if not isinstance(expression, FilteredExpression) or expression.filters:
        return None
    if not isinstance(expression.left, Path) or any(isinstance(part, Path) for part in expression.left.path):
        return None
    return tuple(part for part in expression.left.path if not isinstance(part, Path))


def _refuse_unknown(node: Node, static: RenderContext) -> None:
    for expression in node.expressions():
        _refuse(expression, in_loop=isinstance(expression, LoopExpression))
    for child in node.children(static, include_partials=False):
        _refuse_unknown(child, static)


def _refuse(expression: Expression, *, in_loop: bool) -> None:
    if isinstance(expression, RangeLiteral) and not in_loop:
        raise LiquidSyntaxError("a range such as (1..5) can only be walked by for", token=expression.token)
    for applied in getattr(expression, "filters", None) or ():
        if applied.name not in FILTERS:
            raise LiquidSyntaxError(f'there is no filter "{applied.name}"', token=applied.token)
    for child in expression.children():
        _refuse(child, in_loop=in_loop and child is getattr(expression, "iterable", None))


_ENVIRONMENT: Final = _Dialect(undefined=_Missing)
