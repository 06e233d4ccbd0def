import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from app.engine.files import FileStore
from app.integrations import telegram
from app.sdk.declare import InboundRequest, Reply
from app.sdk.errors import AuthError, RefusedError, RejectedError, TemporaryError
from tests.integrations.conftest import NOW
from tests.providers import telegram as provider
from tests.providers.http import Says

SECRET = "k3-Zt7-Q9d-fW2-x8M"
BOT = telegram.Bot(bot_token=provider.TOKEN, hook_secret=SECRET)


@pytest.fixture
def server():
    with provider.telegram_server() as stand_in:
        yield stand_in
        assert stand_in.objections == []


@pytest.fixture
def near(ctx, server):
    return replace(ctx, base_url=server.url)


@pytest.fixture
def with_files(near, engine, world):
    return replace(near, files=FileStore(engine.database, engine.writer, world.workspace.id))


def post(near, **fields):
    return telegram.message(near, BOT, telegram.Message(**{"chat": provider.GROUP, "text": "hello"} | fields))


def test_a_message_is_posted_without_markup_or_previews(near, server):
    output = post(near, text="<b>*order*</b> [x](https://evil.example) 150 €")

    assert server.posts == [
        {
            "chat_id": provider.GROUP,
            "text": "<b>*order*</b> [x](https://evil.example) 150 €",
            "link_preview_options": {"is_disabled": True},
        }
    ]
    assert output == {"message_id": 1, "chat": {"id": int(provider.GROUP), "title": "Orders"}}


def test_markup_silence_and_answers_are_sent_when_asked_for(near, server):
    post(near, chat="@orders", parse_mode="HTML", silent=True, reply_to=7, preview=True)

    [sent] = server.posts
    assert (sent["parse_mode"], sent["disable_notification"]) == ("HTML", True)
    assert sent["reply_parameters"] == {"message_id": 7}


def test_a_chat_may_come_as_the_number_of_an_event(near, server):
    post(near, chat=int(provider.GROUP))

    assert server.posts[0]["chat_id"] == provider.GROUP


@pytest.mark.parametrize("kind", ["photo", "document"])
def test_a_file_of_an_earlier_step_is_uploaded(with_files, server, kind):
    file = with_files.files.save('or"der\r\n.pdf', "application/pdf", [b"%PDF-", b"1.7"])
    post = getattr(telegram, kind)

    post(with_files, BOT, telegram.Media(chat=provider.GROUP, file=file, caption="see", reply_to=7))

    [(name, media_type, body)] = server.files
    assert (media_type, body) == ("application/pdf", b"%PDF-1.7")
    assert "\n" not in name
    assert server.posts[0]["caption"] == "see"
    assert json.loads(server.posts[0]["reply_parameters"]) == {"message_id": 7}


@pytest.mark.parametrize("kind", ["photo", "document"])
def test_a_file_may_be_named_by_its_address(near, server, kind):
    getattr(telegram, kind)(near, BOT, telegram.Media(chat=provider.GROUP, url="https://shop.example/a.jpg"))

    assert server.posts[0][kind] == "https://shop.example/a.jpg"


def test_a_photo_too_large_for_telegram_is_refused_before_it_is_sent(with_files, server):
    file = with_files.files.save("lamp.jpg", "image/jpeg", [b"x" * (10 * 1024 * 1024 + 1)])

    with pytest.raises(RejectedError, match=r"lamp\.jpg is larger than the 10 MB"):
        telegram.photo(with_files, BOT, telegram.Media(chat=provider.GROUP, file=file))

    assert server.received == []


@pytest.mark.parametrize(
    "fields", [{}, {"url": "https://a.example", "file": "fil_" + "0" * 26}, {"url": "file:///etc"}]
)
def test_a_photo_has_one_source(fields):
    with pytest.raises(ValidationError):
        telegram.Media(chat=provider.GROUP, **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"chat": "5"}, "no chat 5 that the bot can see"),
        ({"chat": provider.BLOCKED}, "666 has blocked the bot"),
        ({"chat": provider.MOVED}, f"became a supergroup; use {provider.GROUP}"),
        ({"text": "<b", "parse_mode": "HTML"}, "markup is not closed"),
    ],
)
def test_a_target_that_is_wrong_is_named_with_the_way_out(near, fields, words):
    with pytest.raises(RejectedError, match=words):
        post(near, **fields)


@pytest.mark.parametrize("chat", ["orders", "", "12 34", "@a b", "1;2"])
def test_what_is_no_chat_is_refused(chat):
    with pytest.raises(ValidationError):
        telegram.Message(chat=chat, text="x")


def test_a_token_that_telegram_does_not_know_breaks_the_connection(near):
    other = telegram.Bot(bot_token="999999:" + "x" * 30)

    with pytest.raises(AuthError, match="again from @BotFather") as failure:
        telegram.check(near, other)

    assert "xxx" not in str(failure.value)


@pytest.mark.parametrize(
    ("says", "sent", "after"),
    [
        (
            provider.refuses(429, "Too Many Requests: retry after 35", parameters={"retry_after": 35}),
            False,
            35,
        ),
        (Says(429, b"", {"Retry-After": "7"}), False, 7),
        (provider.refuses(502, "Bad Gateway"), True, None),
        (Says(503), False, None),
        (Says(200, b"<html>"), True, None),
        (Says(hang_up=True), True, None),
    ],
)
def test_telegram_that_cannot_now_is_asked_again(near, server, says, sent, after):
    server.next = [says]

    with pytest.raises(TemporaryError) as failure:
        post(near)

    assert (failure.value.sent, failure.value.after) == (sent, after)
    assert provider.TOKEN not in str(failure.value)


def test_a_check_tells_the_bots_name(near):
    assert telegram.check(near, BOT) == "connected as @orders_bot"


def test_telegram_is_told_where_messages_go_and_the_secret(near, server):
    telegram.listen(near, BOT, telegram.Address(url="https://bq.example/hooks/x"))

    assert server.webhook["url"] == "https://bq.example/hooks/x"
    assert server.webhook["secret_token"] == SECRET
    with pytest.raises(RejectedError, match="has no secret of calls"):
        telegram.listen(
            near, telegram.Bot(bot_token=provider.TOKEN), telegram.Address(url="https://x.example")
        )


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("sendMessage", {"chat_id": "1"}, "missing field text"),
        ("sendMessage", {"chat_id": "1", "text": "x", "colour": "red"}, "unknown field colour"),
        ("sendMessage", {"chat_id": 1.5, "text": "x"}, "chat_id is none of"),
        (
            "sendMessage",
            {"chat_id": 1, "text": "x", "link_preview_options": {"off": True}},
            "link_preview_options",
        ),
        ("sendPhoto", {"chat_id": "1"}, "missing field photo"),
        ("sendDocument", {"chat_id": "1", "document": 5}, "document is none of"),
        ("setWebhook", {}, "missing field url"),
        ("getMe", {"x": 1}, "unknown field x"),
        ("sendSmoke", {}, "unknown method"),
    ],
)
def test_the_stand_in_refuses_what_telegrams_specification_refuses(method, given, words):
    assert words in provider.objection(method, given)


# calls from Telegram

MESSAGE = {
    "message_id": 42,
    "from": {"id": 12345, "is_bot": False, "first_name": "Ada", "last_name": "Example", "username": "ada"},
    "chat": {"id": -1001234567890, "type": "supergroup", "title": "Orders"},
    "date": 1763715600,
    "text": "is order A-1001 paid?",
}


def call(body, secret=SECRET):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", "x-telegram-bot-api-secret-token": secret}
    return InboundRequest("POST", headers, {}, raw, NOW, "https://bq.example/hooks/x")


def heard(update, **params):
    return telegram.received(call({"update_id": 10000} | update), BOT, telegram.Heard(**params))


def test_a_message_becomes_an_event_named_by_its_update():
    [occurrence] = heard({"message": MESSAGE})

    assert occurrence.key == "10000"
    assert occurrence.data["text"] == "is order A-1001 paid?"
    assert occurrence.data["from"] == {"id": 12345, "name": "Ada Example", "username": "ada"}
    assert occurrence.data["at"] == "2025-11-21T09:00:00.000Z"


def test_a_photo_is_told_by_its_largest_size():
    photo = [{"file_id": "small", "file_size": 1}, {"file_id": "large", "file_size": 9}]

    [occurrence] = heard({"message": {**MESSAGE, "text": None, "caption": "a lamp", "photo": photo}})

    assert occurrence.data["text"] == "a lamp"
    assert (occurrence.data["file"]["id"], occurrence.data["file"]["bytes"]) == ("large", 9)


@pytest.mark.parametrize(
    ("update", "params"),
    [
        ({"edited_message": MESSAGE}, {}),
        ({"my_chat_member": {}}, {}),
        ({}, {}),
        ({"message": MESSAGE}, {"chat": "5"}),
    ],
)
def test_what_a_rule_does_not_wait_for_is_taken_without_an_event(update, params):
    assert heard(update, **params) == Reply("")


def test_changes_count_where_they_are_wanted():
    assert (
        heard({"edited_message": MESSAGE}, edited=True, chat="-1001234567890")[0].data["kind"]
        == "edited_message"
    )


@pytest.mark.parametrize("secret", ["", SECRET + "x", SECRET[:-1] + "N", SECRET.lower(), "é"])
def test_a_call_with_another_secret_is_refused(secret):
    with pytest.raises(RefusedError) as refused:
        telegram.received(call({"update_id": 1}, secret), BOT, telegram.Heard())

    assert refused.value.status == 401


def test_without_a_secret_nothing_is_believed():
    with pytest.raises(RefusedError):
        telegram.received(
            call({"update_id": 1}, ""), telegram.Bot(bot_token=provider.TOKEN), telegram.Heard()
        )


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"update_id": "1"}', b"\xff"])
def test_a_body_that_is_no_update_is_refused(body):
    with pytest.raises(RefusedError) as refused:
        telegram.received(call(body), BOT, telegram.Heard())

    assert refused.value.status == 400
