"""Slack app: write, react and upload as an app of your own, and start rules from what happens in Slack."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeAlias

from pydantic import SecretStr

from app.sdk import slack, slack_events, slack_history, slack_params
from app.sdk.declare import Context, InboundRequest, Integration, Reply
from app.sdk.fields import Settings, setting
from app.sdk.notices import Notice
from app.sdk.said import shown
from app.sdk.shapes import shaped

slack_app = Integration(
    module=__name__,
    title="Slack app",
    about="post, answer, react and upload in any channel, and start rules from messages and commands",
)

BotToken: TypeAlias = Annotated[
    SecretStr,
    shaped(r"xox[bp]-[A-Za-z0-9-]{4,250}", "must begin with xoxb-; copy it after the app is installed"),
]


@slack_app.connection
class App(Settings):
    """An app of your own in Slack. Make it at api.slack.com/apps, give it scopes, and install it.

    An app sends its events to one address: for each rule that starts in Slack, make an app of its own.
    """

    bot_token: BotToken = setting(
        "Bot token",
        help="scopes: chat:write to post, channels:history to look whether it arrived, reactions:write, "
        "files:write, users:read.email, channels:join, im:write",
        example="xoxb-1234567890-AbCdEfGhIjKl",
        where="api.slack.com/apps → your app → OAuth & permissions → bot user OAuth token",
    )
    signing_secret: SecretStr = setting(
        "Signing secret",
        SecretStr(""),
        help="triggers need it: slack signs its calls with it",
        example="8f742231b10e8888abcd99yyyzzz85a5",
        where="api.slack.com/apps → your app → basic information → app credentials",
    )


@slack_app.check
def check(ctx: Context, connection: App) -> str:
    """Asks who the app is; nothing is posted."""
    known = slack.call(ctx, connection.bot_token, "auth_test")
    return f"connected to {shown(known.get('team'))} as {shown(known.get('user'))}"


@slack_app.action("Post a message", idempotent=False)
def post(ctx: Context, connection: App, params: slack_params.Post) -> Mapping[str, Any]:
    """Posts a message. Values cannot call the whole channel; only the notify field can."""
    return _post(ctx, connection, params.channel, **params.shown(params.notify))


@post.confirm
def _was_posted(
    ctx: Context, connection: App, params: slack_params.Post, since: datetime
) -> Mapping[str, Any] | None:
    return slack_history.find(ctx, connection.bot_token, params.channel, since)


@slack_app.action("Reply in a thread", idempotent=False)
def reply(ctx: Context, connection: App, params: slack_params.Answer) -> Mapping[str, Any]:
    """Answers a message in its thread."""
    more = {"thread_ts": params.thread, "reply_broadcast": params.broadcast or None}
    return _post(ctx, connection, params.channel, **params.shown(), **more)


@reply.confirm
def _was_answered(
    ctx: Context, connection: App, params: slack_params.Answer, since: datetime
) -> Mapping[str, Any] | None:
    return slack_history.find(ctx, connection.bot_token, params.channel, since, thread=params.thread)


def _post(ctx: Context, connection: App, channel: str, **arguments: Any) -> Mapping[str, Any]:
    named = {"channel": channel, "ts": arguments.get("thread_ts") or ""}
    arguments["metadata"] = slack_history.marked(ctx)
    posted = slack.call(ctx, connection.bot_token, "chat_postMessage", named, channel=channel, **arguments)
    thread = arguments.get("thread_ts") or posted["ts"]
    return {"channel": posted["channel"], "ts": posted["ts"], "thread": thread}


@slack_app.action("Change a message", idempotent=True)
def update(ctx: Context, connection: App, params: slack_params.Change) -> Mapping[str, Any]:
    """Changes a message that the app has posted."""
    place = {"channel": params.channel, "ts": params.ts}
    slack.call(ctx, connection.bot_token, "chat_update", place, **place, **params.shown())
    return {**place, "thread": params.ts}


@slack_app.action("React to a message", idempotent=True)
def react(ctx: Context, connection: App, params: slack_params.Reaction) -> Mapping[str, Any]:
    """Puts an emoji under a message. Where it stands already, nothing changes."""
    named = {"channel": params.channel, "ts": params.ts, "name": params.emoji}
    place = {"channel": params.channel, "timestamp": params.ts}
    try:
        slack.call(ctx, connection.bot_token, "reactions_add", named, **place, name=params.emoji)
    except slack.SlackRefusedError as error:
        if error.code != "already_reacted":
            raise
        return {"emoji": params.emoji, "already": True}
    return {"emoji": params.emoji, "already": False}


@slack_app.action("Upload a file", idempotent=False)
def upload(ctx: Context, connection: App, params: slack_params.Upload) -> Mapping[str, Any]:
    """Puts a file of an earlier step, or a text, into a channel."""
    name, body = _content(ctx, params)
    done = slack.call(
        ctx,
        connection.bot_token,
        "files_upload_v2",
        {"channel": params.channel, "ts": params.thread},
        channel=params.channel,
        filename=name,
        title=name,
        file=body,
        initial_comment=slack.written(params.comment, markup=False),
        thread_ts=params.thread,
    )
    file = done["files"][0] if done["files"] else {}
    return {"file_id": file.get("id"), "name": name, "link": file.get("permalink")}


def _content(ctx: Context, params: slack_params.Upload) -> tuple[str, bytes]:
    if params.file is None:
        return params.name or "text.txt", params.text.encode(errors="replace") or b"\n"
    found = ctx.files.find(params.file)
    return params.name or found.name, b"".join(ctx.files.open(found))


@slack_app.action("Find a person", idempotent=True)
def find_user(ctx: Context, connection: App, params: slack_params.Address) -> Mapping[str, Any]:
    """Finds the person with a mail address."""
    named = {"email": params.email}
    try:
        found = slack.call(ctx, connection.bot_token, "users_lookupByEmail", named, **named)["user"]
    except slack.SlackRefusedError as error:
        if error.code != "users_not_found" or params.required:
            raise
        return {"found": False, "user": None, "name": None, "zone": None}
    name = found.get("real_name") or found.get("name")
    return {"found": True, "user": found["id"], "name": name, "zone": found.get("tz")}


@slack_app.action("Open a direct message", idempotent=True)
def open_channel(ctx: Context, connection: App, params: slack_params.People) -> Mapping[str, Any]:
    """Opens the conversation with one person or a few; post a message then takes its channel."""
    named = {"users": ", ".join(params.people)}
    opened = slack.call(ctx, connection.bot_token, "conversations_open", named, users=params.people)
    return {"channel": opened["channel"]["id"]}


@slack_app.action("Join a channel", idempotent=True)
def join(ctx: Context, connection: App, params: slack_params.PublicChannel) -> Mapping[str, Any]:
    """Lets the app into a public channel, where it can then post and listen."""
    named = {"channel": params.channel}
    joined = slack.call(ctx, connection.bot_token, "conversations_join", named, channel=params.channel)[
        "channel"
    ]
    return {"channel": joined["id"], "name": joined.get("name")}


def _secret(connection: App) -> str:
    return connection.signing_secret.get_secret_value().strip()


@slack_app.hook("New message")
def message(request: InboundRequest, connection: App, params: slack_params.Heard) -> slack_events.Told:
    """Starts when somebody writes where the app is. Subscribe it to message.channels, message.im and the like."""
    return slack_events.told(request, _secret(connection), slack_events.message, params)


@slack_app.hook("App mentioned")
def mention(request: InboundRequest, connection: App, params: slack_params.Mentioned) -> slack_events.Told:
    """Starts when somebody calls the app by its name. Subscribe it to app_mention."""
    return slack_events.told(request, _secret(connection), slack_events.mention, params)


@slack_app.hook("Reaction added")
def reaction(request: InboundRequest, connection: App, params: slack_params.Reacted) -> slack_events.Told:
    """Starts when somebody puts an emoji under a message. Subscribe the app to reaction_added."""
    return slack_events.told(request, _secret(connection), slack_events.reaction, params)


@slack_app.hook("Slash command", answer=Reply(""))
def command(request: InboundRequest, connection: App, params: slack_params.Command) -> slack_events.Told:
    """Starts when somebody types a command of the app, such as /order A-1001. Its request url is the rule's address."""
    return slack_events.command(request, _secret(connection), params)


@slack_app.notice("chat", by="post")
def notice(told: Notice) -> dict[str, Any]:
    return {"channel": told.to, "text": f"{told.title}\n{told.data['sentence']}\n{told.data['url']}"}
