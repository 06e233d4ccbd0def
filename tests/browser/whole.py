"""Whole rules in a browser: a server whose providers are stand-ins, and what a person does on the pages."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

from tests import live
from tests.browser.conftest import WIDE
from tests.providers import openai, twilio
from tests.providers.google import GoogleServer, google_server, service_account_key
from tests.providers.google_drive import DriveApi
from tests.providers.google_sheets import SheetsApi
from tests.providers.imap import MailServer, imap_server
from tests.providers.slack_web import Workspace, slack_web_server
from tests.providers.smtp import Mailbox, smtp_server

OWNER = "ada@example.com"
# A look is due within a second, and what it finds runs at once; the machine may be busy.
SOON_MS = 30_000


@dataclass(frozen=True)
class World:
    """The services that a shop's rules use."""

    server: live.Server
    google: GoogleServer
    sheets: SheetsApi
    drive: DriveApi
    bill: openai.Bill
    slack: Workspace
    twilio: twilio.Twilio
    inbox: MailServer
    mailbox: Mailbox


@contextmanager
def whole_world() -> Iterator[World]:
    orders, parcels = ["Order", "Customer", "Wish"], ["Order", "Where"]
    sheets = SheetsApi(Orders=[orders], Parcels=[parcels, ["A-7", "with DHL, at your door on Monday"]])
    drive = DriveApi()
    with (
        google_server(sheets, drive) as google,
        openai.openai_server() as (chat, bill),
        slack_web_server() as slack,
        twilio.twilio_server() as phones,
        imap_server(security="tls") as inbox,
        smtp_server(security="starttls") as mailbox,
    ):
        urls = dict.fromkeys(("google_sheets", "google_drive", "excel"), google.url)
        urls |= {"openai": chat.url, "slack_app": slack.url, "whatsapp": phones.url}
        with live.running(PROVIDER_BASE_URLS=json.dumps(urls)) as server:
            server.cli("user", "add", OWNER, "--password-stdin", given=live.PASSWORD + "\n")
            yield World(server, google, sheets, drive, bill, slack, phones, inbox, mailbox)


@contextmanager
def logged_in(browser: Browser, world: World, **options: Any) -> Iterator[Page]:
    context = browser.new_context(base_url=world.server.url, **{"viewport": WIDE} | options)
    page = context.new_page()
    page.goto("/login")
    fill(page, "E-mail address", OWNER)
    fill(page, "Password", live.PASSWORD)
    press(page, "Log in")
    page.wait_for_url(f"{world.server.url}/")
    yield page
    context.close()


# on any page


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def follow(page: Page, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).first.click()


def field(page: Page, label: str) -> Locator:
    """By the words beside it, whether it says `optional` behind them or not."""
    return page.get_by_label(re.compile(rf"^{re.escape(label)}( optional)?$"))


def fill(page: Page, label: str, text: str) -> None:
    field(page, label).fill(text)


def choose(page: Page, label: str, choice: str) -> None:
    field(page, label).select_option(choice)


def write(page: Page, label: str, *parts: str) -> None:
    """Texts as they are typed; what looks like `event.row` is taken from the list of values beside the form."""
    field(page, label).click()
    _type(page, parts)


def _type(page: Page, parts: tuple[str, ...]) -> None:
    for part in parts:
        if re.fullmatch(r"(event|steps)\.[\w.\[\]]+", part):
            press(page, f"Insert {part}")
        else:
            page.keyboard.insert_text(part)


def pair(page: Page, label: str, name: str, *value: str) -> None:
    """Fills the last, empty row of names and values, and asks for another one."""
    row = page.get_by_role("group", name=label).get_by_role("listitem").last
    row.get_by_label(f"{label}: name").fill(name)
    row.get_by_label(f"{label}: value").click()
    _type(page, value)
    press(page, f"Add a row to {label}")


# connections


def connect(page: Page, service: str, name: str) -> None:
    """From the form that needs it to that service's form."""
    page.get_by_role("link", name=re.compile("^Connect (another|an account)$")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Connect {service}")
    fill(page, "Name", name)


def save_connection(page: Page, name: str) -> None:
    """Checked and saved, one is back where it was asked for."""
    press(page, "Check and save")
    expect(page.get_by_role("alert")).to_have_count(0)
    choose(page, "Connection", name)


def connect_google(page: Page, service: str, name: str) -> None:
    connect(page, service, name)
    choose(page, "How to connect", "service_account")
    fill(page, "Service account key", service_account_key())
    page.get_by_role("button", name=re.compile("^(Connect with Google|Check and save)$")).click()
    choose(page, "Connection", name)


# rules


def begin_rule(page: Page, name: str, trigger: str) -> None:
    """A new rule, at the page of its trigger; `trigger` as its card begins: `New row Google Sheets`."""
    follow(page, "Rules")
    page.get_by_role("link", name=re.compile("^(New rule|Build your first rule)$")).click()
    fill(page, "Name", name)
    page.get_by_role("radio", name=trigger).check()
    press(page, "Continue")


def open_adding(page: Page) -> None:
    """It is open where the rule has no step yet."""
    adding = page.locator(".add-step")
    adding.wait_for()
    if adding.get_attribute("open") is None:
        adding.locator("> summary").click()


def add_step(page: Page, service: str, action: str) -> None:
    open_adding(page)
    group = page.locator(".choice-group").filter(
        has=page.locator("summary strong").get_by_text(service, exact=True)
    )
    if group.count():
        group.locator("> summary").click()
    page.get_by_role("button", name=f"{action} {service}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(action)


def only_if(page: Page, value: str, comparison: str) -> None:
    open_adding(page)
    page.get_by_role("button", name="Only go on if…").click()
    row = page.locator("#conditions > li").first
    row.get_by_label("Value", exact=True).fill(value)
    row.get_by_label("Comparison").select_option(comparison)
    save(page)


def save(page: Page) -> None:
    """A part of the rule; one is then back at the rule."""
    press(page, "Save")
    expect(page.locator(".chain")).to_be_visible()


def turn_on(page: Page) -> None:
    press(page, "Turn on")
    expect(page.get_by_label("State of this rule")).to_contain_text("Version 1 has been running")


def wait_for_a_look(page: Page) -> None:
    expect(page.get_by_label("State of this rule")).to_contain_text("It looks again in", timeout=SOON_MS)


def look_now(page: Page) -> None:
    press(page, "Look now")
    expect(page.get_by_text("It looks now. What it finds starts a run")).to_be_visible()


@dataclass(frozen=True)
class Watching:
    """Activity, open in a tab of its own: a rule's rows, and how often the tab was loaded again."""

    rows: Locator
    reloads: list[str]

    def sees(self, **counts: int) -> None:
        """So many rows of each state, by themselves."""
        for state, count in counts.items():
            expect(self.rows.filter(has_text=state)).to_have_count(count, timeout=SOON_MS)
        expect(self.rows).to_have_count(sum(counts.values()))
        assert self.reloads == []


def watch(page: Page, rule: str) -> Watching:
    tab = page.context.new_page()
    tab.goto("/activity")
    watching = Watching(tab.get_by_role("row").filter(has=tab.get_by_role("link", name=rule, exact=True)), [])
    tab.on("framenavigated", lambda frame: watching.reloads.append(frame.url))
    expect(watching.rows).to_have_count(0)
    return watching
