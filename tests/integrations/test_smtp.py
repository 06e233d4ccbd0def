import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pydantic import ValidationError

from app.integrations import smtp as integration
from app.integrations.smtp import Account, Mail, check, send
from app.sdk import channels, smtp
from app.sdk.addresses import AddressGuard
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.fields import sentences, spread
from tests.providers.smtp import PASSWORD, USERNAME, self_signed, smtp_server
from tests.stored import StoredFiles


@pytest.fixture
def server():
    """With log-in, without encryption."""
    with smtp_server() as mailbox:
        yield mailbox


@pytest.fixture
def open_server():
    with smtp_server(log_in=False) as mailbox:
        yield mailbox


def account(server, **fields):
    known = {
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "username": USERNAME,
        "password": PASSWORD,
        "sender": "Example Shop <orders@example.com>",
    }
    return Account.model_validate(known | fields)


def anonymous(server, **fields):
    return account(server, username="", password="", **fields)


def mail(**fields):
    return Mail.model_validate({"to": ["ada@example.com"], "subject": "hello", "text": "hi"} | fields)


def noop(guard, connection, *, deadline_s):
    with smtp.session(guard, integration._server(connection), deadline_s=deadline_s) as client:
        client.noop()


@contextmanager
def talking(*lines, then_wait=False):
    """A server that says these lines, one after each line it hears, whatever that is."""
    done = threading.Event()

    def serve():
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as heard:
            for line in lines:
                connection.sendall(line)
                heard.readline()
            if then_wait:
                done.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield type("Talker", (), {"port": listener.getsockname()[1]})
        done.set()
        thread.join(2)


# the mail


def test_a_mail_arrives_with_text_and_html(ctx, server):
    output = send(
        ctx,
        account(server),
        mail(
            to=["Ada Example <ada@example.com>", "bob@example.com"],
            cc="eve@example.com",
            bcc=["hidden@example.com"],
            reply_to="Help <help@example.com>",
            subject="Bestellung größer als 100 €",
            text="Summe: 150 €\n.\nGruß",
            html="<p>150&nbsp;€</p>",
        ),
    )

    [envelope], [message] = server.envelopes, server.messages
    assert envelope.mail_from == "orders@example.com"
    assert envelope.rcpt_tos == [
        "ada@example.com",
        "bob@example.com",
        "eve@example.com",
        "hidden@example.com",
    ]
    assert message["From"] == "Example Shop <orders@example.com>"
    assert message["To"] == "Ada Example <ada@example.com>, bob@example.com"
    assert message["Cc"] == "eve@example.com"
    assert message["Reply-To"] == "Help <help@example.com>"
    assert message["Subject"] == "Bestellung größer als 100 €"
    assert message["Date"] == "Sat, 21 Nov 2026 09:00:00 +0000"
    assert b"hidden@" not in envelope.content
    text, html = message.iter_parts()
    assert text.get_content().splitlines() == ["Summe: 150 €", ".", "Gruß"]
    assert html.get_content().strip() == "<p>150&nbsp;€</p>"
    assert output["accepted"] == envelope.rcpt_tos
    assert output["message_id"] == message["Message-ID"]


@pytest.mark.parametrize(
    ("fields", "kind"), [({"text": "hi"}, "text/plain"), ({"text": "", "html": "<p>"}, "text/html")]
)
def test_one_body_is_sent_as_it_is(ctx, server, fields, kind):
    send(ctx, account(server), mail(**fields))

    assert server.messages[0].get_content_type() == kind


def test_every_attempt_of_a_task_has_the_same_message_id_and_other_tasks_another(ctx, server):
    ids = [
        send(replace(ctx, idempotency_key=key), account(server), mail())["message_id"]
        for key in ("tsk_1", "tsk_1", "tsk_2", "")
    ]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(name.endswith("@example.com>") for name in ids)


def test_long_lines_and_half_characters_do_not_break_a_mail(ctx, server):
    send(ctx, account(server), mail(text="x" * 5_000 + "\ud83d" + "\r\nend", subject="y" * 900))

    [message] = server.messages
    assert message.get_content().splitlines() == ["x" * 5_000 + "\ufffd", "end"]
    assert max(map(len, server.envelopes[0].content.splitlines())) < 999


def test_a_number_may_be_a_subject(ctx, server):
    send(ctx, account(server), mail(subject=1001, text=True))

    assert server.messages[0]["Subject"] == "1001"
    assert server.messages[0].get_content().strip() == "true"


def test_an_address_twice_is_one_recipient(ctx, server):
    output = send(ctx, account(server), mail(to=["ada@example.com"], cc=["Ada <ada@example.com>"]))

    assert output["accepted"] == ["ada@example.com"]


# hostile values


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"subject": "hello\r\nBcc: victim@example.com"}, "subject"),
        ({"subject": "hello\nX: y"}, "subject"),
        ({"subject": "hello\x00"}, "subject"),
        ({"subject": "hello\u2028X: y"}, "subject"),
        ({"to": ["ada@example.com\r\nBcc: victim@example.com"]}, "to.0"),
        ({"to": ["ada@example.com, victim@example.com"]}, "to.0"),
        ({"to": "ada@example.com, victim@example.com"}, "to.0"),
        ({"to": ["ada@example.com; victim@example.com"]}, "to.0"),
        ({"to": ["ada@example.com victim@example.com"]}, "to.0"),
        ({"to": ["ada@example.com <victim@example.com>"]}, "to.0"),
        ({"to": ['"ada@example.com" <victim@example.com>']}, "to.0"),
        ({"to": ["Ada <ada@example.com> <victim@example.com>"]}, "to.0"),
        ({"to": ["Ada <ada@example.com>, Eve <victim@example.com>"]}, "to.0"),
        ({"to": ["list:ada@example.com,victim@example.com;"]}, "to.0"),
        ({"to": ["ada@example.com(victim@example.com)"]}, "to.0"),
        ({"to": ["ada@victim@example.com"]}, "to.0"),
        ({"to": ["ada@[127.0.0.1]"]}, "to.0"),
        ({"to": ["@example.com"]}, "to.0"),
        ({"to": [{"a": "ada@example.com"}]}, "to.0"),
        ({"cc": ["nobody"]}, "cc.0"),
        ({"bcc": ["x@y z"]}, "bcc.0"),
        ({"reply_to": "a@example.com, b@example.com"}, "reply_to"),
        ({"to": []}, "to"),
        ({"to": ""}, "to"),
        ({"to": ["ada@example.com"] * 101}, "to"),
        ({"text": "", "html": ""}, "html"),
        ({"headers": {"X": "y"}}, "headers"),
    ],
)
def test_a_mail_that_hides_something_is_refused_beside_its_field(fields, where):
    with pytest.raises(ValidationError) as error:
        mail(**fields)

    assert where in sentences(error.value)


def test_an_author_may_write_several_addresses_with_commas():
    written = {
        "to": '"Doe, Jane" <jane@example.com>, {{ event.email | default: "a,b" }}\n bob@example.com',
        "subject": "a, b",
    }

    assert spread(Mail, written) == {
        "to": ['"Doe, Jane" <jane@example.com>', '{{ event.email | default: "a,b" }}', "bob@example.com"],
        "subject": "a, b",
    }


def test_a_domain_of_another_script_is_sent_in_ascii(ctx, server):
    output = send(ctx, account(server), mail(to=["ada@bücher.example"]))

    assert output["accepted"] == ["ada@xn--bcher-kva.example"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "0x7f000001", "10.0.0.1"]
)
def test_a_mail_server_must_be_public(strict_ctx, server, host):
    with pytest.raises(RejectedError, match="only public addresses"):
        check(strict_ctx, account(server, host=host, port=587))


@pytest.mark.parametrize("port", [22, 80, 443, 6379, 5432, 8000])
def test_only_ports_of_mail_are_called(strict_ctx, server, port):
    with pytest.raises(RejectedError, match="only public addresses"):
        check(strict_ctx, account(server, host="mail.example.com", port=port))


def test_our_own_services_are_not_called_even_where_private_networks_are_allowed(ctx, server):
    guard = AddressGuard(allow_private=True, blocked=(("127.0.0.1", server.port),))

    with pytest.raises(RejectedError):
        check(replace(ctx, guard=guard), account(server))


# what the server says


def test_recipients_that_are_refused_are_named_and_the_others_get_the_mail(ctx, server):
    server.rcpt = {"gone@example.com": "550 5.1.1 no such user."}

    output = send(ctx, account(server), mail(to=["ada@example.com", "gone@example.com"]))

    assert output["accepted"] == ["ada@example.com"]
    assert output["refused"] == {"gone@example.com": "550 5.1.1 no such user"}
    assert server.envelopes[0].rcpt_tos == ["ada@example.com"]


def test_a_mail_that_nobody_may_get_is_final(ctx, server):
    server.rcpt = {"ada@example.com": "550 5.1.1 no such user"}

    with pytest.raises(RejectedError, match=r"550 ada@example\.com: 5\.1\.1 no such user"):
        send(ctx, account(server), mail())


def test_while_one_recipient_may_still_get_it_the_mail_is_tried_again(ctx, server):
    server.rcpt = {"ada@example.com": "450 4.2.0 greylisted", "gone@example.com": "550 5.1.1 no such user"}

    with pytest.raises(TemporaryError, match="and 1 more"):
        send(ctx, account(server), mail(to=["gone@example.com", "ada@example.com"]))


def test_the_stand_in_takes_no_mail_without_log_in(ctx, server):
    with pytest.raises(AuthError, match="530"):
        send(ctx, anonymous(server), mail())


@pytest.mark.parametrize(
    ("told", "error", "sent"),
    [
        ({"mail": "451 4.3.0 later"}, TemporaryError, False),
        ({"mail": "550 5.7.1 not from here"}, RejectedError, None),
        ({"mail": "530 5.7.0 sign in first"}, AuthError, None),
        ({"rcpt": {"ada@example.com": "450 4.2.0 greylisted"}}, TemporaryError, False),
        ({"data": "452 4.3.1 disk full"}, TemporaryError, False),
        ({"data": "554 5.6.0 spam"}, RejectedError, None),
        ({"data": ""}, TemporaryError, True),
    ],
)
def test_what_the_server_says_decides_what_happens_next(ctx, server, told, error, sent):
    for name, value in told.items():
        setattr(server, name, value)

    with pytest.raises(error) as failure:
        send(ctx, account(server), mail())

    assert getattr(failure.value, "sent", None) is sent
    assert server.envelopes == []


def test_a_wrong_password_is_told_without_repeating_it(ctx, server):
    with pytest.raises(AuthError, match="535") as failure:
        send(ctx, account(server, password="another horse"), mail())

    assert "another horse" not in str(failure.value)
    assert server.log_ins > 0


def test_a_password_that_mail_log_in_cannot_carry_is_told(ctx, server):
    with pytest.raises(AuthError, match="plain letters"):
        check(ctx, account(server, password="pässwörd€"))


def test_a_server_that_knows_no_log_in_is_told(ctx, open_server):
    with pytest.raises(RejectedError, match="cannot do this"):
        check(ctx, account(open_server))


def test_a_server_that_echoes_the_password_does_not_bring_it_into_the_message(ctx):
    lines = (
        b"220 hi\r\n",
        b"250-hi\r\n250 AUTH PLAIN\r\n",
        f"535 no: {PASSWORD}\r\n".encode(),
        b"221 bye\r\n",
    )

    with talking(*lines) as server, pytest.raises(AuthError) as failure:
        check(ctx, account(server))

    assert PASSWORD not in str(failure.value)


def test_a_server_of_another_kind_is_told(ctx):
    with (
        talking(b"HTTP/1.1 400 Bad Request\r\n") as server,
        pytest.raises(RejectedError, match="does not speak smtp"),
    ):
        check(ctx, anonymous(server))


def test_a_server_that_is_full_is_tried_again(ctx):
    with talking(b"421 too many connections\r\n") as server, pytest.raises(TemporaryError) as failure:
        send(ctx, anonymous(server), mail())

    assert failure.value.sent is False


def test_a_server_that_hangs_up_before_the_mail_has_not_got_it(ctx):
    with talking(b"220 hi\r\n", b"250 hi\r\n") as server, pytest.raises(TemporaryError) as failure:
        send(ctx, anonymous(server), mail())

    assert failure.value.sent is False


def test_a_server_that_never_ends_a_line_is_left_at_the_deadline(guard):
    lines = [b"2", *[b""] * 50]
    began = time.monotonic()

    with talking(*lines, then_wait=True) as server, pytest.raises(TemporaryError, match="in time"):
        noop(guard, anonymous(server), deadline_s=0.3)

    assert time.monotonic() - began < 2


def test_a_mail_that_was_taken_is_sent_even_if_the_server_does_not_say_goodbye(ctx):
    lines = (b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n")

    with taking_mail(lines) as server:
        assert send(ctx, anonymous(server), mail())["accepted"] == ["ada@example.com"]


@contextmanager
def taking_mail(lines):
    def serve():
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as heard:
            for line in lines:
                connection.sendall(line)
                heard.readline()
            while heard.readline().strip() != b".":
                pass
            connection.sendall(b"250 queued\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield type("Talker", (), {"port": listener.getsockname()[1]})
        thread.join(2)


# encryption


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_our_own_is_accepted_only_where_that_is_allowed(ctx, security):
    with smtp_server(security=security) as server:
        with pytest.raises(TemporaryError, match=r"certificate of 127\.0\.0\.1 was not") as failure:
            send(ctx, account(server, security=security), mail())

        send(ctx, account(server, security=security, accept_self_signed=True), mail())

    assert failure.value.sent is False
    assert len(server.envelopes) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_a_trusted_authority_is_accepted(ctx, security, tmp_path, monkeypatch):
    authority = tmp_path / "authority.pem"
    authority.write_bytes(self_signed())
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    channels.tls.cache_clear()

    with smtp_server(security=security) as server:
        said = check(ctx, account(server, host="localhost", security=security))

    channels.tls.cache_clear()
    assert said == f"signed in to localhost as {USERNAME}"


def test_no_password_is_sent_to_a_server_that_does_not_encrypt(ctx, server):
    with pytest.raises(RejectedError, match="starttls"):
        check(ctx, account(server, security="starttls"))

    assert server.log_ins == 0


def test_a_server_that_does_not_encrypt_from_the_first_byte_is_told(ctx, server):
    with pytest.raises(TemporaryError, match="check port"):
        check(ctx, account(server, security="tls"))


def test_what_was_smuggled_in_front_of_encryption_is_not_believed(ctx):
    lines = (b"220 hi\r\n", b"250-hi\r\n250 STARTTLS\r\n", b"220 go\r\n250 AUTH PLAIN\r\n")

    with talking(*lines) as server, pytest.raises(TemporaryError) as failure:
        check(ctx, account(server, security="starttls"))

    assert failure.value.sent is False


# the account


def test_a_check_sends_nothing(ctx, server, open_server):
    assert check(ctx, account(server)) == f"signed in to 127.0.0.1 as {USERNAME}"
    assert check(ctx, anonymous(open_server)) == "connected to 127.0.0.1 without log-in"
    assert server.envelopes == open_server.envelopes == []


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"host": ""}, "host"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"password": ""}, "password"),
        ({"security": "ssl"}, "security"),
        ({"sender": "orders"}, "sender"),
        ({"sender": "a@example.com, b@example.com"}, "sender"),
        ({"sender": "Shop\r\nBcc: x@example.com <a@example.com>"}, "sender"),
    ],
)
def test_an_account_that_cannot_work_is_refused(fields, where):
    with pytest.raises(ValidationError) as error:
        account(type("Server", (), {"port": 587}), **fields)

    assert where in sentences(error.value)


# files


@pytest.fixture
def files_ctx(ctx):
    return replace(ctx, files=StoredFiles())


def stored(
    ctx, name="bill.pdf", media_type="application/pdf", body=b"%PDF-1.7\n.\n..\n" + bytes(range(256)) * 9
):
    return ctx.files.save(name, media_type, [body])


def test_files_go_along_as_they_are_stored(files_ctx, server):
    bill = stored(files_ctx)
    other = stored(files_ctx, "größe \r\nBcc: x@example.com.csv", "text/csv; charset=utf-8", b"a;b\r\n.\r\n")
    empty = stored(files_ctx, "empty.txt", "text/plain", b"")

    send(files_ctx, account(server), mail(attachments=[bill.model_dump(), [other.model_dump(), empty.id]]))

    [message] = server.messages
    sent = [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in attachments_of(message)
    ]
    assert sent == [
        ("bill.pdf", "application/pdf", files_ctx.files.content(bill)),
        ("größe Bcc: x@example.com.csv", "text/csv", b"a;b\r\n.\r\n"),
        ("empty.txt", "text/plain", b""),
    ]
    assert message.get_body(("plain",)).get_content().strip() == "hi"
    assert message["Bcc"] is None


def attachments_of(message):
    return list(message.iter_attachments())


def test_the_length_that_is_announced_is_the_length_that_is_sent(files_ctx, server):
    send(files_ctx, account(server), mail(text="x\n.\n", attachments=[stored(files_ctx, body=b"y" * 999)]))

    composed = integration.mail.compose({}, "x\n.\n", "", at=files_ctx.now)
    sizes = [stored(files_ctx, body=b"y" * size) for size in (0, 1, 57, 58, 999)]
    attached = integration.mail.attached(files_ctx.files, sizes)
    message = integration.mail.outgoing(composed, attached, files_ctx.files)
    assert len(message) == len(b"".join(message))
    assert server.messages[0].get_body(("plain",)).get_content().splitlines() == ["x", "."]


def test_an_attachment_of_a_mail_that_arrived_is_taken_and_one_that_was_left_out_is_not(files_ctx, server):
    bill = stored(files_ctx).model_dump()

    send(files_ctx, account(server), mail(attachments=[[{"name": "bill.pdf", "file": bill}, {"file": None}]]))

    assert [part.get_filename() for part in attachments_of(server.messages[0])] == ["bill.pdf"]


def test_an_image_is_shown_inside_the_html(files_ctx, server):
    logo, bill = stored(files_ctx, "logo.png", "image/png", b"\x89PNG"), stored(files_ctx)
    html = '<p><img src="cid:logo"></p>'

    send(files_ctx, account(server), mail(html=html, images={"logo": logo}, attachments=[bill]))

    [message] = server.messages
    body = message.get_body(("related",))
    assert body.get_content_type() == "multipart/related"
    [image] = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert (image["Content-ID"], image.get_content_disposition()) == ("<logo>", "inline")
    assert image.get_payload(decode=True) == b"\x89PNG"
    assert [part.get_filename() for part in attachments_of(message)] == ["bill.pdf"]


@pytest.mark.parametrize(
    "fields",
    [{"images": {"logo": "fil_" + "0" * 26}}, {"html": "<p>", "images": {"a b>": "fil_" + "0" * 26}}],
)
def test_images_without_html_or_with_a_name_that_breaks_out_are_refused(fields):
    with pytest.raises(ValidationError) as error:
        mail(**fields)

    assert "images" in sentences(error.value)


def test_more_than_the_most_is_refused_before_anything_is_sent(files_ctx, server):
    big = [stored(files_ctx, f"{number}.bin", "x/y", b"x" * 9 * 1024 * 1024) for number in range(3)]

    with pytest.raises(RejectedError, match=r"27\.0 MB together"):
        send(files_ctx, account(server), mail(attachments=big))

    assert server.log_ins == 0


def test_a_file_that_is_gone_is_told_before_anything_is_sent(files_ctx, server):
    with pytest.raises(RejectedError, match="not kept any more"):
        send(files_ctx, account(server), mail(attachments=["fil_" + "0" * 26]))

    assert server.log_ins == 0


def test_a_file_that_vanishes_while_it_is_sent_leaves_no_half_mail(files_ctx, server):
    class Vanishing(StoredFiles):
        def open(self, file):
            yield b"x" * 5000
            raise RejectedError("the file is gone")

    files = Vanishing()
    files.kept = files_ctx.files.kept

    with pytest.raises(RejectedError, match="gone"):
        send(replace(files_ctx, files=files), account(server), mail(attachments=[stored(files_ctx)]))

    assert server.envelopes == []
