"""Poll triggers of real services through the engine: mails of a mail server, rows of a spreadsheet."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app import clock
from app.database import writing
from app.engine.core import Engine
from app.engine.files import FileStore
from app.engine.poll import Poller, interval, look
from app.models import Connection, Event, Run, Trigger
from app.sdk.addresses import AddressGuard
from app.sdk.context import FileRef
from app.sdk.http import HttpClient
from app.services import connections, rules
from tests.conftest import World
from tests.engine.conftest import Bench, step
from tests.providers import imap
from tests.providers.google import google_server, service_account_key
from tests.providers.google_sheets import BOOK, SheetsApi
from tests.providers.imap import MailServer, imap_server


@dataclass
class Watched:
    """A rule that is on, built as people build it, and the looks of its trigger."""

    engine: Engine
    bench: Bench
    world: World
    rule_id: str = ""
    parts: dict[str, Any] = field(default_factory=dict)

    def connect(self, key: str, **settings: Any) -> str:
        built = connections.build_settings(self.engine, key, settings, None)
        with writing() as session:
            row = connections.create(session, self.world.actor(), self.engine, key, name=key, settings=built)
            return str(row.id)

    def turn_on(self, type_: str, connection: str, **params: Any) -> None:
        trigger = {"type": type_, "connection": connection, "params": params}
        self.parts = {"trigger": trigger, "steps": [step("tell")]}
        with writing() as session:
            document = {"name": "Watch", "enabled": True, **self.parts}
            made = rules.create(session, self.world.actor(), self.engine, document, publish=True)
            self.rule_id = made.id

    def edit(self, *steps: dict[str, Any], **params: Any) -> None:
        """Change what it looks at or does, and turn the changes on."""
        trigger = self.parts["trigger"] | {"params": self.parts["trigger"]["params"] | params}
        self.parts = {"trigger": trigger, "steps": list(steps) or self.parts["steps"]}
        with writing() as session:
            actor = self.world.actor()
            rules.save_draft(session, actor, self.engine, self.rule_id, definition=self.parts)
            rules.publish(session, actor, self.engine, self.rule_id)

    @property
    def trigger(self) -> Any:
        return self.bench.row(Trigger, rule_id=self.rule_id)

    def look(self) -> list[str]:
        """What each event says that came of a look now."""
        before = len(self.bench.rows(Event))
        self.bench.set(self.trigger, next_due_at=clock.now())
        poller = Poller(self.engine)
        assert poller.look_due() == 1
        poller.join(20)
        return [said(event.data) for event in self.bench.rows(Event)[before:]]

    def take(self) -> Any:
        """The trigger as a worker has it that begins a look."""
        self.bench.set(self.trigger, next_due_at=clock.now() + interval(self.engine, self.trigger))
        return self.trigger


def said(data: Any) -> str:
    return str(data["subject"] if "subject" in data else data["row"]["Order"])


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with imap_server(security="tls") as server:
        yield server


@pytest.fixture
def sheets() -> SheetsApi:
    return SheetsApi(
        Orders=[["Order", "Total"], ["A-1", 10]], Archive=[["Order", "Total"], ["Z-1", 1], ["Z-2", 2]]
    )


@pytest.fixture
def google(sheets: SheetsApi) -> Iterator[str]:
    with google_server(sheets) as server:
        yield server.url


@pytest.fixture
def watched(engine: Engine, bench: Bench, world: World, google: str) -> Iterator[Watched]:
    guard = AddressGuard(allow_private=True)
    config = engine.config.model_copy(update={"provider_base_urls": {"google_sheets": google}})
    open_engine = replace(engine, guard=guard, http=HttpClient(guard), config=config)
    yield Watched(open_engine, replace(bench, engine=open_engine, workspace_id=world.workspace.id), world)
    open_engine.http.close()


@pytest.fixture
def mailbox(watched: Watched, mails: MailServer) -> Watched:
    """Each new mail; one was there before."""
    account = {"host": "127.0.0.1", "port": mails.port, "username": imap.USERNAME, "accept_self_signed": True}
    mails.inbox.add(mail(1))
    watched.turn_on("imap.new_mail", watched.connect("imap", password=imap.PASSWORD, **account))
    assert watched.look() == []
    return watched


@pytest.fixture
def sheet(watched: Watched) -> Watched:
    """Each new row; one was there before."""
    key = {"method": "service_account", "service_account_key": service_account_key()}
    watched.turn_on(
        "google_sheets.new_row", watched.connect("google_sheets", **key), spreadsheet=BOOK, sheet="Orders"
    )
    assert watched.look() == []
    return watched


def mail(number: int, attachment: bytes = b"") -> bytes:
    message = EmailMessage()
    message["Message-ID"], message["From"] = f"<{number}@shop.example>", "ada@example.com"
    message["Subject"] = f"mail {number}"
    message.set_content("see the file\n")
    if attachment:
        message.add_attachment(attachment, maintype="application", subtype="pdf", filename="a.pdf")
    return bytes(message)


# mails


def test_mails_that_arrive_between_looks_start_the_rule_once_each(
    mailbox: Watched, mails: MailServer
) -> None:
    looks = []
    for numbers in ([2, 3], [], [4]):
        for number in numbers:
            mails.inbox.add(mail(number))
        looks.append(mailbox.look())

    assert looks == [["mail 2", "mail 3"], [], ["mail 4"]]
    assert len(mailbox.bench.rows(Run)) == 3
    assert mailbox.trigger.cursor["last_uid"] == 4
    assert len(mailbox.trigger.recent_keys) == 4


def test_a_mail_is_no_second_event_when_its_look_is_repeated(mailbox: Watched, mails: MailServer) -> None:
    mails.inbox.add(mail(2))
    before = mailbox.trigger
    mailbox.look()
    # As if the process had died before it wrote down where it got to.
    mailbox.bench.set(mailbox.trigger, cursor=before.cursor, recent_keys=before.recent_keys)

    assert mailbox.look() == []
    assert mailbox.bench.row(Event).duplicates == 1


def test_a_look_that_is_overtaken_counts_for_nothing_and_loses_nothing(
    mailbox: Watched, mails: MailServer
) -> None:
    mails.inbox.add(mail(2))
    row = mailbox.take()
    with writing() as session:
        rules.look_now(session, mailbox.world.actor(), mailbox.rule_id)

    overtaken = look(mailbox.engine, row, row.next_due_at)

    assert (overtaken, mailbox.look()) == (0, ["mail 2"])


def test_a_rule_that_is_edited_between_looks_misses_no_mail(mailbox: Watched, mails: MailServer) -> None:
    mails.inbox.add(mail(2))
    mailbox.edit(step("other"), every_minutes=1, attachments=False)
    mails.inbox.add(mail(3))

    assert mailbox.look() == ["mail 2", "mail 3"]
    assert {run.version_id for run in mailbox.bench.rows(Run)} == {mailbox.trigger.version_id}
    assert mailbox.trigger.recent_keys


def test_a_rule_that_is_edited_during_a_look_misses_no_mail(mailbox: Watched, mails: MailServer) -> None:
    mails.inbox.add(mail(2))
    row = mailbox.take()
    mailbox.edit(every_minutes=1)

    assert look(mailbox.engine, row, row.next_due_at) == 0
    assert mailbox.look() == ["mail 2"]


def test_a_folder_that_is_numbered_anew_repeats_nothing_and_misses_nothing(
    mailbox: Watched, mails: MailServer
) -> None:
    mails.inbox.add(mail(2), clock.now())
    mailbox.look()

    mails.inbox.remove(1)
    mails.inbox.add(mail(3), clock.now())
    mails.inbox.renumber()

    assert [mailbox.look(), mailbox.look()] == [["mail 3"], []]
    assert mailbox.trigger.cursor["uidvalidity"] == mails.inbox.uidvalidity


def test_another_folder_begins_anew(mailbox: Watched, mails: MailServer) -> None:
    mails.folders["Entw&APw-rfe"].add(mail(7))
    mailbox.edit(folder="Entwürfe")
    first = mailbox.look()

    mails.folders["Entw&APw-rfe"].add(mail(8))

    assert (first, mailbox.look()) == ([], ["mail 8"])


def test_while_the_mail_server_is_away_it_says_so_and_nothing_is_missed(
    mailbox: Watched, mails: MailServer
) -> None:
    mails.says["GREETING"] = "* BYE busy"
    away = mailbox.look(), mailbox.trigger.last_error
    mails.inbox.add(mail(2))
    mails.says.clear()

    assert away[0] == []
    assert away[1]
    assert mailbox.look() == ["mail 2"]
    assert mailbox.trigger.last_error is None


def test_mails_wait_until_a_refused_account_is_connected_again(
    mailbox: Watched, mails: MailServer, session: Session
) -> None:
    mails.says["AUTHENTICATE"] = mails.says["LOGIN"] = "TAG NO [AUTHENTICATIONFAILED] no"
    mailbox.look()
    mails.inbox.add(mail(2))
    broken = mailbox.bench.row(Connection, id=mailbox.trigger.connection_id)
    mails.says.clear()
    waiting = mailbox.look()

    with writing() as writer:
        connections.mark(writer, writer.get_one(Connection, broken.id), healthy=True, cause=None)

    assert (broken.healthy, waiting) == (False, [])
    assert mailbox.look() == ["mail 2"]


def test_an_attachment_is_kept_whole_and_travels_by_reference(mailbox: Watched, mails: MailServer) -> None:
    content = bytes(range(256)) * 300
    mails.inbox.add(mail(2, content))

    mailbox.look()

    [attached] = mailbox.bench.row(Event).data["attachments"]
    store = FileStore(mailbox.engine.database, mailbox.engine.writer, mailbox.bench.workspace_id)
    assert b"".join(store.open(FileRef.model_validate(attached["file"]))) == content


# rows


def test_rows_that_are_written_between_looks_start_the_rule_once_each(
    sheet: Watched, sheets: SheetsApi
) -> None:
    looks = []
    for new in (["A-2", "A-3"], [], ["A-4"]):
        sheets.rows("Orders").extend([order, 5] for order in new)
        looks.append(sheet.look())
    sheets.rows("Orders")[1][1] = 11

    assert looks == [["A-2", "A-3"], [], ["A-4"]]
    assert sheet.look() == []
    assert len(sheet.bench.rows(Run)) == 3


def test_a_row_is_no_second_event_when_its_look_is_repeated(sheet: Watched, sheets: SheetsApi) -> None:
    sheets.rows("Orders").append(["A-2", 5])
    before = sheet.trigger.cursor
    sheet.look()
    sheet.bench.set(sheet.trigger, cursor=before)

    assert sheet.look() == []
    assert sheet.bench.row(Event).duplicates == 1


def test_a_rule_that_is_edited_between_looks_misses_no_row(sheet: Watched, sheets: SheetsApi) -> None:
    sheets.rows("Orders").append(["A-2", 5])
    address = f"https://docs.google.com/spreadsheets/d/{BOOK}/edit#gid=0"
    sheet.edit(step("other"), spreadsheet=address, every_minutes=1)
    sheets.rows("Orders").append(["A-3", 5])

    assert sheet.look() == ["A-2", "A-3"]


def test_another_sheet_begins_anew(sheet: Watched, sheets: SheetsApi) -> None:
    sheet.edit(sheet="Archive")
    first = sheet.look()

    sheets.rows("Archive").append(["Z-3", 5])

    assert (first, sheet.look()) == ([], ["Z-3"])
