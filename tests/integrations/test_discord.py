import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from app.integrations.discord import ChannelWebhook, Message, check, message
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests.providers import discord as provider
from tests.providers.http import Received, Says

CONNECTION = ChannelWebhook(webhook_url=provider.URL)


@pytest.fixture
def channel():
    with provider.discord_server() as stand_in:
        yield stand_in
        assert stand_in.objections == []


@pytest.fixture
def near(ctx, channel):
    return replace(ctx, base_url=channel.url + "/")


def post(near, **fields):
    return message(near, CONNECTION, Message(**fields))


def test_a_message_is_posted_and_calls_nobody(near, channel):
    output = post(near, text="order A-1001 over 150 €")

    assert channel.messages == [
        {"content": "order A-1001 over 150 €", "allowed_mentions": {"parse": []}, "thread": None}
    ]
    assert output == {"message_id": "1440000000000000001", "channel_id": "1440000000000000000"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@everyone @here", "@\u200beveryone @\u200bhere"),
        ("<@123> <@&4> <#5>", r"\<@123\> \<@&4\> \<\#5\>"),
        ("**bold** ||secret||", r"\*\*bold\*\* \|\|secret\|\|"),
        ("[your bank](https://evil.example)", r"\[your bank\]\(https://evil.example\)"),
        ("see https://shop.example/a_b_c now", "see https://shop.example/a_b_c now"),
        ("# big\n- one\n1. two\n-5", "\\# big\n\\- one\n1\\. two\n-5"),
        ("\\*", "\\\\\\*"),
    ],
)
def test_values_are_text_and_not_markup(near, channel, text, expected):
    post(near, text=text)

    [sent] = channel.messages
    assert sent["content"] == expected
    assert sent["allowed_mentions"] == {"parse": []}


def test_the_author_of_a_rule_can_call_those_who_are_online_and_a_value_nobody_more(near, channel):
    post(near, text="**@everyone** look", notify="here", markup=True)

    [sent] = channel.messages
    assert sent["content"] == "@here **@\u200beveryone** look"
    assert sent["allowed_mentions"] == {"parse": ["everyone"]}


def test_embeds_hold_text_and_not_markup(near, channel):
    box = {"title": "*A*", "url": "https://a.example/x_y", "fields": [{"name": "_n_", "value": 1}]}

    with pytest.raises(RejectedError):
        post(near, embeds=[box])
    channel.objections.clear()
    box["fields"][0]["value"] = "[x](https://e.example)"
    post(near, embeds=[box], username="Shop", thread_id=provider.THREAD)

    [sent] = channel.messages
    assert sent["embeds"][0]["title"] == r"\*A\*"
    assert sent["embeds"][0]["url"] == "https://a.example/x_y"
    assert sent["embeds"][0]["fields"] == [{"name": r"\_n\_", "value": r"\[x\]\(https://e.example\)"}]
    assert (sent["username"], sent["thread"]) == ("Shop", provider.THREAD)


def test_embeds_may_be_one_value_of_an_earlier_step(near, channel):
    post(near, embeds=[[{"title": "a"}, {"title": "b"}]])

    assert channel.messages[0]["embeds"] == [{"title": "a"}, {"title": "b"}]


def test_a_text_too_long_once_escaped_is_not_sent(near, channel):
    with pytest.raises(RejectedError, match="longer than discord's 2000"):
        post(near, text="*" * 1_001)

    assert channel.received == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"thread_id": provider.ARCHIVED}, "archived; unarchive"), ({"thread_id": "9"}, "the thread is gone")],
)
def test_a_thread_that_is_wrong_is_named(near, fields, words):
    with pytest.raises(RejectedError, match=words):
        post(near, text="x", **fields)


@pytest.mark.parametrize("url", [provider.URL[:-1] + "x", provider.URL.replace("1234", "9234")])
def test_a_webhook_that_is_gone_breaks_the_connection(near, url):
    gone = ChannelWebhook(webhook_url=url)

    for call in (lambda: check(near, gone), lambda: message(near, gone, Message(text="x"))):
        with pytest.raises(AuthError, match="make a new one") as failure:
            call()
        assert "AbCd" not in str(failure.value)


@pytest.mark.parametrize(
    ("says", "sent", "after"),
    [
        (provider.too_many(1.5), False, 1.5),
        (Says(429, b"", {"Retry-After": "7"}), False, 7),
        (Says(503), False, None),
        (Says(500), True, None),
        (Says(hang_up=True), True, None),
        (Says(302, headers={"Location": "https://elsewhere.example"}), True, None),
    ],
)
def test_discord_that_cannot_now_is_asked_again(near, channel, says, sent, after):
    channel.next = [says]

    with pytest.raises(TemporaryError) as failure:
        post(near, text="x")

    assert (failure.value.sent, failure.value.after) == (sent, after)


def test_an_unknown_refusal_is_told_in_discords_words(near, channel):
    channel.next = [provider.refuses(400, 1, "No\nThanks.")]

    with pytest.raises(RejectedError, match=r"no Thanks \(1\)"):
        post(near, text="x")


def test_a_check_tells_the_webhooks_name(near, channel):
    assert "Orders" in check(near, CONNECTION)
    assert channel.messages == []


@pytest.mark.parametrize(
    "url",
    [
        "https://discord.com.evil.example/api/webhooks/123456/abcdefghijkl",
        "http://discord.com/api/webhooks/123456/abcdefghijkl",
        "https://discord.com/api/webhooks/123456/abc/../../../x",
        "https://discord.com/api/channels/123456",
        "",
    ],
)
def test_what_is_no_webhook_of_discords_is_refused_beside_its_field(url):
    with pytest.raises(ValidationError, match="copy it whole"):
        ChannelWebhook(webhook_url=url)


def test_an_empty_message_is_refused_before_it_is_sent():
    with pytest.raises(ValidationError, match="write a text, embeds, or both"):
        Message(text=" ")


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("POST", {"content": 5}),
        ("POST", {"content": "x" * 2_001}),
        ("POST", {"content": "x", "allowed_mentions": {"parse": ["all"]}}),
        ("POST", {"embeds": [{"title": "x" * 257}]}),
        ("POST", {"content": "x", "colour": "red"}),
        ("PUT", {}),
    ],
)
def test_the_stand_in_refuses_what_discords_specification_refuses(method, body):
    path = f"/api/v10/webhooks/{provider.ID}/{provider.TOKEN}"
    request = Received(method, path, {}, {"content-type": "application/json"}, json.dumps(body).encode())

    assert provider.objection(request)
