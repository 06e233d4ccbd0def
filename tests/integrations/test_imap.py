import imaplib
import json
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from itertools import pairwise

import pytest
from pydantic import ValidationError

from app.integrations.imap import Account, Arriving, _server, check, new_mail
from app.sdk import channels
from app.sdk import imap as sdk
from app.sdk.addresses import AddressGuard
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.fields import sentences
from tests.providers.imap import PASSWORD, USERNAME, imap_server
from tests.providers.smtp import self_signed
from tests.stored import StoredFiles


@pytest.fixture
def server():
    with imap_server(security="tls") as mailbox:
        yield mailbox


@pytest.fixture
def ctx(ctx):
    return replace(ctx, files=StoredFiles())


def account(server, **fields):
    known = {
        "host": "127.0.0.1",
        "port": server.port,
        "security": server.security,
        "username": USERNAME,
        "password": PASSWORD,
        "accept_self_signed": True,
    }
    return Account.model_validate(known | fields)


def mail(number=1, **headers):
    message = EmailMessage()
    message["Message-ID"] = f"<{number}@example.com>"
    message["From"] = "Ada Example <ada@example.com>"
    message["Subject"] = f"order {number}"
    message["Date"] = "Sat, 21 Nov 2026 09:58:12 +0100"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("two of the blue ones\n")
    return message


class Looking:
    """One rule's trigger over several looks."""

    def __init__(self, ctx, server, **params):
        self.ctx, self.server = ctx, server
        self.params = Arriving.model_validate(params)
        self.cursor, self.keys = None, []

    def look(self, **fields):
        batch = new_mail(self.ctx, account(self.server, **fields), self.params, self.cursor, self.keys)
        self.cursor, self.keys = batch.cursor, batch.recent_keys
        return [occurrence.data for occurrence in batch.occurrences]


# what is new


def test_what_was_there_before_is_not_new_and_what_arrives_is_taken_once(ctx, server):
    server.inbox.add(bytes(mail(1)))
    looking = Looking(ctx, server)

    looks = [looking.look()]
    server.inbox.add(bytes(mail(2)))
    server.inbox.add(bytes(mail(3)))
    looks += [looking.look(), looking.look()]

    assert [[data["subject"] for data in found] for found in looks] == [[], ["order 2", "order 3"], []]


def test_the_first_look_takes_the_last_few_if_asked(ctx, server):
    for number in range(5):
        server.inbox.add(bytes(mail(number)))
    looking = Looking(ctx, server, first=2)

    assert [data["subject"] for data in looking.look()] == ["order 3", "order 4"]
    assert looking.look() == []


def test_a_mailbox_that_is_empty_at_first_begins_with_the_first_mail(ctx, server):
    looking = Looking(ctx, server, first=10)
    assert looking.look() == []

    server.inbox.add(bytes(mail(1)))

    assert [data["uid"] for data in looking.look()] == [1]


def test_a_folder_that_is_numbered_anew_repeats_nothing_and_misses_nothing(ctx, server):
    server.inbox.add(bytes(mail(1)), datetime(2020, 1, 1, tzinfo=UTC))
    looking = Looking(ctx, server)
    looking.look()
    server.inbox.add(bytes(mail(2)))
    assert len(looking.look()) == 1

    server.inbox.remove(1)
    server.inbox.add(bytes(mail(3)))
    server.inbox.renumber()

    assert [data["subject"] for data in looking.look()] == ["order 3"]
    assert looking.look() == []
    assert looking.cursor["uidvalidity"] == server.inbox.uidvalidity


def test_a_mail_that_comes_back_into_the_folder_is_known(ctx, server):
    looking = Looking(ctx, server)
    looking.look()
    uid = server.inbox.add(bytes(mail(1)))
    assert len(looking.look()) == 1

    server.inbox.remove(uid)
    server.inbox.add(bytes(mail(1)))

    assert looking.look() == []


def test_mails_without_a_message_id_are_told_apart(ctx, server):
    looking = Looking(ctx, server)
    looking.look()

    for number in (1, 2):
        message = mail(number)
        del message["Message-ID"]
        server.inbox.add(bytes(message))

    assert len(looking.look()) == 2


def test_many_mails_are_taken_over_several_looks_in_order(ctx, server):
    looking = Looking(ctx, server)
    looking.look()
    for number in range(45):
        server.inbox.add(bytes(mail(number)))

    looks = [looking.look() for _ in range(4)]

    assert [len(found) for found in looks] == [20, 20, 5, 0]
    uids = [data["uid"] for found in looks for data in found]
    assert all(one < next_one for one, next_one in pairwise(uids))


def test_many_mails_after_a_new_numbering_are_not_repeated_either(ctx, server):
    looking = Looking(ctx, server)
    looking.look()
    for number in range(15):
        server.inbox.add(bytes(mail(number)))
    assert len(looking.look()) == 15
    for number in range(15, 30):
        server.inbox.add(bytes(mail(number)))
    server.inbox.renumber()

    found = [data["subject"] for _ in range(3) for data in looking.look()]

    assert found == [f"order {number}" for number in range(15, 30)]


def test_another_folder_begins_anew(ctx, server):
    looking = Looking(ctx, server)
    looking.look()
    server.folders["Entw&APw-rfe"].add(bytes(mail(1)))
    looking.params = Arriving(folder="Entwürfe")

    assert looking.look() == []
    server.folders["Entw&APw-rfe"].add(bytes(mail(2)))
    assert [data["folder"] for data in looking.look()] == ["Entwürfe"]


def test_a_mail_stays_unread_unless_asked(ctx, server):
    first, second = Looking(ctx, server), Looking(ctx, server, mark_read=True)
    first.look(), second.look()
    server.inbox.add(bytes(mail(1)))

    first.look()
    assert server.inbox.messages[0].flags == set()
    second.look()
    assert server.inbox.messages[0].flags == {"\\Seen"}
    assert not [line for line in server.heard if line.startswith("UID FETCH") and "BODY[" in line]


# what is in it


def test_headers_texts_and_times_are_decoded(ctx, server):
    message = mail(
        1,
        To='"Bücher, Zoë" <books@example.com>, second@example.com',
        Cc="third@example.com",
        Reply_To="answers@example.com",
        In_Reply_To="<0@example.com>",
        References="<a@example.com> <b@example.com>",
    )
    del message["Subject"]
    message["Subject"] = "größer als 100 €"
    message.set_content("Summe: 150 €\n", charset="iso-8859-15", cte="quoted-printable")
    message.add_alternative("<p>Summe: <b>150</b>&nbsp;€</p>", subtype="html")
    server.inbox.add(bytes(message), datetime(2026, 11, 21, 8, 58, 14, tzinfo=UTC))

    [data] = Looking(ctx, server, first=1).look()

    assert data["subject"] == "größer als 100 €"
    assert data["from"] == {"name": "Ada Example", "address": "ada@example.com"}
    assert data["to"] == [
        {"name": "Bücher, Zoë", "address": "books@example.com"},
        {"name": "", "address": "second@example.com"},
    ]
    assert (data["cc"][0]["address"], data["reply_to"][0]["address"]) == (
        "third@example.com",
        "answers@example.com",
    )
    assert (data["in_reply_to"], data["references"]) == (
        "<0@example.com>",
        ["<a@example.com>", "<b@example.com>"],
    )
    assert (data["text"], data["html"]) == ("Summe: 150 €\n", "<p>Summe: <b>150</b>&nbsp;€</p>\n")
    assert (data["sent_at"], data["received_at"]) == ("2026-11-21T08:58:12Z", "2026-11-21T08:58:14Z")
    assert (data["problem"], data["attachments"], data["automatic"]) == ("", [], False)


def test_a_mail_of_html_alone_has_its_words_as_text(ctx, server):
    message = mail()
    message.set_content(
        "<head><style>p{}</style></head><p>Two of\n the <b>blue</b> ones</p><p>&amp; a &lt;red&gt; one<br>Ada</p>",
        subtype="html",
    )
    server.inbox.add(bytes(message))

    [data] = Looking(ctx, server, first=1).look()

    assert data["text"] == "Two of the blue ones\n\n& a <red> one\nAda"


def test_files_are_kept_by_reference(ctx, server):
    message = mail()
    message.add_attachment(b"%PDF", "application", "pdf", filename="Rechnung größe.pdf")
    message.add_attachment("a;b\n", subtype="csv", filename="rows.csv")
    inner = mail(2)
    message.add_attachment(inner)
    server.inbox.add(bytes(message))

    [data] = Looking(ctx, server, first=1).look()

    assert [(each["name"], each["type"], each["left_out"]) for each in data["attachments"]] == [
        ("Rechnung größe.pdf", "application/pdf", ""),
        ("rows.csv", "text/csv", ""),
        ("mail-3.eml", "message/rfc822", ""),
    ]
    pdf, csv, eml = (ctx.files.content(each["file"]) for each in data["attachments"])
    assert (pdf, csv.split()) == (b"%PDF", [b"a;b"])
    assert b"order 2" in eml
    assert data["text"] == "two of the blue ones\n"
    assert "%PDF" not in str(data)


def test_files_can_be_left_where_they_are(ctx, server):
    message = mail()
    message.add_attachment(b"%PDF", "application", "pdf", filename="bill.pdf")
    server.inbox.add(bytes(message))

    [data] = Looking(ctx, server, first=1, attachments=False).look()

    assert data["attachments"][0]["file"] is None
    assert ctx.files.kept == {}


def test_more_files_than_are_kept_are_named(ctx, server):
    message = mail()
    for number in range(22):
        message.add_attachment(b"x", "application", "pdf", filename=f"{number}.pdf")
    server.inbox.add(bytes(message))

    [data] = Looking(ctx, server, first=1).look()

    assert [bool(each["left_out"]) for each in data["attachments"]] == [False] * 20 + [True] * 2
    assert len(ctx.files.kept) == 20


def test_a_file_that_is_too_large_is_named_and_left_out(ctx, server):
    message = mail()
    message.add_attachment(b"x" * (25 * 1024 * 1024 + 1), "application", "zip", filename="big.zip")
    server.inbox.add(bytes(message))

    [data] = Looking(ctx, server, first=1).look()

    assert data["attachments"][0]["left_out"] == "larger than 25 MB"
    assert data["attachments"][0]["file"] is None


NESTED = b"".join(
    b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level)
    for level in range(3000)
)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"no headers at all",
        b"Subject: =?utf-8?b?%%%?= =?nonsense?q?=ff?=\r\n\r\nhi",
        b"Subject: =?utf-8?q?a=0D=0ABcc:_x?=\r\nFrom: <<>> @\r\nDate: tomorrow\r\n\r\nhi",
        b"Subject: raw \xff\xfe bytes\0\r\nTo: \xff <a@b>\r\n\r\n\xff\xfe\0",
        b'Content-Type: text/plain; charset="no-such"\r\n\r\nhi',
        b"Content-Type: text/plain; charset=\xff\r\n\r\nhi",
        b"Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n\r\nabc\r\n",
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 x\r\n!!!\r\n",
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n--b\r\n--b--',
        b"Content-Type: message/rfc822\r\n\r\nSubject: \xff\r\n\r\n\xff",
        b"Content-Type: application/pdf; name*=nonsense''%ff%fe\r\nContent-Disposition: attachment\r\n\r\nx",
        b"Content-Type: application/pdf; name*0*=utf-8''a; name*2=b\r\n\r\nx",
        b"Content-Type: application/\0\xff; name=\0\xff\r\nContent-Disposition: attachment\r\n\r\nx",
        b"Date: Mon, 32 Foo 99999 25:61:61 +9999\r\n\r\n",
        b"From: " + b"a@b, " * 5000 + b"\r\n\r\nhi",
        NESTED,
    ],
)
def test_nothing_that_a_stranger_writes_stops_the_looking(ctx, server, raw):
    server.inbox.add(b"Message-ID: <1@x>\r\n" + raw)
    server.inbox.add(bytes(mail(2)))

    found = Looking(ctx, server, first=2).look()

    assert [data["subject"] for data in found][1] == "order 2"
    assert "\r" not in found[0]["subject"]
    stored = json.dumps(found)
    assert "\\u0000" not in stored
    assert "\\ud8" not in stored
    assert "\\udc" not in stored


def test_thousands_of_parts_inside_each_other_are_told(ctx, server):
    server.inbox.add(b"Subject: deep\r\n" + NESTED)

    [data] = Looking(ctx, server, first=1).look()

    assert (data["subject"], data["problem"]) == ("deep", "it is nested too deep")


# log-in, encryption, failure


def test_a_check_signs_in_and_changes_nothing(ctx, server):
    server.inbox.add(bytes(mail()))

    assert check(ctx, account(server)) == f"signed in to 127.0.0.1 as {USERNAME}; the inbox has 1 mail"
    assert not [line for line in server.heard if line.startswith(("SELECT", "UID STORE"))]


@pytest.mark.parametrize("login_only", [False, True])
def test_a_name_and_password_with_quotes_arrive_whole(ctx, login_only):
    with imap_server(security="tls", login_only=login_only) as server:
        check(ctx, account(server))

    assert any(line.startswith("LOGIN" if login_only else "AUTHENTICATE") for line in server.heard)


@pytest.mark.parametrize("login_only", [False, True])
def test_a_wrong_password_names_the_mend_and_is_not_repeated(ctx, login_only):
    with (
        imap_server(security="tls", login_only=login_only) as server,
        pytest.raises(AuthError, match="check user name and password") as refused,
    ):
        check(ctx, account(server, password="another horse"))

    assert "another horse" not in str(refused.value)


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        (
            {"AUTHENTICATE": "TAG NO [UNAVAILABLE] the directory is away"},
            TemporaryError,
            "cannot sign in now",
        ),
        ({"AUTHENTICATE": "TAG NO [AUTHENTICATIONFAILED] no"}, AuthError, "refused the log-in"),
        ({"AUTHENTICATE": ""}, TemporaryError, "broke off"),
        ({"GREETING": "* BYE too many connections"}, TemporaryError, "takes no connections now"),
        ({"GREETING": "HTTP/1.1 400 Bad Request"}, RejectedError, "does not speak imap"),
        ({"CAPABILITY": "* CAPABILITY POP9\r\nTAG OK done"}, RejectedError, "does not speak imap"),
        ({"EXAMINE": "TAG NO [SERVERBUG] oh"}, RejectedError, "no folder INBOX"),
        ({"EXAMINE": ""}, TemporaryError, "broke off"),
        ({"EXAMINE": "* 1 FETCH (BODY[] {999999999999}\r\n"}, TemporaryError, "broke off"),
        ({"EXAMINE": "x" * 1_000_100}, RejectedError, "refused this"),
    ],
)
def test_what_the_server_says_decides_what_happens_next(ctx, server, told, error, words):
    server.says = told

    with pytest.raises(error, match=words):
        check(ctx, account(server))


def test_a_folder_that_is_gone_names_those_that_are_there(ctx, server):
    with pytest.raises(RejectedError, match=r"no folder Orders at 127\.0\.0\.1; it has INBOX, Entwürfe"):
        Looking(ctx, server, folder="Orders").look()


def test_a_folder_that_may_only_be_read_is_told(ctx, server):
    server.inbox.read_only = True

    with pytest.raises(RejectedError, match="may only be read"):
        Looking(ctx, server, mark_read=True).look()


def test_a_search_that_is_refused_is_told(ctx, server):
    looking = Looking(ctx, server)
    looking.look()
    server.says = {"UID": "TAG NO too many searches"}

    with pytest.raises(RejectedError, match="too many searches"):
        looking.look()


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_our_own_is_accepted_only_where_that_is_allowed(ctx, security):
    with imap_server(security=security) as server:
        with pytest.raises(TemporaryError, match="certificate"):
            check(ctx, account(server, accept_self_signed=False))
        assert not [line for line in server.heard if line.startswith(("LOGIN", "AUTHENTICATE"))]

        check(ctx, account(server))


def test_a_certificate_of_a_trusted_authority_is_accepted(ctx, server, tmp_path, monkeypatch):
    authority = tmp_path / "authority.pem"
    authority.write_bytes(self_signed())
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    channels.tls.cache_clear()

    said = check(ctx, account(server, host="localhost", accept_self_signed=False))

    channels.tls.cache_clear()
    assert said.startswith("signed in to localhost")


def test_no_password_is_sent_to_a_server_that_does_not_encrypt(ctx):
    with imap_server() as server, pytest.raises(RejectedError):
        check(ctx, account(server, security="starttls"))

    assert not [line for line in server.heard if line.startswith(("LOGIN", "AUTHENTICATE"))]


def test_a_server_that_is_signed_in_before_encryption_is_not_believed(ctx):
    with (
        imap_server(security="starttls", says={"GREETING": "* PREAUTH hi"}) as server,
        pytest.raises(RejectedError),
    ):
        check(ctx, account(server))


def test_a_server_that_is_slow_is_left_at_the_deadline(guard, server):
    server.says = {"NOOP": "* OK wait"}
    began = time.monotonic()

    with (
        pytest.raises(TemporaryError, match="in time"),
        sdk.session(guard, _server(account(server)), deadline_s=0.5) as client,
    ):
        client.noop()

    assert time.monotonic() - began < 3


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "0x7f000001", "[::1]"])
def test_addresses_inside_are_refused(strict_ctx, host):
    with pytest.raises(RejectedError):
        check(strict_ctx, Account(host=host, username="a", password="secret"))


@pytest.mark.parametrize("port", [22, 25, 6379, 8000])
def test_other_ports_than_those_of_imap_are_refused(port):
    guard = AddressGuard(resolver=lambda host, port: [(2, 1, 0, "", ("93.184.216.34", port))])
    connection = Account(host="imap.example.com", port=port, username="a", password="secret")

    with pytest.raises(RejectedError), sdk.session(guard, _server(connection), deadline_s=1):
        pass


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"host": ""}, "host"),
        ({"port": 0}, "port"),
        ({"security": "none"}, "security"),
        ({"username": "a\r\nb"}, "username"),
        ({"password": ""}, "password"),
        ({"password": "a\r\nA1 DELETE INBOX"}, "password"),
    ],
)
def test_an_account_that_cannot_work_is_refused(server, fields, where):
    with pytest.raises(ValidationError) as error:
        account(server, **fields)

    assert where in sentences(error.value)


@pytest.mark.parametrize("folder", ["IN\r\nBOX", "a\0b"])
def test_a_folder_that_breaks_out_of_its_line_is_refused(folder):
    with pytest.raises(ValidationError):
        Arriving(folder=folder)


@pytest.mark.parametrize("folder", ['a"b', "a\\b", "A&B", "日本語/ü", "x" * 300, "INBOX) (x"])
def test_a_folder_of_any_name_is_named_whole(ctx, server, folder):
    server.folders[sdk._to_utf7(folder)] = server.inbox

    assert Looking(ctx, server, folder=folder).look() == []
    assert sdk._from_utf7(sdk._to_utf7(folder)) == folder


# the stand-in


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"A1 NONSENSE\r\n", b"A1 BAD"),
        (b"A1 SELECT INBOX\r\n", b"A1 BAD"),
        (b"A1 UID FETCH 1 (UID)\r\n", b"A1 BAD"),
        (b"A1 LOGIN a b c\r\n", b"A1 BAD"),
        (b'A1 LOGIN "a\\b" "c"\r\n', b"A1 BAD"),
        (b"A1 LOGIN someone wrong\r\n", b"A1 NO"),
        (b"nonsense\r\n", b"* BAD"),
    ],
)
def test_the_stand_in_refuses(command, answer):
    with imap_server() as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        said = connection.makefile("rb")
        said.readline()
        connection.sendall(command)

        assert said.readline().startswith(answer)


def test_the_stand_in_refuses_bad_syntax_and_writing_where_it_was_only_examined():
    with imap_server() as server, imaplib.IMAP4("127.0.0.1", server.port) as client:
        client.authenticate("PLAIN", lambda _: f"\0{USERNAME}\0{PASSWORD}".encode())
        client.select("INBOX", readonly=True)

        assert client.uid("STORE", "1", "+FLAGS.SILENT", r"(\Seen)")[0] == "NO"
        with pytest.raises(imaplib.IMAP4.error, match="BAD"):
            client.uid("SEARCH", "NONSENSE")
        with pytest.raises(imaplib.IMAP4.error, match="BAD"):
            client.uid("FETCH", "1", "(BODY[])")
