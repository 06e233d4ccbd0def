"""Google: sign-in by OAuth and by service account, and APIs that a Discovery document judges.

    with google_server(GmailApi()) as google:
        ctx = replace(ctx, base_url=google.url)

An API is a subclass of `Api`: its document, and one method per Discovery method (`users_messages_list` for
`gmail.users.messages.list`) that takes a `Call` and gives JSON or `Says`. Requests that the document does not accept
never reach it. `says_error` makes Google's error bodies; `google.fail(...)` gives the next answers.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from functools import cache
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from tests.providers.discovery import Call, Document, Method, Unfit
from tests.providers.http import Received, Says, http_server, says_json

CLIENT_ID = "1234567890-abc.apps.googleusercontent.com"
CLIENT_SECRET = "GOCSPX-the-secret-of-the-client"
ROBOT = "robot@project-1.iam.gserviceaccount.com"
PERSON = "ada@example.com"
AUDIENCE = "https://oauth2.googleapis.com/token"
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_REASONS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
            429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}  # fmt: skip


@cache
def _robot_key() -> tuple[str, Any]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode(), private.public_key()


def service_account_key() -> str:
    """The JSON file that Google makes for ROBOT."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "project-1",
            "private_key_id": "key-1",
            "private_key": _robot_key()[0],
            "client_email": ROBOT,
            "client_id": "1",
            # Never to be believed: tokens are asked for at Google only.
            "token_uri": "http://127.0.0.1:1/token",
        },
        indent=2,
    )


def says_error(status: int, reason: str, message: str = "Not like this.", **headers: str) -> Says:
    """The error body of Google's APIs, old form and new."""
    details = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    ]
    error = {
        "code": status,
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": reason}],
        "status": _REASONS.get(status, "UNKNOWN"),
        "details": details,
    }
    return says_json({"error": error}, status, **headers)


def busy(after_s: int) -> Says:
    return says_error(429, "rateLimitExceeded", "Quota exceeded.", **{"Retry-After": str(after_s)})


def not_found(message: str = "Requested entity was not found.") -> Says:
    return says_error(404, "notFound", message)


class Api:
    """What of one API the stand-in can do."""

    document: ClassVar[str]

    def __init__(self) -> None:
        self.described = _document(self.document)

    def answer(self, call: Call) -> Any:
        act = getattr(self, "_".join(call.method.split(".")[1:]), None)
        if act is None:
            return says_error(501, "notImplemented", f"the stand-in does not do {call.method}")
        return act(call)


@cache
def _document(name: str) -> Document:
    return Document(name)


@dataclass
class _Grant:
    """What somebody allowed; `offline` says whether a refresh token belongs to it."""

    account: str
    scopes: list[str]
    client_id: str
    offline: bool = False
    live: bool = True


@dataclass
class GoogleServer:
    """The accounts, the clients and the tokens; whatever is set here may be changed at any time."""

    apis: list[Api]
    url: str = ""
    redirect_urls: list[str] = field(
        default_factory=lambda: ["http://bitqueue.test/connections/oauth/callback"]
    )
    # What the person ticks of what was asked for; None cancels.
    consent: Callable[[list[str]], list[str] | None] = list
    account: str = PERSON
    expires_in_s: int = 3599
    delegated: set[str] = field(default_factory=set)
    # What was asked of the token endpoint, in order: its grant types.
    granted: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    pause_s: float = 0.0
    _failures: list[Says] = field(default_factory=list)
    _token_failures: list[Says] = field(default_factory=list)
    _codes: dict[str, tuple[_Grant, dict[str, str]]] = field(default_factory=dict)
    _refresh: dict[str, _Grant] = field(default_factory=dict)
    _access: dict[str, tuple[_Grant, float]] = field(default_factory=dict)
    _uploads: dict[str, tuple[Received, bytearray]] = field(default_factory=dict)

    # what a test may do

    def sign_in(self, *scopes: str) -> tuple[str, str]:
        """Access and refresh token, as if somebody had been through the pages."""
        grant = _Grant(self.account, list(scopes), CLIENT_ID, offline=True)
        refresh = secrets.token_urlsafe(24)
        self._refresh[refresh] = grant
        return self._new_access(grant), refresh

    def expire(self) -> None:
        """No access token works any more."""
        self._access.clear()

    def revoke(self) -> None:
        """Every access is withdrawn."""
        for grant in self._refresh.values():
            grant.live = False
        self.expire()

    def fail(self, *answers: Says) -> None:
        """The next calls of an API are answered so."""
        self._failures.extend(answers)

    def fail_tokens(self, *answers: Says) -> None:
        self._token_failures.extend(answers)

    # answering

    def answer(self, request: Received) -> Says:
        self.received.append(request)
        time.sleep(self.pause_s)
        match request.method, request.path:
            case "GET", "/o/oauth2/v2/auth":
                return self._authorize({name: values[-1] for name, values in request.query.items()})
            case "POST", "/token":
                return self._token(request)
        return self._failures.pop(0) if self._failures else self._call(request)

    def _authorize(self, query: dict[str, str]) -> Says:
        """https://developers.google.com/identity/protocols/oauth2/web-server"""
        if query.get("client_id") != CLIENT_ID:
            return Says(401, b"Error 401: invalid_client. The OAuth client was not found.")
        if query.get("redirect_uri") not in self.redirect_urls:
            return Says(400, b"Error 400: redirect_uri_mismatch")
        if query.get("response_type") != "code" or not query.get("scope") or not query.get("state"):
            return Says(400, b"Error 400: invalid_request")
        if query.get("code_challenge_method") != "S256" or len(query.get("code_challenge", "")) != 43:
            return Says(400, b"Error 400: invalid_request. Code challenge must be S256.")
        allowed = self.consent(query["scope"].split())
        if allowed is None:
            return _redirect(query, error="access_denied")
        offline = query.get("access_type") == "offline" and query.get("prompt") == "consent"
        code = "4/" + secrets.token_urlsafe(16)
        self._codes[code] = (_Grant(self.account, allowed, CLIENT_ID, offline=offline), query)
        return _redirect(query, code=code, scope=" ".join(allowed))

    def _token(self, request: Received) -> Says:
        if self._token_failures:
            return self._token_failures.pop(0)
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return _refused("invalid_request")
        form = dict(parse_qsl(request.body.decode()))
        self.granted.append(form.get("grant_type", ""))
        if form.get("grant_type") == _JWT_GRANT:
            return self._by_key(form.get("assertion", ""))
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return _refused("invalid_client", "The provided client secret is invalid.", 401)
        if form.get("grant_type") == "authorization_code":
            return self._by_code(form)
        if form.get("grant_type") == "refresh_token":
            return self._by_refresh(form)
        return _refused("unsupported_grant_type")

    def _by_code(self, form: Mapping[str, str]) -> Says:
        # Removed first: a code is good once.
        grant, asked = self._codes.pop(form.get("code", ""), (None, {}))
        if grant is None:
            return _refused("invalid_grant", "Malformed auth code.")
        if form.get("redirect_uri") != asked["redirect_uri"]:
            return _refused("redirect_uri_mismatch")
        if _challenge(form.get("code_verifier", "")) != asked["code_challenge"]:
            return _refused("invalid_grant", "Invalid code verifier.")
        more = {}
        if grant.offline:
            more["refresh_token"] = "1//" + secrets.token_urlsafe(24)
            self._refresh[more["refresh_token"]] = grant
        return self._says_token(grant, **more)

    def _by_refresh(self, form: Mapping[str, str]) -> Says:
        grant = self._refresh.get(form.get("refresh_token", ""))
        if grant is None or not grant.live:
            return _refused("invalid_grant", "Token has been expired or revoked.")
        return self._says_token(grant)

    def _by_key(self, assertion: str) -> Says:
        """https://developers.google.com/identity/protocols/oauth2/service-account"""
        try:
            claims = jwt.decode(assertion, RSAKey.import_key(_robot_key()[1]), algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return _refused("invalid_grant", "Invalid JWT Signature.")
        if claims.get("iss") != ROBOT or claims.get("aud") != AUDIENCE:
            return _refused("invalid_grant", "Invalid JWT: Failed audience check.")
        if not 0 < claims.get("exp", 0) - claims.get("iat", 0) <= 3600:
            return _refused("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes).")
        subject = claims.get("sub")
        if subject and subject not in self.delegated:
            return _refused("unauthorized_client", "Client is unauthorized to retrieve access tokens.", 401)
        if not claims.get("scope"):
            return _refused("invalid_scope", "Empty or missing scope not allowed.")
        return self._says_token(_Grant(subject or ROBOT, claims["scope"].split(), ROBOT))

    def _new_access(self, grant: _Grant) -> str:
        token = "ya29." + secrets.token_urlsafe(24)
        self._access[token] = (grant, time.monotonic() + self.expires_in_s)
        return token

    def _says_token(self, grant: _Grant, **more: str) -> Says:
        body = {
            "access_token": self._new_access(grant),
            "expires_in": self.expires_in_s,
            "token_type": "Bearer",
        }
        return says_json(body | {"scope": " ".join(grant.scopes)} | more)

    # APIs

    def _call(self, request: Received) -> Says:
        grant, until = self._access.get(_bearer(request), (None, 0.0))
        if request.path.startswith("/resumed/"):
            return self._resumed(request, grant.account if grant else "")
        found = next(
            ((api, *hit) for api in self.apis if (hit := api.described.find(request.method, request.path))),
            None,
        )
        if found is None:
            return Says(404, b"<html>Error 404 (Not Found)!!1</html>", {"Content-Type": "text/html"})
        if grant is None or not grant.live or until < time.monotonic():
            bearer = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
            return says_error(401, "authError", "Invalid Credentials", **{"WWW-Authenticate": bearer})
        api, method, path = found
        if not set(grant.scopes) & set(method.spec.get("scopes", ())):
            return _lacks_scope(method)
        if method.uploads and request.query.get("uploadType") == ["resumable"]:
            return self._begin_upload(request)
        return self._judged(api, method, path, request, grant.account)

    def _judged(
        self, api: Api, method: Method, path: dict[str, str], request: Received, account: str
    ) -> Says:
        try:
            params = api.described.read_params(method, path, request.query)
            body, media, media_type = _parts(method, request)
            api.described.check_body(method, body)
        except Unfit as error:
            return says_error(400, "badRequest", str(error))
        call = Call(method.id, params, body, media, media_type, account, request.headers)
        self.calls.append(call)
        said = api.answer(call)
        return said if isinstance(said, Says) else says_json(said) if said is not None else Says(204)

    def _begin_upload(self, request: Received) -> Says:
        key = secrets.token_hex(8)
        self._uploads[key] = (request, bytearray())
        return Says(200, headers={"Location": f"{self.url}/resumed/{key}"})

    def _resumed(self, request: Received, account: str) -> Says:
        begun, content = self._uploads[request.path.rpartition("/")[2]]
        content += request.body
        total = request.headers.get("content-range", "").rpartition("/")[2]
        if total.isdigit() and len(content) < int(total):
            return Says(308, headers={"Range": f"bytes=0-{len(content) - 1}"})
        api, method, path = next(
            (api, *hit) for api in self.apis if (hit := api.described.find(begun.method, begun.path))
        )
        try:
            params = api.described.read_params(method, path, begun.query)
            body = json.loads(begun.body) if begun.body else None
            api.described.check_body(method, body)
        except Unfit as error:
            return says_error(400, "badRequest", str(error))
        media_type = begun.headers.get("x-upload-content-type", "")
        call = Call(method.id, params, body, bytes(content), media_type, account, begun.headers)
        self.calls.append(call)
        said = api.answer(call)
        return said if isinstance(said, Says) else says_json(said)


def _redirect(query: Mapping[str, str], **more: str) -> Says:
    return Says(
        302, headers={"Location": query["redirect_uri"] + "?" + urlencode({"state": query["state"]} | more)}
    )


def _refused(error: str, description: str = "Bad Request", status: int = 400) -> Says:
    return says_json({"error": error, "error_description": description}, status)


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _bearer(request: Received) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def _lacks_scope(method: Method) -> Says:
    scopes = " ".join(method.spec["scopes"])
    bearer = f'Bearer realm="https://accounts.google.com/", error="insufficient_scope", scope="{scopes}"'
    message = "Request had insufficient authentication scopes."
    return says_error(403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", message, **{"WWW-Authenticate": bearer})


def _parts(method: Method, request: Received) -> tuple[Any, bytes | None, str]:
    """JSON body, media and its type."""
    content_type = request.headers.get("content-type", "")
    if not method.uploads:
        return _read_json(request.body, content_type), None, ""
    if request.query.get("uploadType") == ["media"]:
        return None, request.body, content_type
    if not content_type.startswith("multipart/related"):
        raise Unfit("Invalid multipart request with 0 mime parts.")
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    parts = list(BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts())
    if len(parts) != 2:
        raise Unfit(f"Invalid multipart request with {len(parts)} mime parts.")
    return json.loads(_content(parts[0])), _content(parts[1]), parts[1].get_content_type()


def _content(part: Any) -> bytes:
    if part.get_content_maintype() == "message":
        return bytes(part.get_payload(0).as_bytes())
    return bytes(part.get_payload(decode=True))


def _read_json(body: bytes, content_type: str) -> Any:
    if not body:
        return None
    if not content_type.startswith("application/json"):
        raise Unfit("this body is not labelled application/json")
    try:
        return json.loads(body)
    except ValueError:
        raise Unfit("Invalid JSON payload received.") from None


@contextmanager
def google_server(*apis: Api) -> Iterator[GoogleServer]:
    google = GoogleServer(list(apis))
    with http_server(google.answer) as stand_in:
        google.url = stand_in.url
        yield google
