"""The types of the API's bodies: text that every database stores, instants, names, and the frame of a list."""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)

from app import clock
from app.services.paging import LIMIT, MOST

Item = TypeVar("Item")

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def _storable(text: str) -> str:
    # PostgreSQL refuses NUL in text.
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("needs a time zone; end it with Z or an offset such as +02:00")
    if not _EARLIEST <= instant <= _LATEST:
        raise ValueError("must be between the years 1970 and 9000")
    return instant.astimezone(UTC)


Text = Annotated[str, Field(max_length=1000), AfterValidator(_storable)]
Id = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_storable)]
QueueName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,49}$", examples=["default"])]
Moment = Annotated[datetime, AfterValidator(_aware)]
Instant = Annotated[
    datetime,
    PlainSerializer(clock.rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-21T09:00:00.000Z"]}),
]
# Any JSON value as it is: pydantic would look into it, and refuse what a stranger's event may hold.
Json = Annotated[Any, PlainValidator(lambda value: value), WithJsonSchema({})]


class Body(BaseModel):
    """What comes in: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


class Shown(BaseModel):
    """What goes out."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Paged(Body):
    limit: int = Field(LIMIT, ge=1, le=MOST)
    cursor: str | None = Field(None, max_length=100)


class Spanned(Paged):
    text: Text | None = Field(None, min_length=1, max_length=200, description="found anywhere in it")
    since: Moment | None = None
    until: Moment | None = None


class List(Shown, Generic[Item]):
    items: list[Item]
    next_cursor: str | None
