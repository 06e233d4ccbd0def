import json
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import ValidationError

from app.integrations import notion
from app.sdk import notion_values
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests.integrations.conftest import NOW
from tests.providers import notion as provider
from tests.providers.http import Received, Says

ACCOUNT = notion.Account(token=provider.TOKEN)
LINK = "https://www.notion.so/shop/Orders-2f26ee68df3042518aad4ddc420cba3d?v=ffffffffffffffffffffffffffffffff&pvs=4"


@pytest.fixture
def server():
    with provider.notion_server() as stand_in:
        yield stand_in
        assert stand_in.objections == []


@pytest.fixture
def near(ctx, server):
    return replace(ctx, base_url=server.url)


def create(near, **fields):
    return notion.create_page(near, ACCOUNT, notion.NewPage(**{"parent": LINK, "title": "A-1001"} | fields))


def query(near, **fields):
    return notion.query(near, ACCOUNT, notion.Query(**{"database": LINK} | fields))


# pages


def test_a_row_is_made_with_columns_of_each_kind_and_can_be_read_back(near, server):
    made = create(
        near,
        columns={
            "total": "150", "Status": "open", "Tags": "new, paid", "Paid": "yes", "Due": "2026-11-21",
            "Note": "=1+1 **x**", "Link": "https://shop.example", "Mail": "",
        },
    )  # fmt: skip

    [row] = server.rows
    assert row["parent"] == {"type": "data_source_id", "data_source_id": provider.SOURCE}
    assert made["title"] == "A-1001"
    assert query(near)["first"] == made


def test_column_names_are_those_of_the_database(near, server):
    create(near, columns={"Total": 150, "Tags": ["a", "b"], "Paid": True, "Due": None})

    [row] = server.rows
    assert row["properties"]["Total"]["number"] == 150
    assert row["properties"]["Tags"]["multi_select"] == [{"name": "a"}, {"name": "b"}]
    assert row["properties"]["Due"]["date"] is None


def test_a_page_is_made_below_another_one_with_its_text(near, server):
    text = "**first** [x](https://evil.example)\nsame paragraph\n\n- one\n- two\nafter"

    made = create(near, inside="page", parent=provider.PAGE, text=text)

    assert server.rows[0]["parent"] == {"type": "page_id", "page_id": provider.PAGE}
    shown = [
        (block["type"], block[block["type"]]["rich_text"][0]["text"]["content"])
        for block in server.children[made["id"]]
    ]
    assert shown == [
        ("paragraph", "**first** [x](https://evil.example)\nsame paragraph"),
        ("bulleted_list_item", "one"),
        ("bulleted_list_item", "two"),
        ("paragraph", "after"),
    ]


def test_text_is_added_to_a_page(near, server):
    assert notion.append(
        near, ACCOUNT, notion.MoreText(page=provider.PAGE, text="paid\n\n" + "x" * 4_500)
    ) == {"blocks": 2}

    paid, long = server.children[provider.PAGE]
    assert paid["paragraph"]["rich_text"] == [{"type": "text", "text": {"content": "paid"}}]
    assert [len(run["text"]["content"]) for run in long["paragraph"]["rich_text"]] == [2000, 2000, 500]


def test_a_long_text_loses_nothing(near, server):
    notion.append(near, ACCOUNT, notion.MoreText(page=provider.PAGE, text="\n\n".join(map(str, range(150)))))

    added = server.children[provider.PAGE]
    assert len(added) == 100
    assert added[-1]["paragraph"]["rich_text"][0]["text"]["content"].endswith("149")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"columns": {"Colour": "red"}}, "no column Colour; it has Name, Total"),
        ({"columns": {"Total": "many"}}, 'Total takes a number, not "many"'),
        ({"columns": {"Paid": "perhaps"}}, "Paid takes true or false"),
        ({"columns": {"Due": "soon"}}, "Due takes a date such as"),
        ({"columns": {"Sum": 1}}, "Sum is computed by notion"),
        ({"parent": provider.UNSHARED}, r"does not know the database .*connections"),
        ({"parent": provider.UNSHARED, "inside": "page"}, "does not know the page"),
        ({"inside": "page", "columns": {"Total": 1}}, "only a row of a database has columns"),
        ({"source": "Elsewhere"}, "has the data sources Orders; name one"),
    ],
)
def test_what_does_not_fit_is_named_with_the_way_out(near, fields, words):
    with pytest.raises(RejectedError, match=words):
        create(near, **fields)


def test_of_several_data_sources_one_must_be_named(near, server):
    server.sources.append({"id": provider.OTHER_SOURCE, "name": "Returns"})

    with pytest.raises(RejectedError, match="Orders, Returns"):
        create(near)
    create(near, source="returns")

    assert server.rows[0]["parent"]["data_source_id"] == provider.OTHER_SOURCE


def test_the_id_of_a_data_source_may_be_given_itself(near):
    assert create(near, parent=provider.SOURCE)["title"] == "A-1001"


@pytest.mark.parametrize(
    "link", ["", "orders", "https://www.notion.so/Orders", "https://x.example/?v=" + "f" * 32]
)
def test_what_is_no_link_is_refused(link):
    with pytest.raises(ValidationError, match="must be a link"):
        notion.NewPage(parent=link, title="x")


def test_a_page_that_is_gone_is_named(near):
    with pytest.raises(RejectedError, match=f"the page {provider.UNSHARED}"):
        notion.append(near, ACCOUNT, notion.MoreText(page=provider.UNSHARED, text="x"))


# queries


def test_rows_are_chosen_by_what_their_columns_equal(near, server):
    for name, status, total in [("a", "open", 2), ("b", "paid", 5), ("c", "open", 9)]:
        create(near, title=name, columns={"Status": status, "Total": total, "Tags": status})

    assert [page["title"] for page in query(near, where={"Status": "open"})["pages"]] == ["a", "c"]
    assert query(near, where={"total": "5", "Name": "b", "Tags": "paid"})["count"] == 1
    assert query(near, filter={"property": "Total", "number": {"equals": 9}})["first"]["title"] == "c"
    assert query(near, where={"Total": 77}) == {"count": 0, "first": None, "pages": []}
    assert [page["title"] for page in query(near, sort_by="Total", descending=True, limit=2)["pages"]] == [
        "c",
        "b",
    ]


def test_many_rows_are_read_page_by_page(near, server):
    for _ in range(230):
        server.add(Name=[])

    assert query(near, limit=1_000)["count"] == 230
    assert query(near, limit=150)["count"] == 150


@pytest.mark.parametrize(
    "fields", [{"where": {"Colour": "red"}}, {"where": {"Sum": 1}}, {"sort_by": "Colour"}]
)
def test_a_column_that_cannot_be_asked_for_is_named(near, fields):
    with pytest.raises(RejectedError, match="column"):
        query(near, **fields)


@pytest.mark.parametrize(
    ("held", "plain"),
    [
        ({"type": "formula", "formula": {"type": "number", "number": 3}}, 3),
        ({"type": "rollup", "rollup": {"type": "array", "array": [{"type": "number", "number": 1}]}}, [1]),
        ({"type": "rollup", "rollup": {"type": "number", "number": 2}}, 2),
        ({"type": "date", "date": {"start": "2026-11-21", "end": None}}, "2026-11-21"),
        ({"type": "date", "date": {"start": "a", "end": "b"}}, {"start": "a", "end": "b"}),
        ({"type": "unique_id", "unique_id": {"prefix": "A", "number": 7}}, "A-7"),
        ({"type": "people", "people": [{"id": "u1", "name": "Ada"}, {"id": "u2"}]}, ["Ada", "u2"]),
        ({"type": "created_by", "created_by": {"id": "u1"}}, "u1"),
        ({"type": "status", "status": None}, None),
        ({"type": "button", "button": {}}, None),
        (None, None),
    ],
)
def test_values_of_notion_are_read_as_plain_ones(held, plain):
    assert notion_values.page({"properties": {"x": held}})["columns"]["x"] == plain


# errors


def test_a_check_tells_where_it_is_connected(near):
    assert notion.check(near, ACCOUNT) == "connected to Example Shop as BitQueue"


def test_a_token_that_notion_refuses_breaks_the_connection(near):
    other = notion.Account(token="ntn_" + "x" * 20)

    with pytest.raises(AuthError, match="copy it again") as failure:
        notion.check(near, other)

    assert "xxx" not in str(failure.value)


def test_a_missing_capability_is_named(near, server):
    server.may_write = False

    with pytest.raises(AuthError, match="give it the capability"):
        create(near)


@pytest.mark.parametrize(
    ("says", "sent", "after"),
    [
        (provider.refuses(429, "rate_limited", "Slow down.", **{"Retry-After": "3"}), False, 3),
        (provider.refuses(409, "conflict_error", "Conflict."), False, None),
        (provider.refuses(503, "service_unavailable", "Down."), False, None),
        (provider.refuses(500, "internal_server_error", "Oops."), True, None),
        (Says(200, b"<html>"), True, None),
        (Says(hang_up=True), True, None),
    ],
)
def test_notion_that_cannot_now_is_asked_again(near, server, says, sent, after):
    server.next["pages"] = [says]

    with pytest.raises(TemporaryError) as failure:
        create(near)

    assert (failure.value.sent, failure.value.after) == (sent, after)


def test_what_fails_before_the_page_is_made_may_be_tried_again(near, server):
    server.next[provider.DATABASE] = [Says(hang_up=True)]

    with pytest.raises(TemporaryError) as failure:
        create(near)

    assert failure.value.sent is False


# changes


def look(near, cursor=None, keys=(), *, at, **fields):
    asked = notion.Changes(database=LINK, **fields)
    return notion.changed(replace(near, now=at), ACCOUNT, asked, cursor, list(keys))


def titles(batch):
    return [occurrence.data["title"] for occurrence in batch.occurrences]


def add(server, name, at):
    server.now = at
    return server.add(Name=[{"type": "text", "text": {"content": name}}])


def minutes(count):
    return NOW + timedelta(minutes=count)


def test_the_first_look_takes_nothing_and_the_next_what_is_new(near, server):
    add(server, "old", minutes(-2))
    first = look(near, at=NOW)
    add(server, "new", minutes(1))

    second = look(near, first.cursor, first.recent_keys, at=minutes(5))
    third = look(near, second.cursor, second.recent_keys, at=minutes(6))

    assert [titles(batch) for batch in (first, second, third)] == [[], ["new"], []]


def test_the_first_look_takes_the_last_ones_if_asked(near, server):
    for number in range(5):
        add(server, f"row {number}", minutes(number - 60))

    first = look(near, at=NOW, first=2)

    assert titles(first) == ["row 3", "row 4"]
    assert titles(look(near, first.cursor, first.recent_keys, at=minutes(5))) == []


def test_a_page_that_changes_again_is_told_again_with_another_key(near, server):
    first = look(near, at=NOW)
    row = add(server, "order", minutes(1))
    second = look(near, first.cursor, first.recent_keys, at=minutes(3))
    server.now = minutes(4)
    server.edit(row)

    third = look(near, second.cursor, second.recent_keys, at=minutes(6))

    assert titles(second) == titles(third) == ["order"]
    assert second.occurrences[0].key != third.occurrences[0].key


def test_pages_of_the_same_minute_are_all_told_once_however_they_fall_between_looks(near, server):
    first = look(near, at=NOW)
    add(server, "a", minutes(1))
    early = look(near, first.cursor, first.recent_keys, at=minutes(1) + timedelta(seconds=20))
    add(server, "b", minutes(1) + timedelta(seconds=50))

    late = look(near, early.cursor, early.recent_keys, at=minutes(2) + timedelta(seconds=20))

    assert titles(early) == []
    assert titles(late) == ["a", "b"]


def test_a_page_that_notions_index_shows_late_is_not_missed(near, server):
    first = look(near, at=NOW)
    second = look(near, first.cursor, first.recent_keys, at=minutes(5))
    add(server, "late", minutes(3))

    assert titles(look(near, second.cursor, second.recent_keys, at=minutes(6))) == ["late"]


def test_more_changes_than_one_look_takes_are_told_by_the_next(near, server):
    first = look(near, at=NOW)
    for number in range(620):
        add(server, str(number), minutes(1))

    second = look(near, first.cursor, first.recent_keys, at=minutes(5))
    third = look(near, second.cursor, second.recent_keys, at=minutes(6))

    assert [len(batch.occurrences) for batch in (second, third)] == [500, 120]
    assert len({occurrence.key for batch in (second, third) for occurrence in batch.occurrences}) == 620


# the judge itself


def request(method, path, body):
    headers = {"content-type": "application/json", "notion-version": "2025-09-03"}
    return Received(method, path, {}, headers, json.dumps(body).encode())


ROW = {"parent": {"data_source_id": provider.SOURCE}, "properties": {}}
TEXT = {"type": "paragraph", "paragraph": {"rich_text": [{"type": "text", "text": {"content": "x"}}]}}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/pages", {"properties": {}}),
        ("POST", "/v1/pages", {"parent": {"data_source_id": provider.SOURCE}}),
        ("POST", "/v1/pages", {**ROW, "parent": {"type": "database_id", "database_id": provider.DATABASE}}),
        ("POST", "/v1/pages", {**ROW, "properties": []}),
        ("POST", "/v1/pages", {**ROW, "children": ["text"]}),
        ("POST", "/v1/pages", {**ROW, "children": [TEXT] * 101}),
        ("POST", "/v1/pages", {**ROW, "colour": "red"}),
        ("PATCH", f"/v1/blocks/{provider.PAGE}/children", {}),
        ("PATCH", f"/v1/blocks/{provider.PAGE}/children", {"children": [{"type": "marquee", "marquee": {}}]}),
        ("PATCH", f"/v1/blocks/{provider.PAGE}/children", {"children": [{**TEXT, "colour": "red"}]}),
        ("POST", f"/v1/data_sources/{provider.SOURCE}/query", {"page_size": "many"}),
        ("POST", f"/v1/data_sources/{provider.SOURCE}/query", {"sorts": [{"property": "x"}]}),
        (
            "POST",
            f"/v1/data_sources/{provider.SOURCE}/query",
            {"sorts": [{"timestamp": "x", "direction": "ascending"}]},
        ),
        ("POST", f"/v1/databases/{provider.DATABASE}/query", {}),
        ("DELETE", "/v1/users/me", {}),
    ],
)
def test_the_stand_in_refuses_what_notions_specification_refuses(method, path, body):
    assert provider.objection(request(method, path, body))


def test_the_stand_in_accepts_what_is_right():
    assert provider.objection(request("POST", "/v1/pages", {**ROW, "children": [TEXT]})) is None
