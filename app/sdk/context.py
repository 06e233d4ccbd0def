"""What the engine lends to an integration's function for one call."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.sdk.addresses import AddressGuard
from app.sdk.errors import RejectedError
from app.sdk.http import HttpClient
from app.sdk.urls import placed

# A larger file is refused, in and out.
MAX_FILE_BYTES = 25 * 1024 * 1024


class FileRef(BaseModel):
    """A stored file as it travels in events, params and outputs: never its content.

    A field of this type takes the whole reference of an earlier step (`{{ steps.download.file }}`) or its id.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(title="File id", pattern=r"^fil_[0-9a-z]{26}$")
    name: str = ""
    type: str = "application/octet-stream"
    bytes: int = 0
    sha256: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_id(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value


class Files(Protocol):
    """The files of one workspace."""

    def save(self, name: str, media_type: str, chunks: Iterable[bytes]) -> FileRef:
        """Stored when it returns; raises RejectedError over MAX_FILE_BYTES."""
        ...

    def find(self, file: FileRef) -> FileRef:
        """The reference with its true name, type and size; raises RejectedError when it is gone."""
        ...

    def open(self, file: FileRef) -> Iterator[bytes]:
        """Its content in chunks; raises RejectedError when it is gone."""
        ...


class Memory(Protocol):
    """What one task has already got, kept over its attempts: an answer that was paid for is not paid for twice."""

    def recall(self, name: str) -> Any:
        """What was kept under this name, or None."""
        ...

    def keep(self, name: str, value: Any) -> None:
        """On disk when it returns."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that may be used; None is no limit. Money is in millionths of a US dollar."""

    calls_a_day: int | None = None
    tokens_a_day: int | None = None
    micros_a_day: int | None = None
    calls_a_month: int | None = None
    tokens_a_month: int | None = None
    micros_a_month: int | None = None


class Meter(Protocol):
    """Counts what a connection, and a rule by itself, use of a paid service."""

    def reserve(self, connection: Limits, rule: Limits) -> str | None:
        """Count one call before it is made; raises RejectedError, naming the limit, when one is reached.

        Gives a warning in plain words when most of a limit is used.
        """
        ...

    def record(self, *, tokens: int, micros: int) -> None:
        """What the call has used."""
        ...


class _Absent:
    """Stands where nothing was lent, as in a check of credentials."""

    def __getattr__(self, name: str) -> Any:
        raise RejectedError("this is not available here; try it in a step of a rule")


_ABSENT: Any = _Absent()


@dataclass(frozen=True, slots=True)
class Context:
    """`idempotency_key` is the same on every attempt of a task: sent on, it makes a repeat harmless."""

    http: HttpClient
    guard: AddressGuard
    now: datetime
    idempotency_key: str = ""
    # The operator's override of the provider's address (PROVIDER_BASE_URLS), or None.
    base_url: str | None = None
    # How many runs led here, this one included: sent on, it lets a rule that calls itself be stopped.
    depth: int = 0
    files: Files = field(default=_ABSENT)
    memory: Memory = field(default=_ABSENT)
    meter: Meter = field(default=_ABSENT)

    def placed(self, url: str) -> str:
        """An address of the provider's, at the operator's own server where one stands in for it."""
        return placed(url, self.base_url)
