import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from app.integrations.slack import IncomingWebhook, Message, check, message
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests.providers import slack as provider
from tests.providers.http import Says

ORIGIN = "https://hooks.slack.com"
CONNECTION = IncomingWebhook(webhook_url=ORIGIN + provider.PATH)


@pytest.fixture
def server():
    with provider.slack_server() as stand_in:
        yield stand_in


@pytest.fixture
def slack_ctx(ctx, server):
    return replace(ctx, base_url=server.url + "/")


def posted(server):
    return server.received[-1].json()["text"]


def webhook(path):
    return IncomingWebhook(webhook_url=ORIGIN + path)


def test_a_message_is_posted_by_slacks_own_client(slack_ctx, server):
    output = message(slack_ctx, CONNECTION, Message(text="order A-1001 over 150 €"))

    [received] = server.received
    assert (received.method, received.path) == ("POST", provider.PATH)
    assert received.json() == {"text": "order A-1001 over 150 €"}
    assert "slackclient" in received.headers["user-agent"]
    assert output == {"posted": True, "text": "order A-1001 over 150 €"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<!channel> look", "&lt;!channel&gt; look"),
        ("<@U012AB3CD>", "&lt;@U012AB3CD&gt;"),
        ("<https://evil.example|your bank>", "&lt;https://evil.example|your bank&gt;"),
        ("a & b &lt;!here&gt;", "a &amp; b &amp;lt;!here&amp;gt;"),
        (150, "150"),
    ],
)
def test_values_cannot_call_people_or_hide_links(slack_ctx, server, text, expected):
    message(slack_ctx, CONNECTION, Message(text=text))

    assert posted(server) == expected


@pytest.mark.parametrize(
    "call", ["<!channel>", "<!here>", "<!everyone>", "<!subteam^SAZ94GDB8>", "<!here|here>"]
)
def test_even_markup_cannot_call_everyone(slack_ctx, server, call):
    message(slack_ctx, CONNECTION, Message(text=f"{call} <https://shop.example|order>", markup=True))

    assert "<!" not in posted(server)
    assert "<https://shop.example|order>" in posted(server)


def test_the_author_of_a_rule_can_call_the_channel(slack_ctx, server):
    message(slack_ctx, CONNECTION, Message(text="<!here>", notify="channel"))

    assert posted(server) == "<!channel> &lt;!here&gt;"


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/services/T0001/B0001/wrong", AuthError, "invalid_token"),
        (provider.DISABLED_PATH, AuthError, "no_service"),
        (provider.ARCHIVED_PATH, RejectedError, "unarchive it"),
    ],
)
def test_a_webhook_that_slack_refuses_is_told_apart(slack_ctx, path, error, words):
    with pytest.raises(error, match=words) as failure:
        message(slack_ctx, webhook(path), Message(text="hello"))

    assert path not in str(failure.value)


@pytest.mark.parametrize(
    ("says", "sent", "after"),
    [
        (Says(429, b"rate_limited", {"Retry-After": "30"}), False, 30),
        (Says(503, b"<html>down</html>"), False, None),
        (Says(500, b"rollup_error"), False, None),
        (Says(502), True, None),
        (Says(hang_up=True), True, None),
    ],
)
def test_slack_that_cannot_now_is_asked_again_only_if_nothing_was_posted(
    slack_ctx, server, says, sent, after
):
    server.answer = lambda received: says

    with pytest.raises(TemporaryError) as failure:
        message(slack_ctx, CONNECTION, Message(text="hello"))

    assert (failure.value.sent, failure.value.after) == (sent, after)


def test_an_answer_that_nobody_knows_is_final_and_not_repeated_raw(slack_ctx, server):
    server.answer = lambda received: Says(400, b"<b>Secret Detail</b>")

    with pytest.raises(RejectedError, match=r"400 no reason given"):
        message(slack_ctx, CONNECTION, Message(text="hello"))


def test_a_redirect_is_not_followed(slack_ctx, server):
    server.answer = lambda received: Says(302, headers={"Location": server.url + "/elsewhere"})

    with pytest.raises(RejectedError):
        message(slack_ctx, CONNECTION, Message(text="hello"))

    assert len(server.received) == 1


def test_a_check_posts_nothing(slack_ctx, server):
    assert check(slack_ctx, CONNECTION) == "slack knows this webhook; nothing was posted"
    assert [json.loads(received.body) for received in server.received] == [{}]


@pytest.mark.parametrize("path", ["/services/T0001/B0001/wrong", provider.DISABLED_PATH])
def test_a_check_tells_a_webhook_that_is_gone(slack_ctx, path):
    with pytest.raises(AuthError):
        check(slack_ctx, webhook(path))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com.evil.example/services/T/B/X",
        "https://evil.example/https://hooks.slack.com/",
        "http://hooks.slack.com/services/T/B/X",
        "https://hooks.slack.com:8443/services/T/B/X",
        "http://169.254.169.254/latest",
    ],
)
def test_a_webhook_that_is_not_slacks_is_not_called(ctx, url):
    with pytest.raises(RejectedError, match=r"must begin with https://hooks\.slack\.com/"):
        message(ctx, IncomingWebhook(webhook_url=url), Message(text="hello"))


@pytest.mark.parametrize("url", ["", "hooks.slack.com/services/T/B/X", "https://hooks.slack.com", "T0/B0/X"])
def test_what_is_no_url_is_refused_beside_its_field(url):
    with pytest.raises(ValidationError, match="must be an address that begins with"):
        IncomingWebhook(webhook_url=url)


def test_the_clients_log_does_not_hold_the_webhook(slack_ctx, caplog):
    caplog.set_level("DEBUG")

    message(slack_ctx, CONNECTION, Message(text="hello"))

    assert "kX9s" not in caplog.text


def test_proxy_variables_are_ignored(slack_ctx, server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")

    assert message(slack_ctx, CONNECTION, Message(text="hello"))["posted"]
