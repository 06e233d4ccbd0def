"""Google: its accounts by OAuth or by service account, and its own libraries sending through the guarded client.

For an integration of Google's:

    @drive.connection
    class Account(GoogleAccount):
        \"\"\"A Google account, or a service account.\"\"\"

        oauth: ClassVar[OAuth] = sign_in("https://www.googleapis.com/auth/drive", api="Google Drive API")

    files = rest(ctx, connection, "drive", "v3").files()      # googleapiclient, from its own static document
    with google_errors("the folder Invoices"):                # a 404 or 403 in here names the folder
        files.list(...).execute()
    book = gspread_client(ctx, connection).open_by_key(key)   # gspread

Both libraries raise the errors of app.sdk.errors by themselves, whatever Google answers from status 400 on: never
googleapiclient's HttpError or gspread's APIError. `PROVIDER_BASE_URLS` takes the place of every Google host, that of
uploads and tokens included. `access_token(ctx, connection)` is for what neither library does.
"""

import importlib
import importlib.resources
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from app.sdk.answers import Answer
from app.sdk.context import MAX_FILE_BYTES, Context
from app.sdk.errors import RejectedError
from app.sdk.google_account import GoogleAccount, access_token, sign_in
from app.sdk.google_answers import GoogleRefusedError, failure
from app.sdk.oauth import OAuth

__all__ = [
    "GoogleAccount",
    "GoogleRefusedError",
    "OAuth",
    "access_token",
    "google_errors",
    "gspread_client",
    "rest",
    "sign_in",
    "upload",
]

DEADLINE_S: Final = 60.0
# A file as base64 inside JSON, as Gmail gives attachments.
MAX_ANSWER_BYTES: Final = MAX_FILE_BYTES * 4 // 3 + 1024 * 1024

_HOST: Final = re.compile(r"https://(?:[a-z0-9-]+\.)*(?:googleapis|google)\.com(?:/.*)?", re.DOTALL)
# They belong to the connection; the guarded client sets them.
_FRAMING: Final = frozenset({"content-length", "host", "connection", "transfer-encoding", "accept-encoding"})


def rest(ctx: Context, connection: GoogleAccount, api: str, version: str) -> Any:
    """googleapiclient's Resource of an API. Raises only app.sdk.errors, now and when it is used."""
    library = importlib.import_module("googleapiclient.discovery")
    return library.build_from_document(_document(api, version), http=_Http(_sender(ctx, connection)))


def upload(content: bytes, media_type: str) -> Any:
    """For `media_body`: content that goes beside the body of a request, in one piece."""
    library = importlib.import_module("googleapiclient.http")
    return library.MediaInMemoryUpload(content, mimetype=media_type, resumable=False)


def gspread_client(ctx: Context, connection: GoogleAccount) -> Any:
    """gspread's Client; raises app.sdk.errors, and gspread's WorksheetNotFound, which no answer of Google's makes."""
    session = importlib.import_module("requests").Session()
    # Neither proxies nor .netrc of the machine.
    session.trust_env = False
    session.mount("https://", _Adapter(_sender(ctx, connection)))
    return importlib.import_module("gspread").Client(auth=None, session=session)


@contextmanager
def google_errors(thing: str) -> Iterator[None]:
    """Names what was asked for ("the spreadsheet Orders") when Google has no such thing or does not allow it."""
    try:
        yield
    except GoogleRefusedError as error:
        if error.status in {404, 410}:
            raise RejectedError(
                f"google has no {_bare(thing)}; was it deleted or renamed{error.hint}"
            ) from error
        if error.status == 403:
            raise RejectedError(f"google does not let this account use {thing}{error.hint}") from error
        raise RejectedError(f"{thing}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Sender:
    """Requests of one account to Google's hosts and to no others, signed in."""

    ctx: Context
    connection: GoogleAccount
    token: str

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Raises app.sdk.errors for everything from status 400 on."""
        sent = {name: value for name, value in headers.items() if name.lower() not in _FRAMING}
        answer = self.ctx.http.request(
            method,
            self._placed(url),
            headers=sent | {"Authorization": f"Bearer {self.token}"},
            content=body,
            deadline_s=DEADLINE_S,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if answer.status >= 400:
            raise failure(answer, self.connection, self.token)
        return answer

    def _placed(self, url: str) -> str:
        base_url = self.ctx.base_url
        if base_url is not None and url.startswith(base_url.rstrip("/") + "/"):
            return url
        if not _HOST.fullmatch(url):
            raise RejectedError(f"google led to an address that is not its own: {urlsplit(url).netloc[:100]}")
        return self.ctx.placed(url)


def _sender(ctx: Context, connection: GoogleAccount) -> _Sender:
    return _Sender(ctx, connection, access_token(ctx, connection))


@dataclass(frozen=True, slots=True)
class _Http:
    """What googleapiclient asks of `httplib2.Http`."""

    sender: _Sender

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **_more: Any,
    ) -> tuple[Any, bytes]:
        answer = self.sender.send(method, uri, headers or {}, _bytes(body))
        # httplib2 takes `status` from among the headers.
        said = {**answer.headers, "status": str(answer.status)}
        said.pop("content-encoding", None)
        return importlib.import_module("httplib2").Response(said), answer.body

    def close(self) -> None:
        """googleapiclient closes what it was lent; the guarded client lives on."""


@dataclass(frozen=True, slots=True)
class _Adapter:
    """What `requests.Session` asks of a transport adapter."""

    sender: _Sender

    def send(self, request: Any, **_more: Any) -> Any:
        answer = self.sender.send(request.method, request.url, dict(request.headers), _bytes(request.body))
        response = importlib.import_module("requests").Response()
        response.status_code, response.url, response.request = answer.status, request.url, request
        response.headers.update({k: v for k, v in answer.headers.items() if k != "content-encoding"})
        response.raw, response.encoding = io.BytesIO(answer.body), "utf-8"
        return response

    def close(self) -> None:
        """The guarded client lives on."""


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    content = body.read() if hasattr(body, "read") else body
    return content.encode() if isinstance(content, str) else bytes(content)


@lru_cache(maxsize=8)
def _source(api: str, version: str) -> str:
    documents = importlib.resources.files("googleapiclient.discovery_cache") / "documents"
    return (documents / f"{api}.{version}.json").read_text()


def _document(api: str, version: str) -> dict[str, Any]:
    """A new one each time: googleapiclient writes into it."""
    document: dict[str, Any] = json.loads(_source(api, version))
    return document


def _bare(thing: str) -> str:
    return thing.removeprefix("the ")
