from email.parser import BytesParser
from email.policy import HTTP

from app.sdk.multipart import Upload, multipart


def parts(fields, upload):
    content_type, body = multipart(fields, upload)
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    return list(message.iter_parts())


def test_fields_and_file_can_be_read_back():
    text, file = parts({"chat_id": "5 €"}, Upload("photo", "lamp.jpg", "image/jpeg", b"\x00\r\n--x"))

    assert (text.get_param("name", header="content-disposition"), text.get_payload(decode=True).decode()) == (
        "chat_id",
        "5 €",
    )
    assert (file.get_filename(), file.get_content_type()) == ("lamp.jpg", "image/jpeg")
    assert file.get_payload(decode=True) == b"\x00\r\n--x"


def test_neither_a_name_nor_a_type_can_add_a_header():
    _, body = multipart({}, Upload("photo", 'a"\r\nX-Evil: 1', "image/png\r\nX-Evil: 2", b""))

    assert b"\nX-Evil" not in body
    assert b'filename="a%22%0D%0AX-Evil: 1"' in body
    assert b"application/octet-stream" in body
