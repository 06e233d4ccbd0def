import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from app.integrations.msteams import Message, Workflow, check, message
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests.providers import msteams as provider
from tests.providers.http import Says

CONNECTION = Workflow(webhook_url=provider.URL)


@pytest.fixture
def workflow():
    with provider.msteams_server() as stand_in:
        yield stand_in
        assert stand_in.objections == []


@pytest.fixture
def near(ctx, workflow):
    return replace(ctx, base_url=workflow.url)


def post(near, **fields):
    return message(near, CONNECTION, Message(**fields))


def texts(card):
    return [[run["text"] for run in block["inlines"]] for block in card["body"]]


def test_a_message_is_posted_as_an_adaptive_card(near, workflow):
    output = post(
        near,
        title="order A-1001",
        text="over 150 €\nthanks",
        facts={"customer": "Ada", "total": 150},
        link="https://shop.example/A-1001",
    )

    [card] = workflow.cards
    assert card["version"] == "1.5"
    assert texts(card) == [
        ["order A-1001"],
        ["over 150 €"],
        ["thanks"],
        ["customer: ", "Ada"],
        ["total: ", "150"],
    ]
    assert card["actions"][0]["url"] == "https://shop.example/A-1001"
    assert output == {"posted": True}


@pytest.mark.parametrize(
    "text", ["**bold** [x](https://evil.example)", "<at>everyone</at>", "<script>x</script>", "- a"]
)
def test_values_stand_where_teams_reads_no_markup(near, workflow, text):
    post(near, title=text, text=text, facts={text: text})

    [card] = workflow.cards
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert texts(card)[:2] == [[text], [text]]
    assert "msteams" not in card


def test_markdown_is_sent_as_such_when_asked_for(near, workflow):
    post(near, text="**bold**", markup=True)

    assert workflow.cards[0]["body"] == [{"type": "TextBlock", "text": "**bold**", "wrap": True}]


def test_many_lines_all_arrive(near, workflow):
    post(near, text="\n".join(str(number) for number in range(250)))

    [card] = workflow.cards
    assert len(card["body"]) == 100
    assert card["body"][-1]["inlines"][0]["text"].endswith(" 249")


def test_a_card_of_ones_own_is_posted_as_it_is(near, workflow):
    card = {"type": "AdaptiveCard", "version": "1.5", "body": [{"type": "TextBlock", "text": "A-1001"}]}

    post(near, card=card)

    assert workflow.cards == [card]


def test_a_card_that_teams_cannot_read_is_final(near, workflow):
    with pytest.raises(RejectedError, match="400 TriggerInputSchemaMismatch"):
        post(near, card={"type": "AdaptiveCard", "version": "1.5", "body": [{"type": "TextBlock"}]})

    workflow.objections.clear()


def test_a_message_too_large_for_teams_is_not_sent(near, workflow):
    with pytest.raises(RejectedError, match="28 KB"):
        post(near, text="ü" * 6_000)

    assert workflow.received == []


def test_a_workflow_that_is_off_or_gone_breaks_the_connection(near, workflow):
    forged = Workflow(webhook_url=provider.URL[:-1] + "x")
    gone = Workflow(webhook_url=provider.URL.replace("0a1b2c3d", "ffff"))
    for connection in (forged, gone):
        with pytest.raises(AuthError, match="copy it again from teams") as failure:
            message(near, connection, Message(text="x"))
        assert "sig=" not in str(failure.value)

    workflow.on = False
    with pytest.raises(AuthError):
        post(near, text="x")


@pytest.mark.parametrize(
    ("says", "sent", "after"),
    [
        (Says(429, b"", {"Retry-After": "17"}), False, 17),
        (Says(503), False, None),
        (Says(502), True, None),
        (Says(hang_up=True), True, None),
    ],
)
def test_teams_that_cannot_now_is_asked_again(near, workflow, says, sent, after):
    workflow.next = [says]

    with pytest.raises(TemporaryError) as failure:
        post(near, text="x")

    assert (failure.value.sent, failure.value.after) == (sent, after)


@pytest.mark.parametrize(("says", "words"), [(Says(413), "too large"), (Says(302), "302 no reason given")])
def test_another_refusal_is_final(near, workflow, says, words):
    workflow.next = [says]

    with pytest.raises(RejectedError, match=words):
        post(near, text="x")


def test_a_check_posts_nothing(near, workflow):
    assert "first message proves it" in check(near, CONNECTION)
    assert workflow.received == []


@pytest.mark.parametrize(
    "url",
    [
        "https://logic.azure.com.evil.example/workflows/x",
        "https://evil.example/?.logic.azure.com/",
        "http://prod-00.westeurope.logic.azure.com/workflows/x",
        "https://prod-00.westeurope.logic.azure.com:8443/workflows/x",
        "https://u@prod-00.westeurope.logic.azure.com/workflows/x",
        "",
    ],
)
def test_what_is_no_workflow_is_refused_beside_its_field(url):
    with pytest.raises(ValidationError, match="copy it whole from teams"):
        Workflow(webhook_url=url)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://a.example/ x", "shop.example"])
def test_a_button_leads_to_a_page_only(link):
    with pytest.raises(ValidationError):
        Message(text="x", link=link)


def test_an_empty_message_is_refused():
    with pytest.raises(ValidationError, match="write a title"):
        Message()


def card(**changed):
    content = {"type": "AdaptiveCard", "version": "1.5", "body": []} | changed
    return {"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive",
                                                "content": content}]}  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "x"},
        {"type": "message", "attachments": []},
        json.loads(json.dumps(card()).replace("card.adaptive", "card.hero")),
        card(type="HeroCard"),
        card(body=[{"type": "TextBlock"}]),
        card(body=[{"type": "TextBlock", "text": 5}]),
        card(body=[{"type": "Marquee", "text": "x"}]),
        card(actions=[{"type": "Action.OpenUrl", "title": "no url"}]),
    ],
)
def test_the_stand_in_refuses_what_the_schema_refuses(body):
    assert provider.objection(body)
