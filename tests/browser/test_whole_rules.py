"""Whole rules as somebody builds them in the browser, each started by what really starts it."""

import io
from collections.abc import Iterator
from email.message import EmailMessage

import httpx2
import openpyxl
import pytest
from playwright.sync_api import Browser, Page

from app import clock
from tests.browser import whole
from tests.browser.whole import World
from tests.providers import google_sheets, imap, openai, slack_web, smtp, twilio

BOOK = f"https://docs.google.com/spreadsheets/d/{google_sheets.BOOK}/edit#gid=0"
BOOK_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
WISH = "Two of the blue ones, please; not before Monday, and ring twice because the bell is broken."
SUMMARY = "Two blue ones, after Monday; ring twice."


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with whole.whole_world() as made:
        yield made


@pytest.fixture
def page(browser: Browser, world: World) -> Iterator[Page]:
    with whole.logged_in(browser, world) as opened:
        yield opened


def build_summary(page: Page) -> None:
    """A message for each new row, and under it what ChatGPT makes of the row's text."""
    whole.begin_rule(page, "Orders to Slack", "New row Google Sheets")
    whole.connect_google(page, "Google Sheets", "Shop's Google")
    whole.fill(page, "Spreadsheet", BOOK)
    whole.fill(page, "Sheet", "Orders")
    whole.save(page)
    whole.add_step(page, "Slack app", "Post a message")
    whole.connect(page, "Slack app", "Shop's Slack")
    whole.fill(page, "Bot token", slack_web.TOKEN)
    whole.save_connection(page, "Shop's Slack")
    whole.fill(page, "Channel", "#orders")
    whole.write(page, "Text", "Order ", "event.row.Order", " of {{ event.row.Customer }}")
    whole.save(page)
    whole.add_step(page, "OpenAI", "Summarise a text")
    whole.connect(page, "OpenAI", "Shop's key")
    whole.fill(page, "API key", openai.KEY)
    whole.save_connection(page, "Shop's key")
    whole.fill(page, "Text", "{{ event.row.Wish }}")
    whole.choose(page, "Length", "one sentence")
    whole.save(page)
    whole.add_step(page, "Slack app", "Reply in a thread")
    whole.choose(page, "Connection", "Shop's Slack")
    whole.write(page, "Channel", "steps.post_a_message.channel")
    whole.write(page, "Answer to", "steps.post_a_message.ts")
    whole.write(page, "Text", "In short: ", "steps.summarise_a_text.text")
    whole.save(page)


def test_a_new_row_is_summed_up_in_the_thread_of_its_message(world: World, page: Page) -> None:
    world.bill.answers = [SUMMARY]
    world.sheets.rows("Orders").append(["A-1", "Grace", "there before the rule"])
    build_summary(page)
    whole.turn_on(page)
    whole.wait_for_a_look(page)
    activity = whole.watch(page, "Orders to Slack")

    world.sheets.rows("Orders").append(["A-2", "Ada <b>", WISH])
    whole.look_now(page)

    activity.sees(succeeded=1)
    (first, said), (second, answer) = world.slack.messages.items()
    assert (first[0], said["text"]) == ("C0123456789", "Order A-2 of Ada &lt;b&gt;")
    assert (second[0], answer["thread_ts"]) == first
    assert answer["text"] == f"In short: {SUMMARY}"
    [asked] = world.bill.billed
    assert asked["messages"][-1]["content"] == WISH


CUSTOMER = "+4915112345678"


def build_answer(page: Page) -> str:
    """Who sends an order's number over WhatsApp is told where it is; the address that Twilio is given."""
    whole.begin_rule(page, "Where is my order", "Message received WhatsApp")
    whole.connect(page, "WhatsApp (Twilio)", "Shop's WhatsApp")
    whole.fill(page, "Account SID", twilio.ACCOUNT_SID)
    whole.fill(page, "Auth token", twilio.AUTH_TOKEN)
    whole.fill(page, "From", twilio.SHOP.removeprefix("whatsapp:"))
    whole.save_connection(page, "Shop's WhatsApp")
    address = page.locator("#hook-url").inner_text().strip()
    whole.save(page)
    whole.add_step(page, "Google Sheets", "Find a row")
    whole.connect_google(page, "Google Sheets", "Parcels")
    whole.fill(page, "Spreadsheet", BOOK)
    whole.fill(page, "Sheet", "Parcels")
    whole.fill(page, "Column", "Order")
    whole.write(page, "Value", "event.text")
    whole.save(page)
    whole.only_if(page, "steps.find_a_row.found", "is true")
    whole.add_step(page, "WhatsApp (Twilio)", "Send a message")
    whole.choose(page, "Connection", "Shop's WhatsApp")
    whole.write(page, "To", "event.from")
    whole.write(page, "Text", "Hello ", "event.name", ", {{ steps.find_a_row.row.Where }}")
    whole.save(page)
    return address


def whatsapp(address: str, number: int, text: str, **more: str) -> int:
    """A customer writes, and Twilio calls; what it is answered."""
    fields = {
        "MessageSid": f"SM{number:032x}", "From": f"whatsapp:{CUSTOMER}", "To": twilio.SHOP, "Body": text,
        "ProfileName": "Grace", "NumMedia": "0", "AccountSid": twilio.ACCOUNT_SID,
    }  # fmt: skip
    call = twilio.signed_call(address, fields, clock.now(), **more)
    return httpx2.post(address, content=call.body, headers=call.headers).status_code


def test_who_asks_over_whatsapp_is_told_what_the_sheet_says(world: World, page: Page) -> None:
    world.twilio.open_to.add(f"whatsapp:{CUSTOMER}")
    address = build_answer(page)
    whole.turn_on(page)
    activity = whole.watch(page, "Where is my order")

    refused = whatsapp(address, 1, "A-7", token="somebody else's")
    answered = [whatsapp(address, 2, "a-7"), whatsapp(address, 3, "A-99"), whatsapp(address, 2, "a-7")]

    activity.sees(succeeded=1, filtered=1)
    assert (refused, answered) == (401, [200, 200, 200])
    [sent] = world.twilio.sent
    assert (sent["from"], sent["to"]) == (twilio.SHOP, f"whatsapp:{CUSTOMER}")
    assert sent["body"] == "Hello Grace, with DHL, at your door on Monday"


INVOICE = b"%PDF-1.7 " + bytes(range(256)) * 200


def build_filing(page: Page, world: World, folder: str, book: str) -> None:
    """A mail's attachment goes to a folder and into a list, and the bookkeeper is told."""
    whole.begin_rule(page, "File invoices", "New mail Mail in")
    whole.connect(page, "Mail in (IMAP)", "Invoices in")
    whole.fill(page, "Mail server", "localhost")
    whole.fill(page, "Port", str(world.inbox.port))
    whole.fill(page, "User name", imap.USERNAME)
    whole.fill(page, "Password", imap.PASSWORD)
    page.get_by_label("Accept a self-signed certificate").check()
    whole.save_connection(page, "Invoices in")
    whole.fill(page, "Look every … minutes", "1")
    whole.save(page)
    whole.only_if(page, "event.attachments", "is not empty")
    whole.add_step(page, "Google Drive", "Upload a file")
    whole.connect_google(page, "Google Drive", "Shop's Drive")
    whole.write(page, "File", "event.attachments[0].file")
    whole.fill(page, "Folder", f"https://drive.google.com/drive/folders/{folder}")
    whole.save(page)
    whole.add_step(page, "Excel", "Append a row")
    whole.connect_google(page, "Excel", "Shop's workbooks")
    whole.fill(page, "File on Google Drive", f"https://drive.google.com/file/d/{book}/view")
    whole.pair(page, "Row", "From", "event.from.address")
    whole.pair(page, "Row", "File", "steps.upload_a_file.name")
    whole.pair(page, "Row", "Link", "steps.upload_a_file.link")
    whole.save(page)
    whole.add_step(page, "Mail (SMTP)", "Send a mail")
    whole.connect(page, "Mail (SMTP)", "Shop mail")
    whole.fill(page, "Mail server", "localhost")
    whole.fill(page, "Port", str(world.mailbox.port))
    whole.fill(page, "User name", smtp.USERNAME)
    whole.fill(page, "Password", smtp.PASSWORD)
    whole.fill(page, "From", "Example Shop <orders@example.com>")
    page.get_by_label("Accept a self-signed certificate").check()
    whole.save_connection(page, "Shop mail")
    whole.fill(page, "To", "books@example.com")
    whole.write(page, "Subject", "Filed: ", "event.subject")
    whole.write(page, "Text", "It is row ", "steps.append_a_row.number", ".")
    whole.write(page, "Attachments", "event.attachments[0].file")
    whole.save(page)


def workbook() -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["From", "File", "Link"])
    book.save(content)
    return content.getvalue()


def mail(number: int, attachment: bytes | None = None) -> bytes:
    message = EmailMessage()
    message["Message-ID"] = f"<{number}@supplier.example>"
    message["From"] = "Grace Hopper <grace@supplier.example>"
    message["To"] = imap.USERNAME
    message["Subject"] = f"invoice {number}"
    message.set_content("here it is\n")
    if attachment:
        message.add_attachment(
            attachment, maintype="application", subtype="pdf", filename=f"Rechnung für März {number}.pdf"
        )
    return bytes(message)


def test_an_attachment_is_filed_listed_and_told_of(world: World, page: Page) -> None:
    folder = world.drive.add_folder("Invoices")
    book = world.drive.add("list.xlsx", workbook(), type=BOOK_TYPE)
    world.inbox.inbox.add(mail(1, b"there before the rule"))
    build_filing(page, world, folder.id, book.id)
    whole.turn_on(page)
    whole.wait_for_a_look(page)
    activity = whole.watch(page, "File invoices")

    for each in (mail(2, INVOICE), mail(3)):
        world.inbox.inbox.add(each)
    whole.look_now(page)

    activity.sees(succeeded=1, filtered=1)
    name = "Rechnung für März 2.pdf"
    filed = world.drive.named(name)
    assert (filed.content, filed.parents, filed.type) == (INVOICE, [folder.id], "application/pdf")
    written = openpyxl.load_workbook(io.BytesIO(book.content)).active
    link = f"https://drive.google.com/file/d/{filed.id}/view"
    assert [cell.value for cell in written[2]] == ["grace@supplier.example", name, link]
    assert written.max_row == 2
    [told] = world.mailbox.messages
    assert (told["To"], told["Subject"]) == ("books@example.com", "Filed: invoice 2")
    assert told.get_body().get_content().strip() == "It is row 2."
    [attached] = told.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == (name, INVOICE)
