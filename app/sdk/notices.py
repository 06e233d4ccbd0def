"""How an integration tells a person something on BitQueue's own behalf."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

NoticeKind = Literal["mail", "chat", "webhook"]


@dataclass(frozen=True, slots=True)
class Notice:
    """`to` is a mail address, a channel or a web address; `data` is the same as `title` and `text`, for programs."""

    to: str
    title: str
    text: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NoticeWay:
    """`action` sends it with what `params` makes of a notice; `addressed`: somebody has to say to whom."""

    kind: NoticeKind
    action: str
    addressed: bool
    params: Callable[[Notice], dict[str, Any]]
