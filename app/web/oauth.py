"""Signing in at another service: the way there, and the way back."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, flash, g, redirect, request, session, url_for
from pydantic import BaseModel
from werkzeug.wrappers import Response

from app.database import db, writing
from app.engine import checks, core
from app.errors import InvalidError
from app.models import Role
from app.sdk.errors import IntegrationError, TemporaryError
from app.sdk.fields import secret_names
from app.sdk.oauth import OAuthAccount, placed, refused
from app.services import sign_ins
from app.services.sign_ins import Pending, Returned, SignedIn
from app.web import errors, links
from app.web.access import allow, current_actor
from app.web.fields import PREFIX
from app.web.filters import sentence

blueprint = Blueprint("oauth", __name__)

Answer = tuple[str, int] | Response

# Sign-ins that this browser has begun, the newest last; more tabs than this are forgotten.
_BEGUN = "sign_ins"
_MAX_BEGUN = 5
_TYPED = "sign_in_typed"


def depart(pending: Pending) -> Response:
    """Send the browser to the service's own page, to come back to `callback`."""
    engine, actor = core.current(), current_actor()
    with writing() as database:
        begun = sign_ins.begin(database, actor, engine, pending)
    session[_BEGUN] = [*session.get(_BEGUN, []), sign_ins.state_key(begun.state)][-_MAX_BEGUN:]
    return redirect(begun.url, 303)


@blueprint.get(sign_ins.CALLBACK_PATH)
@allow(Role.EDITOR)
def callback() -> Answer:
    """Where the service sends people back: with a code, or with why there is none."""
    engine, actor, state = core.current(), current_actor(), request.args.get("state", "")
    if not _forget(state):
        return errors.page(400, _not_begun(engine.config.public_url))
    try:
        with writing() as database:
            returned = sign_ins.take(database, actor, engine, state)
    except InvalidError as error:
        return errors.page(400, sentence(error))
    try:
        signed_in, said = _finish(returned)
    except IntegrationError as error:
        flash(f"{sentence(error)} Nothing was saved.", "error")
        _remember(returned.pending)
        return redirect(_back(returned.pending))
    with writing() as database:
        sign_ins.keep(database, actor, engine, signed_in)
    engine.doorbell.ring()
    flash(said, "success" if signed_in.checked else "warning")
    return redirect(links.within_site(returned.pending.next_page, url_for("connections.index")))


def _finish(returned: Returned) -> tuple[SignedIn, str]:
    """Buy the tokens and try them. Raises IntegrationError when nothing may be saved."""
    engine, pending = core.current(), returned.pending
    db.session.rollback()
    if error := request.args.get("error"):
        raise refused(pending.account, error)
    account = sign_ins.finish(engine, returned, request.args.get("code", ""))
    try:
        said = checks.check(engine, pending.integration, account)
    except TemporaryError:
        said = "the sign-in succeeded, but the service does not answer now; check the connection later"
        return SignedIn(pending, account, checked=False), sentence(said)
    return SignedIn(pending, account, checked=True), sentence(said)


def _forget(state: str) -> bool:
    """Whether this browser has begun that sign-in: true once."""
    begun, key = session.get(_BEGUN, []), sign_ins.state_key(state)
    session[_BEGUN] = [one for one in begun if one != key]
    return key in begun


def _remember(pending: Pending) -> None:
    """What was typed and is no secret, for the form that is shown again."""
    if pending.connection_id is None:
        hidden = secret_names(type(pending.account)) | OAuthAccount.filled
        typed = pending.account.model_dump(mode="json", exclude=set(hidden))
        session[_TYPED] = {"integration": pending.integration, "name": pending.name, "settings": typed}


def typed_before(key: str) -> tuple[str, dict[str, Any]] | None:
    """The name and the plain fields of a sign-in that just failed: once."""
    typed = session.pop(_TYPED, None)
    return (typed["name"], typed["settings"]) if typed and typed["integration"] == key else None


def _not_begun(public_url: str) -> str:
    return (
        "This sign-in was not begun in this browser, or is over. "
        f"Open BitQueue at {public_url}, go to Connections and sign in again; nothing was saved."
    )


def _back(pending: Pending) -> str:
    if pending.connection_id is not None:
        return url_for("connections.edit", connection_id=pending.connection_id)
    return url_for("connections.new", integration=pending.integration, next_page=pending.next_page or None)


def explained(model: type[BaseModel] | None, key: str) -> dict[str, Any] | None:
    """For the form of an account that one signs in to: what to do first, and the address to copy there."""
    if model is None or not issubclass(model, OAuthAccount):
        return None
    engine, oauth = core.current(), model.oauth
    parts = urlsplit(placed(oauth.authorize_url, engine.base_url(key)))
    g.form_targets = f"{parts.scheme}://{parts.netloc}"
    return {
        "service": oauth.service,
        "redirect_url": sign_ins.redirect_url(engine),
        "steps": [sentence(step.replace("{redirect}", "the address below")) for step in oauth.steps],
        "instead": [sentence(step) for step in oauth.instead],
    }


def typed_only(model: type[BaseModel], shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the fields that signing in fills."""
    filled: Mapping[str, Any] = dict.fromkeys(OAuthAccount.filled if issubclass(model, OAuthAccount) else ())
    return [field for field in shown if field["name"].removeprefix(PREFIX) not in filled]
