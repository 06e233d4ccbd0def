"""What a step asks for when it does something in Slack."""

import re
from typing import Annotated, Any, Final, TypeAlias

from pydantic import ValidationInfo, field_validator

from app.sdk import slack
from app.sdk.context import FileRef
from app.sdk.fields import Settings, Text, setting
from app.sdk.shapes import Objects, shaped

_EMOJI: Final = re.compile(r"[\w+'-]{1,100}(::skin-tone-[2-6])?")
_ADDRESS: Final = re.compile(r"[^@\s<>,;]{1,64}@[^@\s<>,;]{1,190}")


_BY_ID: Final = "must be an id such as C0123456789; it stands at the end of the channel's details"
_BY_TS: Final = "must be the ts of a message, such as 1763715600.000100"

Channel: TypeAlias = Annotated[
    Text, shaped(r"#?[^\s#<>|]{1,80}", "must be a channel's id or #name, or a person's member id")
]
ChannelId: TypeAlias = Annotated[Text, shaped(r"[CDGUW][A-Z0-9]{2,20}", _BY_ID)]
Moment: TypeAlias = Annotated[Text, shaped(r"[0-9]{1,12}\.[0-9]{1,9}", _BY_TS)]
Member: TypeAlias = Annotated[Text, shaped(r"[UW][A-Z0-9]{2,20}", "must be a member id such as U0123456789")]
MaybeMoment: TypeAlias = Annotated[Text, shaped(r"([0-9]{1,12}\.[0-9]{1,9})?", _BY_TS)]

_ID: Final = "its id, at the end of the channel's details: C0123456789"
_TS: Final = "the ts of an earlier step or of the event"


class Words(Settings):
    """What a message says."""

    text: Text = setting(
        "Text",
        help="with blocks, it is what notifications show",
        example="order {{ event.order }} over {{ event.total }}",
        widget="textarea",
        min_length=1,
        max_length=40_000,
    )
    blocks: Objects = setting(
        "Blocks",
        [],
        help="a JSON list, as slack's block kit builder makes it; shown instead of the text",
        widget="code",
        max_length=50,
    )
    markup: bool = setting(
        "Text has Slack markup",
        False,
        help="links as <https://example.com|words>; values are then not made harmless",
    )

    def shown(self, notify: slack.Notify = "nobody") -> dict[str, Any]:
        blocks = slack.harmless_blocks(self.blocks, markup=self.markup)
        if blocks and notify != "nobody":
            blocks.insert(0, {"type": "section", "text": {"type": "mrkdwn", "text": f"<!{notify}>"}})
        return {"text": slack.written(self.text, markup=self.markup, notify=notify), "blocks": blocks}


class Post(Words):
    """A message to a channel or a person."""

    channel: Channel = setting("Channel", help="its id, #name, or a person's member id", example="#orders")
    notify: slack.Notify = setting(
        "Notify", "nobody", choices={"here": "who is online", "channel": "everyone in the channel"}
    )


class Answer(Words):
    """A message under another one."""

    channel: Channel = setting("Channel", help=_ID, example="{{ event.channel }}")
    thread: Moment = setting("Answer to", help=_TS, example="{{ event.thread }}")
    broadcast: bool = setting("Show it in the channel too", False)


class Change(Words):
    """New words for a message of the app's own."""

    channel: ChannelId = setting("Channel", help=_ID, example="{{ steps.post.channel }}")
    ts: Moment = setting("Message", help=_TS, example="{{ steps.post.ts }}")


class Reaction(Settings):
    """An emoji under a message."""

    channel: ChannelId = setting("Channel", help=_ID, example="{{ event.channel }}")
    ts: Moment = setting("Message", help=_TS, example="{{ event.ts }}")
    emoji: Text = setting("Emoji", help="its name", example="white_check_mark")

    @field_validator("emoji")
    @classmethod
    def _is_name(cls, typed: str) -> str:
        if not _EMOJI.fullmatch(typed.strip().strip(":")):
            raise ValueError("must be the emoji's name, such as white_check_mark")
        return typed.strip().strip(":")


class Upload(Settings):
    """A file for a channel."""

    channel: ChannelId = setting("Channel", help=_ID, example="C0123456789")
    file: FileRef | None = setting("File", None, help="of an earlier step", example="{{ steps.export.file }}")
    text: Text = setting(
        "Or text",
        "",
        help="becomes a text file",
        widget="textarea",
        max_length=1_000_000,
        validate_default=True,
    )
    name: Text = setting("File name", "", help="without it, the file's own", max_length=200)
    comment: Text = setting("Message with it", "", widget="textarea", max_length=4_000)
    thread: MaybeMoment = setting("Answer to", "", help=_TS)

    @field_validator("text")
    @classmethod
    def _is_one(cls, text: str, info: ValidationInfo) -> str:
        if "file" in info.data and bool(text) == bool(info.data["file"]):
            raise ValueError("give a file or a text, one of them")
        return text


class Address(Settings):
    """A person's address."""

    email: Text = setting("E-mail", help="as it stands in their slack profile", example="{{ event.email }}")
    required: bool = setting("Fail when nobody has it", True)

    @field_validator("email")
    @classmethod
    def _is_address(cls, typed: str) -> str:
        if not _ADDRESS.fullmatch(typed.strip()):
            raise ValueError("must be one mail address")
        return typed.strip()


class People(Settings):
    """Who talks."""

    people: list[Member] = setting(
        "People",
        help="their member ids; one makes a direct message, several a group",
        example=["{{ steps.find_user.user }}"],
        min_length=1,
        max_length=8,
    )


class PublicChannel(Settings):
    """A channel that everybody may join."""

    channel: ChannelId = setting("Channel", help=_ID, example="C0123456789")


class Heard(Settings):
    """Which messages count."""

    channel: Text = setting(
        "Only in channel", "", help="its id; without it, wherever the app is", example="C0123456789"
    )
    bots: bool = setting(
        "Messages of apps too", False, help="a rule that answers here would then answer itself"
    )


class Mentioned(Settings):
    """Which mentions count."""

    channel: Text = setting(
        "Only in channel", "", help="its id; without it, wherever the app is", example="C0123456789"
    )


class Reacted(Settings):
    """Which reactions count."""

    emoji: Text = setting("Only this emoji", "", help="its name", example="white_check_mark")
    channel: Text = setting(
        "Only in channel", "", help="its id; without it, wherever the app is", example="C0123456789"
    )


class Command(Settings):
    """Which command counts."""

    command: Text = setting("Only this command", "", help="with its slash", example="/order")
