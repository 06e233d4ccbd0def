"""Templates: types kept, errors in plain words, hostile ones stopped."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sdk.errors import RejectedError
from app.sdk.templates import TemplateError, check, paths, render

TAGS_KNOWN = "templates know if, unless and for"
CONTEXT: dict[str, Any] = {
    "event": {
        "order": "A-17",
        "total": 150,
        "paid": True,
        "limit": 5,
        "if": {"for": 6},
        "note": None,
        "at": "2026-11-21T09:00:00Z",
        "items": [{"name": "tea", "price": 2.5}, {"name": "cup", "price": 3}],
        "odd key": "odd",
        "big": "a" * 500_000,
        "many": [[{"n": n}] for n in range(50_000)],
        "template": "{{ event.order }} {% raw %}",
    },
    "steps": {"find": {"order": 1, "total": 2, "email": "x"}},
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.fixture(autouse=True)
def within_bounds() -> Iterator[None]:
    started = time.thread_time()

    yield

    # A template that runs away takes minutes; coverage makes the honest ones slow.
    assert time.thread_time() - started < 30


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ event.total }}", 150),
        ("{{event.total}}", 150),
        ("{{ event.paid }}", True),
        ("{{ event.note }}", None),
        ("{{ event.items }}", CONTEXT["event"]["items"]),
        ("{{ event.items[1].price }}", 3),
        ("{{ event.items[-1].name }}", "cup"),
        ("{{ event['odd key'] }}", "odd"),
        ("{{ event.items.size }}", 2),
        ("{{ event.limit }}", 5),
        ("{{ event.if.for }}", 6),
    ],
)
def test_a_lone_path_keeps_its_type(source: str, expected: object) -> None:
    found = render(source, CONTEXT)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("order {{ event.order }}", "order A-17"),
        ("{{ event.total }} ", "150 "),
        ("{{ event.limit | plus: event.if.for | append: ' a.limit' }}", "11 a.limit"),
        (
            "{% for i in event.items limit: 1 %}{% if i.name and true %}{{ event.limit }}{% endif %}{% endfor %}",
            "5",
        ),
        ("{% for i in (4..event.limit) reversed %}{{ i }}{% endfor %}", "54"),
        ("{{ event.total | plus: 1 }}", "151"),
        ("{{ event.paid }}!", "true!"),
        ("[{{ event.note }}]", "[]"),
        ("is {{ event.items[0] }}", 'is {"name":"tea","price":2.5}'),
        ("{% if event.total > 100 %}big{% else %}small{% endif %}", "big"),
        ("{% unless event.paid %}due{% endunless %}", ""),
        (
            "{% for i in event.items %}{{ i.name }}{% unless forloop.last %}, {% endunless %}{% endfor %}",
            "tea, cup",
        ),
        ("{% for i in (1..3) %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "13"),
        ("{% for i in (1..9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "12"),
        ("{% if event.coupon %}yes{% else %}no{% endif %}", "no"),
        ("{{ event.coupon | default: 'none' }}", "none"),
    ],
)
def test_a_template_with_more_than_a_path_is_text(source: str, expected: str) -> None:
    assert render(source, CONTEXT) == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("'tEa' | upcase", "TEA"),
        ("'tEa' | downcase", "tea"),
        ("'tEa' | capitalize", "Tea"),
        ("' a ' | strip", "a"),
        ("' a' | lstrip | append: 'b' | prepend: 'c'", "cab"),
        ("'a ' | rstrip", "a"),
        ("'abcdefgh' | truncate: 6", "abc..."),
        ("'a b c' | truncatewords: 2, '…'", "a b…"),
        ("'a-b' | replace: '-', '+'", "a+b"),
        ("'a-b' | remove: '-'", "ab"),
        ("'a,b' | split: ',' | reverse | join: ';'", "b;a"),
        ("'abc' | split: '' | last", "c"),
        ("'abc' | slice: 1, 2", "bc"),
        ("'abc' | slice: -2, 2", "bc"),
        ("'abc' | size", "3"),
        ("event.items | first | json", '{"name":"tea","price":2.5}'),
        ("event.items | map: 'name' | join: '/'", "tea/cup"),
        ("event.items | where: 'name', 'cup' | size", "1"),
        ("event.items | where: 'price' | size", "2"),
        ("event.items | sort: 'name' | map: 'name' | join", "cup tea"),
        ("event.items | sum: 'price'", "5.5"),
        ("'b,10,a,9,b' | split: ',' | uniq | sort | join", "9 10 a b"),
        ("event.items | concat: event.items | compact | size", "4"),
        ("0.1 | plus: 0.2", "0.3"),
        ("5 | minus: 7", "-2"),
        ("'3' | times: 2", "6"),
        ("12345678901234567890 | times: 12345678901234567890", str(12345678901234567890**2)),
        ("7 | divided_by: 2", "3"),
        ("7 | divided_by: 2.0", "3.5"),
        ("-7 | modulo: 3", "2"),
        ("2.5 | round", "3"),
        ("2.345 | round: 2", "2.35"),
        ("2.5 | floor", "2"),
        ("2.1 | ceil", "3"),
        ("-2 | abs", "2"),
        ("5 | at_most: 3 | at_least: 4", "4"),
        ("'' | default: 'x'", "x"),
        ("0 | default: 'x'", "0"),
        ("'a b&c' | url_encode", "a+b%26c"),
        ("'<b>' | escape", "&lt;b&gt;"),
        ("'<p>a<script>x()</script >b</p>' | strip_html", "ab"),
        ("event.at | date", "2026-11-21"),
        ("event.at | date: '%d.%m.%Y %H:%M', 'Asia/Kolkata'", "21.11.2026 14:30"),
        ("1763715600 | date: '%H:%M'", "09:00"),
        ("1763715600000 | date: '%H:%M'", "09:00"),
        ("event.items | sum: 'price' | times: 2", "11"),
    ],
)
def test_a_filter_does_what_its_name_says(filters: str, expected: str) -> None:
    assert render("{{ " + filters + " }}", CONTEXT) == expected


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{{ steps.find.row }}", "steps.find.row is not there: steps.find has order, total, email"),
        (
            "x{{ steps.find.row }}",
            "steps.find.row is not there: steps.find has order, total, email (line 1, column 2)",
        ),
        ("{{ evnt.total }}", "evnt is not there: there are event, steps"),
        ("{{ event.order.id }}", "event.order.id is not there: event.order is text"),
        ("{{ event.items[5].name }}", "event.items[5] is not there: event.items is a list of 2"),
        ("{{ event.order | times: 2 }}", '"A-17" is not a number (line 1, column 1)'),
        ("{{ event.total | divided_by: 0 }}", "a number cannot be divided by 0 (line 1, column 1)"),
        ("{{ event.total | join }}", "150 is not a list (line 1, column 1)"),
        ("{{ 'a' | truncate: 1.5 }}", "1.5 is not a whole number (line 1, column 1)"),
        ("{{ 5 | modulo: 0 }}", "a number cannot be divided by 0 (line 1, column 1)"),
        (
            "{{ event.at | date: '%Y', 'Mars' }}",
            '"Mars" is not a time zone; one looks like Europe/Berlin (line 1, column 1)',
        ),
        ("{{ event.total | upcase: 1 }}", 'the filter "upcase" cannot be used like this (line 1, column 1)'),
        ("{{ event.paid.x }}", "event.paid.x is not there: event.paid is true or false"),
        ("{{ event.note.x }}", "event.note.x is not there: event.note is empty"),
        ("{{ event.total.x }}", "event.total.x is not there: event.total is a number"),
        (
            "{{ event['a b'] }}",
            "event['a b'] is not there: the event has order, total, paid, limit, if, note, at, items and 4 more",
        ),
        ("x {{ empty }}", "this has no text"),
        ("{{ 'x' | date }}", '"x" is not a date; one looks like 2026-11-21T09:00:00Z (line 1, column 1)'),
        (
            "{% if event.total < event.order %}{% endif %}",
            "a number and text cannot be compared (line 1, column 19)",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_named(source: str, sentence: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render({"json": {"order": source}}, CONTEXT)

    assert str(caught.value) == sentence
    assert caught.value.where == "json.order"
    assert isinstance(caught.value, RejectedError)


def test_at_most_eight_names_are_listed() -> None:
    with pytest.raises(TemplateError, match=r"the event has n0, n1, n2, n3, n4, n5, n6, n7 and 2 more$"):
        render("{{ event.x }}", {"event": {f"n{n}": n for n in range(10)}})


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{{ event.total", '"{{" has no "}}" (line 1, column 1)'),
        ("a\n b {% if event.total", '"{%" has no "%}" (line 2, column 4)'),
        ("{% if event.total %}x", '"{% if %}" has no "{% endif %}"'),
        ("{{ event.total | shout }}", 'there is no filter "shout" (line 1, column 18)'),
        ("{{ (1..5) | join }}", "a range such as (1..5) can only be walked by for (line 1, column 4)"),
        ("{% raw %}{% endraw %}", '"{% raw %}" is not available here (line 1, column 1)'),
        *[
            (f"{{% {tag} %}}", f'there is no tag "{tag.split()[0]}" here; {TAGS_KNOWN} (line 1, column 4)')
            for tag in ("include 'x'", "render 'x'", "assign x = 1", "capture x", "cycle 1, 2", "tablerow x in y",
                        "case x", "increment x", "liquid assign x = 1", "echo x", "comment")
        ],
    ],
)  # fmt: skip
def test_check_finds_what_is_written_wrong(source: str, sentence: str) -> None:
    assert check({"to": "{{ anything.at.all }}", "body": [source]}) == {"body.0": sentence}


def test_paths_are_the_outer_names_a_template_mentions() -> None:
    found = paths(
        ["{{ event.a[0] }} {% for i in event.rows %}{{ i.x | append: steps.s.y }}{% endfor %}", 5, "plain"]
    )

    assert found == {"event.a[0]", "event.rows", "steps.s.y"}


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ config }}",
        "{{ event.__class__ }}",
        "{{ event.order.__class__.__mro__ }}",
        "{{ event.items.append }}",
        "{{ event.order.upper }}",
        "{{ self }}",
        "x{{ now }}",
        "{{ now }}",
        "{{ request }}",
        "x{{ event.keys }}",
        "{% for x in event.items.copy %}{{ x }}{% endfor %}",
        "{{ 'now' | date }}",
        "{{ connection.password }}",
        "{{ secrets }}",
        "{% for i in event.items %}{{ forloop }}{% endfor %}",
    ],
)
def test_nothing_but_the_given_data_is_in_reach(source: str) -> None:
    with pytest.raises(TemplateError):
        render(source, CONTEXT)


def test_paths_end_where_the_data_decides() -> None:
    assert paths("{{ event.rows[event.index].name }}{{ event['a b'] }}") == {
        "event.rows",
        "event.index",
        "event['a b']",
    }


@pytest.mark.parametrize(
    "source", ["{{ ['odd root'].x }}", "{{ [event.x].y }}", "{{ event[99999999999] }}", "{{ a? }}"]
)
def test_a_path_that_filters_could_not_use_is_refused(source: str) -> None:
    assert "" in check(source)


def test_an_object_of_python_is_not_data() -> None:
    with pytest.raises(TemplateError, match="event is not there: it is not data"):
        render("{{ event }}", {"event": object()})


@pytest.mark.parametrize(
    "source", ["${7*7}", "#{7*7}", "<%= 7*7 %>", "{ {x} }", "}}", "%}", "{", "\x00", "\ud800"]
)
def test_other_languages_are_text(source: str) -> None:
    assert render(source, CONTEXT) == source


def test_a_value_that_looks_like_a_template_is_not_rendered() -> None:
    assert render("{{ event.template }}", CONTEXT) == CONTEXT["event"]["template"]
    assert render("= {{ event.template }}", CONTEXT) == "= " + CONTEXT["event"]["template"]


def test_keys_are_not_templates() -> None:
    assert render({"{{ event.order }}": 1}, CONTEXT) == {"{{ event.order }}": 1}


LONG = "(1..1000)"
HOSTILE = {
    "endless loop": "{% for i in (1..1000000000) %}x{% endfor %}",
    "reversed range": "{% for i in (1..99999999999999999999) reversed %}{% endfor %}",
    "nested loops": f"{{% for a in {LONG} %}}{{% for b in {LONG} %}}x{{% endfor %}}{{% endfor %}}",
    "loops in a row": "{% for a in (1..9) %}" + f"{{% for b in {LONG} %}}{{% endfor %}}" * 9 + "{% endfor %}",
    "long body": "{% for a in (1..9000) %}" + "{{a}}" * 100 + "{% endfor %}",
    "silent body": "{% for a in (1..9000) %}" + "{{''}}" * 100 + "{% endfor %}",
    "doubling": "{{ 'aaaaaaaaaa'" + " | replace: 'a', 'aaaaaaaaaa'" * 20 + " }}",
    "appending": "{{ event.big | append: event.big | append: event.big | append: event.big }}",
    "joining": "{{ event.big | split: '' | join: event.big }}",
    "much output": "{{ event.big }}" * 3,
    "large number": "{{ 999999999" + " | times: 999999999" * 40 + " }}",
    "filters in a loop": "{% for a in (1..9000) %}{{ event.big | upcase | size }}{% endfor %}",
    "comparing in a loop": "{% for a in (1..9000) %}{% if event.many == event.items %}{% endif %}{% endfor %}",
    "search in a loop": "{% for a in (1..9000) %}{% if event.many contains 'x' %}{% endif %}{% endfor %}",
    "writing in a loop": "{% for a in (1..9000) %}{{ event.many | json | size }}{% endfor %}",
    "deep blocks": "{% if 1 %}" * 5000 + "{% endif %}" * 5000,
    "deep brackets": "{{ " + "a[" * 300 + "0" + "]" * 300 + " }}",
    "unclosed": "{{" * 50_000,
    "unclosed name": "{% " + "a" * 100_000,
    "unclosed raw": "{%raw%}" * 20_000,
    "wide gap": "{{" + " " * 100_000 + "}}",
    "wide date": "{{ event.at | date: '%999999999d' }}",
    "long source": "{{ event.order }}" * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_stopped(name: str) -> None:
    with pytest.raises(TemplateError):
        render(HOSTILE[name], CONTEXT)


def test_many_conditions_in_one_are_borne() -> None:
    source = "{% if " + "1 and " * 150 + "1 %}x{% endif %}"

    assert render(source, CONTEXT) == "x"


def test_all_templates_of_one_value_share_one_limit() -> None:
    with pytest.raises(TemplateError, match="does too much"):
        render(["{% for a in (1..5000) %}x{% endfor %}"] * 3, CONTEXT)


def test_nesting_without_end_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(TemplateError, match="nested deeper than"):
        render(value, CONTEXT)


@given(JSON)
def test_values_come_through_a_lone_path_unchanged(value: object) -> None:
    assert render({"a": ["{{ event.x }}"]}, {"event": {"x": value}}) == {"a": [value]}


@given(JSON)
def test_the_json_filter_writes_what_was_there(value: object) -> None:
    assert json.loads(str(render("{{ event.x | json }}", {"event": {"x": value}}))) == value


@given(st.text(alphabet="{}%|'\"[]().:, -andforeifinx1\n", max_size=60))
def test_any_text_renders_or_says_why_not(source: str) -> None:
    with suppress(TemplateError):
        check(source)
        render(source, {"x": [1, "a", None], "a": {"n": 1}})
