"""The fields of sending a mail, whoever sends it: to whom, and what it says."""

from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator

from app.sdk.attachments import FileList
from app.sdk.fields import Settings, Text, setting
from app.sdk.mail import HeaderText, MailAddress, parse_address

SUBJECT: Final = setting("Subject", example="order {{ event.order }}", max_length=900)


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, str) and given.strip() else given or []


def _optional(given: str) -> str:
    if given:
        parse_address(given)
    return given


Addresses: TypeAlias = Annotated[list[MailAddress], BeforeValidator(_listed)]


def files_setting(most: str) -> Any:
    return setting(
        "Attachments",
        [],
        help=f"files of earlier steps, {most} together",
        example="{{ steps.download.file }}",
        widget="list",
        max_length=50,
    )


class Recipients(Settings):
    """Who gets a mail."""

    most: ClassVar[int] = 100

    to: Addresses = setting(
        "To", help="one address, or several with commas between", example=["ada@example.com"], widget="list"
    )
    cc: Addresses = setting("Cc", [], widget="list")
    bcc: Addresses = setting("Bcc", [], help="not shown to the others", widget="list")
    reply_to: Annotated[Text, AfterValidator(_optional)] = setting(
        "Answers go to", "", help="without it, to the sender"
    )

    @field_validator("to", "cc", "bcc")
    @classmethod
    def _are_some(cls, addresses: list[str], info: ValidationInfo) -> list[str]:
        if info.field_name == "to" and not addresses:
            raise ValueError("is needed")
        if len(addresses) > cls.most:
            raise ValueError(f"has more than {cls.most} addresses")
        return addresses


class Written(Settings):
    """What a mail says."""

    text: Text = setting("Text", "", example="the total is {{ event.total }}", widget="textarea")
    html: Text = setting(
        "HTML",
        "",
        help="for programs that show it; the others show the text",
        widget="textarea",
        validate_default=True,
    )
    attachments: FileList = files_setting("25 MB")

    @field_validator("html")
    @classmethod
    def _says_something(cls, html: str, info: ValidationInfo) -> str:
        if not html and info.data.get("text") == "":
            raise ValueError("write a text, html, or both")
        return html


class Headed(Recipients):
    """Who gets a mail, and under which subject."""

    subject: HeaderText = SUBJECT


class Mail(Written, Headed):
    """A mail."""
