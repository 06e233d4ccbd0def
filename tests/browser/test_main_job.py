"""The main job as somebody new does it: a mail account, a rule, two calls, and what became of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from tests import live
from tests.browser.conftest import WIDE
from tests.providers.http import StandIn, http_server, says_json
from tests.providers.smtp import PASSWORD as MAIL_PASSWORD
from tests.providers.smtp import USERNAME as MAIL_USER
from tests.providers.smtp import Mailbox, smtp_server

TO = "warehouse@example.com"


@dataclass(frozen=True)
class World:
    server: live.Server
    mailbox: Mailbox
    target: StandIn


@contextmanager
def empty_server() -> Iterator[World]:
    with (
        live.running() as server,
        smtp_server(security="starttls") as mailbox,
        http_server(lambda request: says_json({"number": 48}, 201)) as target,
    ):
        yield World(server, mailbox, target)


@pytest.fixture
def world() -> Iterator[World]:
    with empty_server() as made:
        yield made


@pytest.fixture
def plain_page(browser: Browser) -> Iterator[Page]:
    """A browser that runs no scripts."""
    context = browser.new_context(viewport=WIDE, java_script_enabled=False)
    yield context.new_page()
    context.close()


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def follow(page: Page, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).click()


def make_account(page: Page, world: World) -> None:
    page.goto(world.server.url)
    expect(page.get_by_role("heading", name="Welcome to BitQueue")).to_be_visible()
    page.get_by_label("E-mail address").fill("ada@example.com")
    page.get_by_label("Password").fill(live.PASSWORD)
    press(page, "Make the account and start")
    expect(page.get_by_role("heading", name="Your first rule in a minute")).to_be_visible()


def connect_mail(page: Page, world: World) -> None:
    """First with a wrong password, as it happens."""
    follow(page, "Connections")
    follow(page, "Connect an account")
    page.get_by_role("link", name="Mail (SMTP)").click()
    page.get_by_label("Name", exact=True).fill("Shop mail")
    page.get_by_label("Mail server").fill("localhost")
    page.get_by_label("Port").fill(str(world.mailbox.port))
    page.get_by_label("User name").fill(MAIL_USER)
    page.get_by_label("Password").fill("not the right one")
    page.get_by_label("From").fill("Example Shop <orders@example.com>")
    page.get_by_label("Accept a self-signed certificate").check()
    press(page, "Check and save")
    expect(page.get_by_role("alert")).to_contain_text("nothing was saved")
    assert world.mailbox.log_ins, "the mail server was asked"
    page.get_by_label("Password").fill(MAIL_PASSWORD)
    press(page, "Check and save")
    expect(page.get_by_role("row", name="Shop mail")).to_contain_text("working")


def build_rule(page: Page, world: World, put: Callable[[Page, str, str, str], None]) -> str:
    """The rule's address. `put` writes a text and then a value of the event into a field."""
    follow(page, "Rules")
    follow(page, "Build your first rule")
    page.get_by_label("Name", exact=True).fill("Big orders")
    page.get_by_role("radio", name="Call received").check()
    press(page, "Continue")
    address = page.locator("#hook-url").inner_text().strip()
    press(page, "Save")
    add_filter(page)
    add_mail(page, put)
    add_request(page, world)
    press(page, "Turn on")
    expect(page.get_by_label("State of this rule")).to_contain_text("Version 1 has been running")
    return address


def add_filter(page: Page) -> None:
    page.get_by_role("button", name="Only go on if…").click()
    page.get_by_label("Value", exact=True).first.fill("event.total")
    page.get_by_label("Comparison").first.select_option("is greater than")
    page.get_by_label("With").first.fill("100")
    press(page, "Save")
    expect(page.get_by_text("event.total is greater than 100")).to_be_visible()


def add_mail(page: Page, put: Callable[[Page, str, str, str], None]) -> None:
    open_adding(page)
    page.get_by_role("button", name="Send a mail Mail (SMTP)").click()
    page.get_by_role("combobox", name="Connection").select_option("Shop mail")
    page.get_by_label("To", exact=True).fill(TO)
    put(page, "Subject", "Order ", "event.order")
    put(page, "Text optional", "The total is ", "event.total")
    press(page, "Save")


def add_request(page: Page, world: World) -> None:
    open_adding(page)
    page.locator(".choice-group > summary", has_text="HTTP").click()
    page.get_by_role("button", name="Send a request HTTP").click()
    page.get_by_label("Method", exact=True).select_option("POST")
    page.get_by_label("URL", exact=True).fill(f"{world.target.url}/orders")
    page.get_by_label("JSON body optional", exact=True).fill(
        '{"order": "{{ event.order }}", "total": "{{ event.total }}"}'
    )
    press(page, "Save")


def open_adding(page: Page) -> None:
    page.locator("summary", has_text="Add a step").click()


def pick(page: Page, field: str, text: str, value: str) -> None:
    """With the list of values beside the form."""
    page.get_by_label(field, exact=True).press_sequentially(text)
    press(page, f"Insert {value}")


def write(page: Page, field: str, text: str, value: str) -> None:
    page.get_by_label(field, exact=True).fill(f"{text}{{{{ {value} }}}}")


def call(address: str, order: str, total: float) -> None:
    assert httpx2.post(address, json={"order": order, "total": total}).status_code == 202


def check_arrived(world: World) -> None:
    live.wait_until(lambda: world.target.received and world.mailbox.envelopes, seconds=15, what="both arrive")
    (mail,), (request,) = world.mailbox.messages, world.target.received
    assert (mail["To"], mail["Subject"]) == (TO, "Order A-2")
    assert mail.get_content().strip() == "The total is 150"
    assert request.json() == {"order": "A-2", "total": 150}


def check_steps(page: Page) -> None:
    """Each step of the run that succeeded tells what went in and what came out."""
    page.get_by_role("row", name="succeeded").get_by_role("link", name="Big orders").click()
    steps = page.get_by_role("main").get_by_role("listitem")
    for folded in page.locator("summary", has_text="What went in and came out").all():
        folded.click()
    mail = steps.filter(has=page.get_by_role("heading", name="2. Send a mail"))
    request = steps.filter(has=page.get_by_role("heading", name="3. Send a request"))
    expect(steps.filter(has=page.get_by_role("heading", name="1. Only go on if…"))).to_contain_text("matches")
    expect(mail.get_by_label("Went in")).to_contain_text("Order A-2")
    expect(mail.get_by_label("Came out")).to_contain_text(TO)
    expect(request.get_by_label("Went in")).to_contain_text("total: 150")
    expect(request.get_by_label("Came out")).to_contain_text("number: 48")


def test_somebody_new_connects_builds_and_watches(world: World, page: Page) -> None:
    make_account(page, world)
    connect_mail(page, world)
    address = build_rule(page, world, pick)
    follow(page, "Activity")
    expect(page.get_by_role("heading", name="Nothing has happened yet")).to_be_visible()
    reloads: list[str] = []
    page.on("framenavigated", lambda frame: reloads.append(frame.url))

    call(address, "A-1", 50)
    call(address, "A-2", 150)

    rows = page.get_by_role("table", name="Activity").get_by_role("row", name="Big orders")
    expect(rows.filter(has_text="succeeded")).to_have_count(1, timeout=15_000)
    expect(rows.filter(has_text="filtered")).to_have_count(1)
    expect(rows.filter(has_text="filtered")).to_contain_text("event.total is 50, not greater than 100")
    assert reloads == []
    check_arrived(world)
    check_steps(page)


def test_the_same_without_javascript(world: World, plain_page: Page) -> None:
    page = plain_page
    make_account(page, world)
    connect_mail(page, world)
    address = build_rule(page, world, write)

    call(address, "A-1", 50)
    call(address, "A-2", 150)
    check_arrived(world)
    follow(page, "Activity")
    rows = page.get_by_role("row", name="succeeded")
    live.wait_until(lambda: page.reload() and rows.count(), seconds=15, what="a reload shows the run as done")
    check_steps(page)
