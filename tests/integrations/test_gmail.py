import json
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy

import pytest
from pydantic import SecretStr, ValidationError

from app.engine.files import FileStore
from app.integrations.gmail import (
    Account,
    Labels,
    Mail,
    Reply,
    Search,
    check,
    gmail,
    label,
    new_mail,
    reply,
    send,
)
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests.integrations.conftest import NOW
from tests.providers import google as provider
from tests.providers.gmail import SCOPE, GmailApi
from tests.providers.http import Says

RECEIVED = b"""From: "Doe, Jane" <jane@example.com>\r
To: ada@example.com, bob@example.com\r
Cc: carl@example.com\r
Subject: =?utf-8?q?Bestellung_=C3=A4?=\r
Message-ID: <one@example.com>\r
References: <zero@example.com>\r
Date: Sat, 21 Nov 2026 08:58:12 +0000\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=x\r
\r
--x\r
Content-Type: text/plain; charset=utf-8\r
\r
two of the blue ones\r
--x\r
Content-Type: text/csv\r
Content-Disposition: attachment; filename="../orders.csv"\r
\r
a,b\r
--x--\r
"""
SECONDS = int(NOW.timestamp())


@pytest.fixture
def mailbox():
    return GmailApi()


@pytest.fixture
def google(mailbox):
    with provider.google_server(mailbox) as server:
        yield server


@pytest.fixture
def files(engine, world):
    return FileStore(engine.database, engine.writer, world.workspace.id)


@pytest.fixture
def gmail_ctx(ctx, google, files):
    return replace(ctx, base_url=google.url, files=files)


@pytest.fixture
def connection(google):
    return account(google, SCOPE)


def account(google, *scopes):
    access, refresh = google.sign_in(*scopes)
    return Account(
        client_id=provider.CLIENT_ID,
        client_secret=provider.CLIENT_SECRET,
        access_token=access,
        refresh_token=refresh,
        expires_at=NOW + timedelta(hours=1),
        granted=list(scopes),
    )


def robot(**more):
    return Account(method="service_account", service_account_key=provider.service_account_key(), **more)


def mail(**more):
    return Mail(**{"to": ["ada@example.com"], "subject": "order A-1001", "text": "the total is 150"} | more)


def sent(mailbox):
    raw = list(mailbox.mails.values())[-1].raw
    return message_from_bytes(raw, policy=policy.default)


# send


def test_a_mail_is_sent_by_googles_own_client(gmail_ctx, connection, mailbox, google):
    output = send(
        gmail_ctx, connection, mail(cc=["Bob <bob@example.com>"], bcc=["c@example.com"], html="<b>150</b>")
    )

    message = sent(mailbox)
    assert (message["To"], message["Cc"], message["Bcc"]) == (
        "ada@example.com",
        "Bob <bob@example.com>",
        "c@example.com",
    )
    assert message.get_body(("plain",)).get_content().strip() == "the total is 150"
    assert message.get_body(("html",)).get_content().strip() == "<b>150</b>"
    assert output == {"id": sent_id(mailbox), "thread_id": sent_id(mailbox), "to": ["ada@example.com"]}
    assert "gdcl/" in google.received[-1].headers["x-goog-api-client"]
    assert google.received[-1].path == "/upload/gmail/v1/users/me/messages/send"


def sent_id(mailbox):
    return list(mailbox.mails)[-1]


def was_sent(ctx, connection, since=NOW - timedelta(seconds=2), params=None, action="send"):
    return gmail.actions[action].confirm(ctx, connection, params or mail(), since)


def test_a_mail_that_was_sent_is_found_by_its_task(gmail_ctx, connection, mailbox):
    output = send(gmail_ctx, connection, mail())
    for number in range(3):
        send(replace(gmail_ctx, idempotency_key=f"tsk_other{number}"), connection, mail())
        mailbox.receive(RECEIVED, at=SECONDS)

    assert was_sent(gmail_ctx, connection) == output
    assert was_sent(replace(gmail_ctx, idempotency_key="tsk_not_done"), connection) is None


def test_a_mail_of_the_task_from_before_is_another_one(gmail_ctx, connection):
    send(gmail_ctx, connection, mail())

    assert was_sent(gmail_ctx, connection, since=NOW + timedelta(minutes=1)) is None


def test_an_answer_that_was_sent_is_found_by_its_task(gmail_ctx, connection, mailbox):
    params = Reply(message=mailbox.receive(RECEIVED, at=SECONDS).id, text="thank you")
    output = reply(gmail_ctx, connection, params)

    assert was_sent(gmail_ctx, connection, params=params, action="reply") == output


def test_more_mails_than_can_be_looked_at_are_no_answer(gmail_ctx, connection, mailbox):
    mailbox.page = 2
    for number in range(3):
        send(replace(gmail_ctx, idempotency_key=f"tsk_other{number}"), connection, mail())

    with pytest.raises(TemporaryError, match="more mails were sent"):
        was_sent(gmail_ctx, connection)


def test_files_of_earlier_steps_go_along(gmail_ctx, connection, mailbox, files):
    file = files.save("über.pdf", "application/pdf", [b"%PDF", b"-1.7 \n.\r\n"])

    send(gmail_ctx, connection, mail(attachments=[file.model_dump()]))

    [attachment] = sent(mailbox).iter_attachments()
    assert (attachment.get_filename(), attachment.get_content_type()) == ("über.pdf", "application/pdf")
    assert attachment.get_content() == b"%PDF-1.7 \n.\r\n"


def test_files_that_are_too_large_are_refused_before_anything_is_sent(gmail_ctx, connection, files, google):
    refs = [files.save(f"{n}.bin", "application/octet-stream", [b"x" * 14_000_000]) for n in range(2)]

    with pytest.raises(RejectedError, match="25"):
        send(gmail_ctx, connection, mail(attachments=refs))

    assert google.received == []


@pytest.mark.parametrize(
    "more",
    [
        {"subject": "order\r\nBcc: eve@example.com"},
        {"to": ["ada@example.com, eve@example.com"]},
        {"to": ["ada@example.com\r\nBcc: eve@example.com"]},
        {"reply_to": ["a@example.com <b@example.com>"]},
        {"to": []},
        {"text": ""},
    ],
)
def test_what_would_make_another_mail_of_it_is_refused(more):
    with pytest.raises(ValidationError):
        mail(**more)


# answer


def test_an_answer_stays_in_its_conversation(gmail_ctx, connection, mailbox):
    before = mailbox.receive(RECEIVED, at=SECONDS)

    output = reply(gmail_ctx, connection, Reply(message=before.id, text="on its way"))

    message = sent(mailbox)
    assert output["thread_id"] == before.thread
    assert message["To"].addresses[0].addr_spec == "jane@example.com"
    assert (message["Cc"], message["Subject"]) == (None, "Re: Bestellung ä")
    assert message["In-Reply-To"] == "<one@example.com>"
    assert message["References"].split() == ["<zero@example.com>", "<one@example.com>"]


def test_an_answer_to_all_leaves_out_oneself(gmail_ctx, connection, mailbox):
    before = mailbox.receive(RECEIVED, at=SECONDS)

    reply(gmail_ctx, connection, Reply(message=before.id, text="on its way", to_all=True))

    assert [one.addr_spec for one in sent(mailbox)["Cc"].addresses] == ["bob@example.com", "carl@example.com"]


def test_a_strangers_headers_add_nobody(gmail_ctx, connection, mailbox):
    raw = RECEIVED.replace(
        b'"Doe, Jane"', b"=?utf-8?q?eve=40evil=2Eexample=2C=0D=0ABcc=3A_x=40evil=2Eexample?="
    )
    before = mailbox.receive(raw, at=SECONDS)

    reply(gmail_ctx, connection, Reply(message=before.id, text="on its way"))

    message = sent(mailbox)
    assert [one.addr_spec for one in message["To"].addresses] == ["jane@example.com"]
    assert message["Bcc"] is None


def test_a_mail_that_is_gone_is_named(gmail_ctx, connection):
    with pytest.raises(RejectedError, match="google has no mail 18c2f1a0b7d3ffff"):
        reply(gmail_ctx, connection, Reply(message="18c2f1a0b7d3ffff", text="on its way"))


# label


def test_labels_are_put_on_and_taken_off_by_name(gmail_ctx, connection, mailbox):
    mailbox.labels["Orders"] = "Label_7"
    before = mailbox.receive(RECEIVED, at=SECONDS)

    output = label(
        gmail_ctx, connection, Labels(message=before.id, add=["orders", "Starred"], remove=["unread"])
    )

    assert output["labels"] == ["INBOX", "Label_7", "STARRED"]


def test_a_label_that_is_missing_is_made(gmail_ctx, connection, mailbox):
    before = mailbox.receive(RECEIVED, at=SECONDS)

    label(gmail_ctx, connection, Labels(message=before.id, add=["Orders"]))

    assert mailbox.labels["Orders"] in before.labels


@pytest.mark.parametrize("params", [{"add": ["Orders"], "make": False}, {"remove": ["Orders"]}])
def test_a_label_that_is_missing_and_not_made_is_named(gmail_ctx, connection, mailbox, params):
    before = mailbox.receive(RECEIVED, at=SECONDS)

    with pytest.raises(RejectedError, match="gmail has no label Orders"):
        label(gmail_ctx, connection, Labels(message=before.id, **params))


# new mail


def look(ctx, connection, cursor=None, keys=(), **params):
    return new_mail(ctx, connection, Search(**params), cursor, list(keys))


def ids(batch):
    return [one.key for one in batch.occurrences]


def test_the_first_look_takes_what_comes_from_now(gmail_ctx, connection, mailbox):
    old = mailbox.receive(RECEIVED, at=SECONDS - 60)

    first = look(gmail_ctx, connection)
    new = mailbox.receive(RECEIVED, at=SECONDS - 1)
    second = look(gmail_ctx, connection, first.cursor, first.recent_keys)

    assert (ids(first), first.recent_keys) == ([], [old.id])
    assert ids(second) == [new.id]


def test_the_first_look_takes_the_last_ones_if_asked(gmail_ctx, connection, mailbox):
    kept = [mailbox.receive(RECEIVED, at=SECONDS - 86_400 * (3 - n)) for n in range(3)]

    first = look(gmail_ctx, connection, first=2)
    second = look(gmail_ctx, connection, first.cursor, first.recent_keys)

    assert ids(first) == [kept[1].id, kept[2].id]
    assert ids(second) == []


def test_mails_of_one_second_are_each_taken_once(gmail_ctx, connection, mailbox):
    first = look(gmail_ctx, connection)
    one = mailbox.receive(RECEIVED, at=SECONDS + 5)
    second = look(gmail_ctx, connection, first.cursor, first.recent_keys)
    two = mailbox.receive(RECEIVED, at=SECONDS + 5)
    third = look(gmail_ctx, connection, second.cursor, second.recent_keys)
    fourth = look(gmail_ctx, connection, third.cursor, third.recent_keys)

    assert (ids(second), ids(third), ids(fourth)) == ([one.id], [two.id], [])


def test_more_than_one_look_takes_wait_for_the_next(gmail_ctx, connection, mailbox):
    mailbox.page = 20
    batch = look(gmail_ctx, connection)
    arrived = [mailbox.receive(RECEIVED, at=SECONDS + n).id for n in range(60)]
    taken = []

    for _ in range(4):
        batch = look(gmail_ctx, connection, batch.cursor, batch.recent_keys)
        taken.append(ids(batch))

    assert [len(each) for each in taken] == [25, 25, 10, 0]
    assert [key for each in taken for key in each] == arrived


def test_a_mail_that_is_marked_as_unread_again_is_no_new_one(gmail_ctx, connection, mailbox):
    batch = look(gmail_ctx, connection, query="is:unread")
    kept = mailbox.receive(RECEIVED, at=SECONDS)
    batch = look(gmail_ctx, connection, batch.cursor, batch.recent_keys, query="is:unread")
    kept.labels = ["INBOX"]
    batch = look(gmail_ctx, connection, batch.cursor, batch.recent_keys, query="is:unread")
    kept.labels = ["INBOX", "UNREAD"]

    batch = look(gmail_ctx, connection, batch.cursor, batch.recent_keys, query="is:unread")

    assert ids(batch) == []


def test_a_new_mail_is_read_with_its_files_by_reference(gmail_ctx, connection, mailbox, files):
    first = look(gmail_ctx, connection, query="subject:bestellung OR from:jane")
    first = look(gmail_ctx, connection, query="from:jane")
    mailbox.receive(RECEIVED, at=SECONDS)

    [occurrence] = look(gmail_ctx, connection, first.cursor, first.recent_keys, query="from:jane").occurrences

    data = json.loads(json.dumps(occurrence.data))
    assert data["from"] == {"name": "Doe, Jane", "address": "jane@example.com"}
    assert (data["subject"], data["text"].strip()) == ("Bestellung ä", "two of the blue ones")
    [attachment] = data["attachments"]
    assert attachment["file"]["sha256"]
    assert mailbox.searches[-1].startswith("(from:jane) after:")


def test_a_mail_that_was_deleted_meanwhile_is_passed_over(gmail_ctx, connection, mailbox, google):
    first = look(gmail_ctx, connection)
    mailbox.receive(RECEIVED, at=SECONDS)
    gone = mailbox.users_messages_get
    mailbox.users_messages_get = lambda call: (mailbox.mails.clear(), gone(call))[1]

    batch = look(gmail_ctx, connection, first.cursor, first.recent_keys)

    assert ids(batch) == []


# check, and what goes wrong


def test_a_check_tells_whose_mailbox_it_is(gmail_ctx, connection):
    assert check(gmail_ctx, connection) == "connected to ada@example.com"


def test_a_service_account_acts_as_a_person(gmail_ctx, google):
    google.delegated.add("bob@example.com")

    assert check(gmail_ctx, robot(subject="bob@example.com")) == "connected to bob@example.com"


def test_an_access_that_ended_asks_to_connect_again(gmail_ctx, connection, google):
    google.revoke()

    with pytest.raises(AuthError, match="connect it again"):
        send(gmail_ctx, connection, mail())


def test_a_scope_that_is_missing_is_named(gmail_ctx, google):
    reading = account(google, "https://www.googleapis.com/auth/gmail.readonly")

    with pytest.raises(AuthError, match=r"auth/gmail\.modify"):
        send(gmail_ctx, reading, mail())


@pytest.mark.parametrize(
    ("says", "after"),
    [
        (provider.says_error(429, "rateLimitExceeded", **{"Retry-After": "30"}), 30),
        (provider.says_error(403, "userRateLimitExceeded"), None),
        (provider.says_error(403, "dailyLimitExceeded"), None),
    ],
)
def test_a_quota_waits_and_nothing_was_sent(gmail_ctx, connection, google, says, after):
    google.fail(says)

    with pytest.raises(TemporaryError) as failure:
        send(gmail_ctx, connection, mail())

    assert (failure.value.sent, failure.value.after) == (False, after)


@pytest.mark.parametrize("says", [Says(503), provider.says_error(500, "backendError"), Says(hang_up=True)])
def test_nobody_knows_whether_a_mail_was_sent_when_google_broke_off(gmail_ctx, connection, google, says):
    google.fail(says)

    with pytest.raises(TemporaryError) as failure:
        send(gmail_ctx, connection, mail())

    assert failure.value.sent is True


def test_what_google_refuses_is_final(gmail_ctx, connection, google):
    google.fail(provider.says_error(400, "invalidArgument", "Invalid To header"))

    with pytest.raises(RejectedError, match="Invalid To header"):
        send(gmail_ctx, connection, mail())


def test_an_api_that_is_switched_off_says_where_to_switch_it_on(gmail_ctx, connection, google):
    message = (
        "Gmail API has not been used in project 1 before or it is disabled. Enable it by visiting https://x"
    )
    google.fail(provider.says_error(403, "accessNotConfigured", message))

    with pytest.raises(AuthError, match="Enable it by visiting"):
        check(gmail_ctx, connection)


def test_no_token_appears_in_what_went_wrong(gmail_ctx, connection, google):
    token = connection.access_token.get_secret_value()
    google.fail(provider.says_error(400, "badRequest", f"Bearer {token} is odd"))

    with pytest.raises(RejectedError) as failure:
        check(gmail_ctx, connection)

    assert token not in str(failure.value)


# the stand-in refuses what Gmail refuses


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/gmail/v1/users/me/labels", {"name": "x", "colour": "red"}, 400),
        ("POST", "/gmail/v1/users/me/labels", {"name": 5}, 400),
        ("POST", "/gmail/v1/users/me/messages/1/modify", {"addLabelIds": "INBOX"}, 400),
        ("GET", "/gmail/v1/users/me/messages?maxResults=many", None, 400),
        ("GET", "/gmail/v1/users/me/messages?query=x", None, 400),
        ("GET", "/gmail/v1/users/me/messages/1?format=loud", None, 400),
        ("POST", "/gmail/v1/users/me/messages/send", {}, 400),
        ("POST", "/upload/gmail/v1/users/me/messages/send?uploadType=multipart", {}, 400),
        ("GET", "/gmail/v1/users/me/nothing", None, 404),
        ("GET", "/gmail/v1/users/me/messages/1", None, 404),
    ],
)
def test_the_stand_in_refuses_what_the_specification_refuses(
    gmail_ctx, connection, google, method, path, body, status
):
    headers = {"Authorization": f"Bearer {connection.access_token.get_secret_value()}"}
    content = {} if body is None else {"json": body}

    answer = gmail_ctx.http.request(method, google.url + path, headers=headers, **content)

    assert answer.status == status


def test_the_stand_in_refuses_who_has_not_signed_in(gmail_ctx, google):
    answer = gmail_ctx.http.request("GET", google.url + "/gmail/v1/users/me/profile")

    assert answer.status == 401


def test_the_account_never_shows_its_key():
    key = SecretStr(provider.service_account_key())

    assert "PRIVATE KEY" not in repr(robot()) + str(Account.model_construct(service_account_key=key))
