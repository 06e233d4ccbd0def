import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from app.engine import secrets
from app.engine.files import FileStore
from app.integrations import slack_app as slack
from app.models import Event
from app.sdk import slack_params as params
from app.sdk.declare import InboundRequest, Reply
from app.sdk.errors import AuthError, RefusedError, RejectedError, TemporaryError
from tests import factories
from tests.integrations.conftest import NOW
from tests.providers import slack_web as provider
from tests.providers.http import Says
from tests.providers.specs import spec_path

APP = slack.App(bot_token=provider.TOKEN, signing_secret=provider.SIGNING_SECRET)
CHANNEL = "C0123456789"
VECTOR = json.loads(spec_path("slack/request_signature_vector.json").read_text())
EVENT_SCHEMA = json.loads(spec_path("slack/slack_common_event_wrapper_schema.json").read_text())


@pytest.fixture
def workspace():
    with provider.slack_web_server() as stand_in:
        yield stand_in
        assert stand_in.objections == []


@pytest.fixture
def near(ctx, workspace):
    return replace(ctx, base_url=workspace.url)


def post(near, **fields):
    return slack.post(near, APP, params.Post(**{"channel": CHANNEL, "text": "order A-1001"} | fields))


# messages


def test_a_message_is_posted_and_can_be_answered_and_changed(near, workspace):
    posted = post(near, channel="#orders")
    answered = slack.reply(
        near, APP, params.Answer(channel=posted["channel"], thread=posted["ts"], text="paid", broadcast=True)
    )
    slack.update(near, APP, params.Change(channel=posted["channel"], ts=posted["ts"], text="order done"))

    assert posted["channel"] == CHANNEL
    assert workspace.messages[CHANNEL, posted["ts"]]["text"] == "order done"
    assert workspace.messages[CHANNEL, answered["ts"]]["thread_ts"] == posted["ts"] == answered["thread"]
    assert workspace.messages[CHANNEL, answered["ts"]]["reply_broadcast"] is True


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"text": "<!channel> <@U012AB3CD> a & b"}, "&lt;!channel&gt; &lt;@U012AB3CD&gt; a &amp; b"),
        ({"text": "<!here|x> <https://a.example|b>", "markup": True}, "&lt;!here|x> <https://a.example|b>"),
        ({"text": "<!here>", "notify": "channel"}, "<!channel> &lt;!here&gt;"),
    ],
)
def test_values_cannot_call_people(near, workspace, fields, expected):
    posted = post(near, **fields)

    assert workspace.messages[CHANNEL, posted["ts"]]["text"] == expected


def test_blocks_are_posted_with_their_values_made_harmless(near, workspace):
    block = {"type": "section", "text": {"type": "mrkdwn", "text": "<!channel> *A-1001*"}}

    posted = post(near, blocks=[block, {"type": "divider"}], notify="here")

    notice, section, divider = workspace.messages[CHANNEL, posted["ts"]]["blocks"]
    assert notice["text"]["text"] == "<!here>"
    assert section["text"] == {"type": "mrkdwn", "text": "&lt;!channel&gt; *A-1001*", "verbatim": True}
    assert divider == {"type": "divider"}


def test_blocks_cannot_call_everyone_by_their_structure(near, workspace):
    calling = {"type": "rich_text", "elements": [{"type": "broadcast", "range": "channel"}]}

    with pytest.raises(RejectedError, match="in the field notify"):
        post(near, blocks=[calling])

    assert workspace.received == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"channel": "C9999999999"}, "no channel C9999999999"),
        ({"channel": "C0000000002"}, "C0000000002 is archived; unarchive it"),
        ({"channel": "C0000000003"}, "not in C0000000003; invite it"),
        ({"blocks": [{"text": "no type"}]}, "block kit builder"),
    ],
)
def test_a_target_that_is_wrong_is_named_with_the_way_out(near, fields, words):
    with pytest.raises(RejectedError, match=words):
        post(near, **fields)


def test_a_thread_that_is_gone_is_named(near):
    with pytest.raises(RejectedError, match=r"no message 1763715600\.000999"):
        slack.reply(near, APP, params.Answer(channel=CHANNEL, thread="1763715600.000999", text="x"))


@pytest.mark.parametrize("error", ["invalid_auth", "account_inactive", "token_revoked"])
def test_a_token_that_slack_refuses_breaks_the_connection(near, workspace, error):
    workspace.next["*"] = [provider.refuses(error)]

    with pytest.raises(AuthError, match=f"{error}.*install the app again"):
        post(near)


def test_a_wrong_token_is_refused_and_not_repeated(near):
    wrong = slack.App(bot_token="xoxb-000-Wrong", signing_secret="x")

    with pytest.raises(AuthError) as failure:
        slack.check(near, wrong)

    assert "Wrong" not in str(failure.value)


def test_a_missing_scope_is_named(near, workspace):
    workspace.scopes.discard("chat:write")

    with pytest.raises(AuthError, match="lacks the scope chat:write; add it"):
        post(near)


@pytest.mark.parametrize(
    ("says", "sent", "after"),
    [
        (Says(429, b'{"ok":false,"error":"ratelimited"}', {"Retry-After": "30"}), False, 30),
        (provider.refuses("ratelimited"), False, None),
        (provider.refuses("internal_error"), True, None),
        (Says(503, b"<html>down</html>"), False, None),
        (Says(502, b"<html>down</html>"), True, None),
        (Says(200, b"<html>maintenance</html>"), True, None),
        (Says(200, b"[]"), True, None),
        (Says(hang_up=True), True, None),
    ],
)
def test_slack_that_cannot_now_is_asked_again_only_if_nothing_was_posted(near, workspace, says, sent, after):
    workspace.next["*"] = [says]

    with pytest.raises(TemporaryError) as failure:
        post(near)

    assert (failure.value.sent, failure.value.after) == (sent, after)


def test_what_only_reads_may_always_be_tried_again(near, workspace):
    workspace.next["*"] = [Says(hang_up=True)]

    with pytest.raises(TemporaryError) as failure:
        slack.check(near, APP)

    assert failure.value.sent is False


def test_a_check_tells_who_the_app_is(near):
    assert slack.check(near, APP) == "connected to Example Shop as bitqueue"


# was it posted?

BEFORE = datetime(2025, 11, 21, tzinfo=UTC)


def was_posted(near, since=BEFORE, **fields):
    confirm = slack.slack_app.actions["post"].confirm
    return confirm(near, APP, params.Post(**{"channel": CHANNEL, "text": "order A-1001"} | fields), since)


def test_a_message_that_was_posted_is_found_by_its_task(near, workspace):
    posted = post(near)
    for number in range(3):
        post(replace(near, idempotency_key=f"tsk_other{number}"))

    assert was_posted(near) == posted
    assert was_posted(replace(near, idempotency_key="tsk_not_done")) is None


def test_a_message_of_the_task_from_before_is_another_one(near):
    post(near)

    assert was_posted(near, since=datetime(2025, 11, 22, tzinfo=UTC)) is None


def test_an_answer_in_a_thread_is_found_there(near):
    first = post(replace(near, idempotency_key="tsk_first"))
    answer = params.Answer(channel=CHANNEL, thread=first["ts"], text="paid")
    answered = slack.reply(near, APP, answer)

    confirm = slack.slack_app.actions["reply"].confirm

    assert confirm(near, APP, answer, BEFORE) == answered
    assert confirm(replace(near, idempotency_key="tsk_not_done"), APP, answer, BEFORE) is None


@pytest.mark.parametrize("channel", ["#orders", "U0123456789"])
def test_slack_cannot_tell_of_a_channel_without_its_id(near, channel):
    with pytest.raises(TemporaryError, match=f"not by {channel}"):
        was_posted(near, channel=channel)


def test_more_messages_than_slack_tells_are_no_answer(near, workspace):
    page = {"ok": True, "messages": [], "response_metadata": {"next_cursor": "200"}}
    workspace.next["conversations.history"] = [provider.says_json(page) for _ in range(5)]

    with pytest.raises(TemporaryError, match="more was written"):
        was_posted(near)


def test_without_the_scope_to_read_nothing_is_said(near, workspace):
    workspace.scopes.discard("channels:history")

    with pytest.raises(AuthError, match="lacks the scope channels:history"):
        was_posted(near)


# reactions, people, channels, files


def test_a_reaction_is_put_once_however_often_it_is_tried(near, workspace):
    place = {"channel": CHANNEL, "ts": post(near)["ts"], "emoji": ":eyes:"}

    first, second = (slack.react(near, APP, params.Reaction(**place)) for _ in range(2))

    assert (first["already"], second["already"]) == (False, True)
    assert workspace.reactions == {(CHANNEL, place["ts"], "eyes")}


def test_an_emoji_that_is_not_there_is_named(near):
    reaction = params.Reaction(channel=CHANNEL, ts=post(near)["ts"], emoji="lamp")

    with pytest.raises(RejectedError, match="no emoji lamp"):
        slack.react(near, APP, reaction)


def test_a_person_is_found_by_mail_address_and_written_to(near, workspace):
    found = slack.find_user(near, APP, params.Address(email="ada@example.com"))
    opened = slack.open_channel(near, APP, params.People(people=[found["user"]]))
    posted = post(near, channel=opened["channel"])

    assert found == {"found": True, "user": "U0123456789", "name": "Ada Example", "zone": "Europe/Berlin"}
    assert workspace.messages[opened["channel"], posted["ts"]]


def test_a_person_who_is_not_there_fails_or_says_so(near):
    with pytest.raises(RejectedError, match=r"nobody .* eve@example\.com"):
        slack.find_user(near, APP, params.Address(email="eve@example.com"))

    assert not slack.find_user(near, APP, params.Address(email="eve@example.com", required=False))["found"]


def test_a_stranger_cannot_be_written_to(near):
    with pytest.raises(RejectedError, match="no person U9999999999"):
        slack.open_channel(near, APP, params.People(people=["U9999999999"]))


def test_the_app_joins_a_channel_and_may_then_post(near):
    joined = slack.join(near, APP, params.PublicChannel(channel="C0000000003"))

    assert joined == {"channel": "C0000000003", "name": "other"}
    assert post(near, channel="C0000000003")["ts"]


def test_an_archived_channel_cannot_be_joined(near):
    with pytest.raises(RejectedError, match="is archived"):
        slack.join(near, APP, params.PublicChannel(channel="C0000000002"))


def test_a_file_of_an_earlier_step_is_uploaded(near, workspace, engine, world):
    files = FileStore(engine.database, engine.writer, world.workspace.id)
    file = files.save("orders.csv", "text/csv", [b"order;total\n", b"A-1001;150\n"])

    done = slack.upload(
        replace(near, files=files), APP, params.Upload(channel=CHANNEL, file=file, comment="<!channel> see")
    )

    assert workspace.uploads[done["file_id"]] == b"order;total\nA-1001;150\n"
    assert workspace.files[done["file_id"]]["comment"] == "&lt;!channel&gt; see"
    assert done["name"] == "orders.csv"


def test_a_text_is_uploaded_as_a_file(near, workspace):
    done = slack.upload(near, APP, params.Upload(channel=CHANNEL, text="grüße", name="note.txt"))

    assert workspace.uploads[done["file_id"]].decode() == "grüße"


def test_an_upload_that_breaks_off_before_its_end_has_shown_nothing(near, workspace):
    workspace.next["/upload/v1/F0000000000"] = [Says(hang_up=True)]

    with pytest.raises(TemporaryError) as failure:
        slack.upload(near, APP, params.Upload(channel=CHANNEL, text="x"))

    assert failure.value.sent is False


def test_an_upload_into_an_archived_channel_is_named(near):
    with pytest.raises(RejectedError, match="is archived"):
        slack.upload(near, APP, params.Upload(channel="C0000000002", text="x"))


@pytest.mark.parametrize("fields", [{}, {"text": "x", "file": "fil_" + "0" * 26}])
def test_an_upload_has_one_content(fields):
    with pytest.raises(ValidationError, match="one of them"):
        params.Upload(channel=CHANNEL, **fields)


# the judge itself


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("chat.postMessage", {"text": "x"}, "missing argument channel"),
        ("chat.postMessage", {"channel": "C1", "colour": "red"}, "unexpected argument colour"),
        ("chat.update", {"channel": "C1", "text": "x"}, "missing argument ts"),
        ("reactions.add", {"channel": "C1", "timestamp": "1.2"}, "missing argument name"),
        ("users.lookupByEmail", {}, "missing argument email"),
        ("conversations.open", {"users": ["U1"]}, "no string"),
        ("conversations.join", {"name": "x"}, "unexpected argument name"),
        ("auth.test", {"x": "y"}, "unexpected argument x"),
        ("files.getUploadURLExternal", {"filename": "x"}, "missing argument length"),
        ("files.completeUploadExternal", {"channel_id": "C1"}, "missing argument files"),
        ("chat.shout", {}, "unknown_method"),
    ],
)
def test_the_stand_in_refuses_what_slacks_specification_refuses(method, given, words):
    assert words in provider.objection(method, given)


# calls from Slack


def call(body, *, offset_s=0, headers=None, secret=provider.SIGNING_SECRET):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = provider.sign(raw, int(NOW.timestamp()), secret)
    at = NOW + timedelta(seconds=offset_s)
    return InboundRequest("POST", signed | (headers or {}), {}, raw, at, "https://bq.example/hooks/x")


def envelope(**event):
    return {
        "token": "x",
        "team_id": "T0123456789",
        "api_app_id": "A0123456789",
        "authed_users": ["U0000000001"],
        "type": "event_callback",
        "event_id": "Ev0PV52K25",
        "event_time": 1525215129,
        "event": {"event_ts": "1525215129.000001", **event},
    }


MESSAGE = {"type": "message", "user": "U061F7AUR", "text": "A &amp; B &lt;3", "ts": "1525215129.000001",
           "channel": CHANNEL, "channel_type": "channel"}  # fmt: skip
REACTION = {"type": "reaction_added", "user": "U1", "reaction": "eyes", "item_user": "U2",
            "item": {"type": "message", "channel": CHANNEL, "ts": "1.2"}}  # fmt: skip


def heard(event, **fields):
    return slack.message(call(envelope(**MESSAGE | event)), APP, params.Heard(**fields))


def test_the_events_of_these_tests_are_as_slack_specifies_them():
    assert set(EVENT_SCHEMA["required"]) <= envelope(**MESSAGE).keys()
    assert set(EVENT_SCHEMA["properties"]["event"]["required"]) <= envelope(**MESSAGE)["event"].keys()


def test_the_vector_of_slacks_documentation_is_accepted():
    at = datetime.fromtimestamp(int(VECTOR["timestamp"]), UTC)
    headers = {
        "x-slack-request-timestamp": VECTOR["timestamp"],
        "x-slack-signature": VECTOR["signature"],
        "content-type": "application/x-www-form-urlencoded",
    }
    request = InboundRequest("POST", headers, {}, VECTOR["body"].encode(), at, "https://bq.example/hooks/x")
    app = slack.App(bot_token=provider.TOKEN, signing_secret=VECTOR["signing_secret"])

    [occurrence] = slack.command(request, app, params.Command(command="/webhook-collect"))

    assert occurrence.key.startswith("398738663015.47445629121")
    assert occurrence.data["user_name"] == "roadrunner"
    for at_wrong in (-301, 301):
        with pytest.raises(RefusedError):
            slack.command(
                replace(request, received_at=at + timedelta(seconds=at_wrong)), app, params.Command()
            )
    for altered in (request.body + b" ", request.body.replace(b"roadrunner", b"roadrunnes")):
        with pytest.raises(RefusedError):
            slack.command(replace(request, body=altered), app, params.Command())


HOOKS = [(slack.message, params.Heard()), (slack.mention, params.Mentioned()), (slack.reaction, params.Reacted()),
         (slack.command, params.Command())]  # fmt: skip


@pytest.mark.parametrize(("hook", "asked"), HOOKS)
@pytest.mark.parametrize(
    "changed",
    [
        {"offset_s": 301},
        {"offset_s": -301},
        {"secret": "another secret"},
        {"secret": ""},
        {"headers": {"x-slack-signature": ""}},
        {"headers": {"x-slack-signature": "v0=" + "é" * 64}},
        {"headers": {"x-slack-request-timestamp": "soon"}},
        {"headers": {"x-slack-request-timestamp": "²"}},
        {"headers": {"x-slack-request-timestamp": "9" * 400}},
    ],
)
def test_a_call_that_slack_did_not_sign_now_is_refused(hook, asked, changed):
    with pytest.raises(RefusedError) as refused:
        hook(call(envelope(**MESSAGE), **changed), APP, asked)

    assert refused.value.status == 401


def test_a_signature_changed_by_one_byte_is_refused():
    request = call(envelope(**MESSAGE))
    signature = request.headers["x-slack-signature"]
    last = "0" if signature[-1] != "0" else "1"

    with pytest.raises(RefusedError):
        slack.message(replace(request, headers={**request.headers, "x-slack-signature": signature[:-1] + last}), APP,
                      params.Heard())  # fmt: skip


@pytest.mark.parametrize("offset_s", [-300, 300])
def test_a_call_of_five_minutes_is_accepted(offset_s):
    assert slack.message(call(envelope(**MESSAGE), offset_s=offset_s), APP, params.Heard())


def test_without_a_signing_secret_nothing_is_believed():
    app = slack.App(bot_token=provider.TOKEN)

    with pytest.raises(RefusedError):
        slack.message(call(envelope(**MESSAGE), secret=""), app, params.Heard())


def test_slacks_question_for_the_address_is_answered_as_text():
    asked = {"token": "x", "challenge": "3eZbrw1aB10<b>", "type": "url_verification"}

    answer = slack.message(call(asked), APP, params.Heard())

    assert answer == Reply("3eZbrw1aB10<b>", "text/plain; charset=utf-8")


def test_the_question_must_be_signed_too():
    with pytest.raises(RefusedError):
        slack.message(call({"type": "url_verification", "challenge": "x"}, secret="no"), APP, params.Heard())


def test_a_message_becomes_an_event_named_by_slacks_id():
    [occurrence] = heard({"files": [{"id": "F1", "name": "a.pdf", "mimetype": "application/pdf", "size": 9}]})

    assert occurrence.key == "Ev0PV52K25"
    assert occurrence.data["text"] == "A & B <3"
    assert occurrence.data["thread"] == "1525215129.000001"
    assert occurrence.data["at"] == "2018-05-01T22:52:09.000Z"
    assert occurrence.data["files"] == [{"id": "F1", "name": "a.pdf", "type": "application/pdf", "bytes": 9}]


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ({"subtype": "channel_join"}, {}),
        ({"subtype": "message_changed"}, {}),
        ({"subtype": "bot_message"}, {}),
        ({"bot_id": "B1"}, {}),
        ({"type": "app_mention"}, {}),
        ({"type": "reaction_added"}, {}),
        ({}, {"channel": "C0000000002"}),
    ],
)
def test_what_a_rule_does_not_wait_for_is_taken_without_an_event(event, fields):
    assert heard(event, **fields) == Reply("")


def test_messages_of_apps_count_where_they_are_wanted():
    assert heard({"bot_id": "B1", "subtype": "bot_message"}, bots=True, channel=CHANNEL)


def test_a_mention_starts_its_own_trigger():
    request = call(envelope(**MESSAGE | {"type": "app_mention", "thread_ts": "1.1"}))

    [occurrence] = slack.mention(request, APP, params.Mentioned())

    assert (occurrence.data["thread"], occurrence.data["in_thread"]) == ("1.1", True)
    assert slack.mention(request, APP, params.Mentioned(channel="C2")) == Reply("")


def test_a_reaction_tells_who_and_what():
    [occurrence] = slack.reaction(call(envelope(**REACTION)), APP, params.Reacted(emoji=":eyes:"))

    assert occurrence.data["emoji"] == "eyes"
    assert occurrence.data["channel"] == CHANNEL
    assert slack.reaction(call(envelope(**REACTION)), APP, params.Reacted(emoji="lamp")) == Reply("")


def test_another_command_is_not_for_this_rule():
    request = call(b"command=%2Fother&text=x&trigger_id=1.2")

    assert slack.command(request, APP, params.Command(command="/order")) == Reply("")
    assert slack.command(request, APP, params.Command())[0].data["text"] == "x"


@pytest.mark.parametrize("body", [b"", b"[]", b"nothing", b"\xff", b'{"type": NaN}'])
def test_a_signed_body_that_cannot_be_read_is_refused(body):
    with pytest.raises(RefusedError) as refused:
        slack.message(call(body), APP, params.Heard())

    assert refused.value.status == 400


def test_the_address_of_a_rule_answers_slack_and_stores_each_event_once(api, client, engine, world, session):
    connection = factories.ConnectionFactory.build(workspace_id=world.workspace.id, integration="slack_app")
    connection.settings, hidden = secrets.split(APP)
    connection.sealed = secrets.seal(engine.keyring, hidden, bound_to=connection.id)
    session.add(connection)
    session.commit()
    trigger = {"type": "slack_app.message", "params": {}, "connection": connection.id}
    step = {
        "key": "call",
        "kind": "action",
        "action": "http.request",
        "params": {"url": "https://shop.example/"},
    }
    rule = api.post(
        "/api/v1/rules", json={"name": "Slack", "enabled": True, "trigger": trigger, "steps": [step]}
    )
    hook = rule.json["hook_url"].removeprefix("http://bitqueue.test")

    def deliver(body, secret=provider.SIGNING_SECRET):
        raw = json.dumps(body).encode()
        headers = provider.sign(raw, int(time.time()), secret)
        return client.post(hook, data=raw, headers=headers, content_type="application/json")

    asked = deliver({"type": "url_verification", "challenge": "3eZbrw1aB10"})
    first, again = (deliver(envelope(**MESSAGE)) for _ in range(2))
    other = deliver(envelope(**MESSAGE | {"bot_id": "B1"}))
    forged = deliver(envelope(**MESSAGE), "another secret")

    assert (asked.status_code, asked.text, asked.mimetype) == (200, "3eZbrw1aB10", "text/plain")
    assert (first.status_code, first.json["duplicate"], again.json["duplicate"]) == (202, False, True)
    assert (other.status_code, other.text, forged.status_code) == (200, "", 401)
    assert session.scalar(sa.select(sa.func.count()).select_from(Event)) == 1
