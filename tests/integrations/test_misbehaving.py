"""Every stand-in can be busy, slow and gone, and every integration understands its service then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from app import integrations
from app.sdk.errors import TemporaryError
from tests.integrations.conftest import NOW
from tests.integrations.lent import Counted, Remembered
from tests.providers import (
    discord,
    feeds,
    gmail,
    google,
    google_drive,
    google_sheets,
    imap,
    msteams,
    notion,
    openai,
    sendgrid,
    slack,
    slack_web,
    smtp,
    telegram,
    twilio,
)
from tests.providers.http import Says, stand_in_at

CATALOGUE = integrations.load()
PAUSE_S = 0.3


@contextmanager
def google_account(api: google.Api, scope: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with google.google_server(api) as server:
        access, refresh = server.sign_in(scope)
        tokens = {"access_token": access, "refresh_token": refresh, "granted": [scope]}
        client = {"client_id": google.CLIENT_ID, "client_secret": google.CLIENT_SECRET}
        yield server.url, client | tokens | {"expires_at": NOW + timedelta(hours=1)}


@dataclass(frozen=True)
class Service:
    """A stand-in, what an account there is, and what asks it once: the check of the account, or an action."""

    key: str
    module: Any
    server: Callable[[], Any]
    account: dict[str, Any] | None = None
    action: str = ""
    params: dict[str, Any] | None = None

    @contextmanager
    def running(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Its address, and the fields of an account."""
        with self.server() as made:
            first = made[0] if isinstance(made, tuple) else made
            yield (first, made[1]) if isinstance(first, str) else (first.url, self.account or {})

    def ask(self, ctx: Any, url: str, account: dict[str, Any]) -> Any:
        one, near = CATALOGUE.integrations[self.key], replace(ctx, base_url=url)
        connection = one.settings(**account) if one.settings else None
        if not self.action:
            return one.check_call(near, connection)
        action = one.actions[self.action]
        given = {name: value.format(url=url) for name, value in (self.params or {}).items()}
        return action.call(near, connection, action.params(**given))


HTTP_SERVICES = [
    Service("discord", discord, discord.discord_server, {"webhook_url": discord.URL}),
    Service("gmail", google, lambda: google_account(gmail.GmailApi(), gmail.SCOPE)),
    Service("google_drive", google, lambda: google_account(google_drive.DriveApi(), google_drive.SCOPE)),
    Service(
        "google_sheets",
        google,
        lambda: google_account(google_sheets.SheetsApi(Orders=[]), google_sheets.SCOPE),
    ),
    Service("excel", google, lambda: google_account(google_drive.DriveApi(), google_drive.SCOPE)),
    Service(
        "msteams",
        msteams,
        msteams.msteams_server,
        {"webhook_url": msteams.URL},
        "message",
        {"text": "order A-1001"},
    ),
    Service("notion", notion, notion.notion_server, {"token": notion.TOKEN}),
    Service("openai", openai, openai.openai_server, {"api_key": openai.KEY}),
    Service("rss", feeds, feeds.feed_server, None, "read", {"url": "{url}/rss"}),
    Service(
        "sendgrid",
        sendgrid,
        sendgrid.sendgrid_server,
        {"api_key": sendgrid.KEY, "sender": sendgrid.SENDER},
    ),
    Service("slack", slack, slack.slack_server, {"webhook_url": f"https://hooks.slack.com{slack.PATH}"}),
    Service("slack_app", slack_web, slack_web.slack_web_server, {"bot_token": slack_web.TOKEN}),
    Service("telegram", telegram, telegram.telegram_server, {"bot_token": telegram.TOKEN}),
    *(
        Service(
            key,
            twilio,
            twilio.twilio_server,
            {
                "account_sid": twilio.ACCOUNT_SID,
                "auth_token": twilio.AUTH_TOKEN,
                "sender": twilio.NUMBER,
            },
        )
        for key in ("sms", "whatsapp")
    ),
]
MAIL_SERVERS = ("smtp", "imap")
# These ask nobody, or whoever the user names: test_http.py has its own server.
WITHOUT_SERVICE = {"files", "http", "manual", "schedule", "text", "webhook"}

each_service = pytest.mark.parametrize("service", HTTP_SERVICES, ids=lambda one: one.key)


@pytest.fixture
def lent(ctx):
    return replace(ctx, memory=Remembered(), meter=Counted())


def test_every_integration_with_a_service_is_here():
    here = {service.key for service in HTTP_SERVICES} | {*MAIL_SERVERS}

    assert here == {one.key for one in CATALOGUE} - WITHOUT_SERVICE


@each_service
def test_a_busy_service_is_asked_again_when_it_says(service, lent):
    with service.running() as (url, account):
        service.ask(lent, url, account)
        stand_in_at(url).next.append(service.module.busy(7))

        with pytest.raises(TemporaryError) as failure:
            service.ask(lent, url, account)

        assert (failure.value.after, failure.value.sent) == (7, False)


@each_service
def test_a_service_that_resets_the_connection_is_asked_again(service, lent):
    with service.running() as (url, account):
        stand_in_at(url).next.append(Says(reset=True))

        with pytest.raises(TemporaryError):
            service.ask(lent, url, account)


@each_service
def test_a_slow_service_is_waited_for(service, lent):
    with service.running() as (url, account):
        stand_in_at(url).pause_s = PAUSE_S
        began = time.monotonic()

        service.ask(lent, url, account)

        assert time.monotonic() - began >= PAUSE_S


@each_service
def test_a_slow_service_is_not_waited_for_longer_than_allowed(service, lent):
    with service.running() as (url, _):
        stand_in_at(url).pause_s = PAUSE_S

        with pytest.raises(TemporaryError, match="in time"):
            lent.http.request("GET", url, deadline_s=PAUSE_S / 3)


# mail servers


def send(ctx, server):
    one = CATALOGUE.integrations["smtp"]
    account = one.settings(
        host="127.0.0.1",
        port=server.port,
        security="none",
        username=smtp.USERNAME,
        password=smtp.PASSWORD,
        sender="orders@example.com",
    )
    action = one.actions["send"]
    return action.call(ctx, account, action.params(to="ada@example.com", subject="A-1001", text="150"))


def look(ctx, server):
    one = CATALOGUE.integrations["imap"]
    account = one.settings(
        host="127.0.0.1",
        port=server.port,
        security="tls",
        username=imap.USERNAME,
        password=imap.PASSWORD,
        accept_self_signed=True,
    )
    return one.check_call(ctx, account)


def test_a_busy_mail_server_is_asked_again(ctx):
    with smtp.smtp_server() as outgoing, imap.imap_server(security="tls") as incoming:
        outgoing.mail, incoming.says["AUTHENTICATE"] = smtp.BUSY, imap.BUSY

        for ask, server in ((send, outgoing), (look, incoming)):
            with pytest.raises(TemporaryError) as failure:
                ask(ctx, server)
            assert not failure.value.sent


def test_a_mail_server_that_hangs_up_is_asked_again(ctx):
    with smtp.smtp_server() as outgoing, imap.imap_server(security="tls") as incoming:
        outgoing.data, incoming.says["EXAMINE"] = "", ""

        for ask, server in ((send, outgoing), (look, incoming)):
            with pytest.raises(TemporaryError):
                ask(ctx, server)


def test_a_slow_mail_server_is_waited_for(ctx):
    with smtp.smtp_server() as outgoing, imap.imap_server(security="tls") as incoming:
        outgoing.pause_s = incoming.pause_s = PAUSE_S

        for ask, server in ((send, outgoing), (look, incoming)):
            began = time.monotonic()
            ask(ctx, server)
            assert time.monotonic() - began >= PAUSE_S
