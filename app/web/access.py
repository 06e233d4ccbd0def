"""Who may open which page: the logged-in person, their workspace, and the least role each view asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, current_app, g, redirect, request, session, url_for
from flask_login import UserMixin, current_user, login_user
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from app.database import db
from app.errors import ForbiddenError, NotFoundError
from app.extensions import csrf, login_manager
from app.models import Role, User
from app.services import team, users
from app.services.access import Actor, require
from app.web import links

View = TypeVar("View", bound=Callable[..., Any])
_WORKSPACE = "workspace"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Person(UserMixin):  # type: ignore[misc]
    """Who is logged in; `epoch` is the one of the account when the session was made."""

    id: str
    epoch: int
    email: str
    name: str
    zone: str
    theme: str
    operator: bool

    def get_id(self) -> str:
        return f"{self.id}.{self.epoch}"


def public(view: View) -> View:
    """Marks a view that anyone may open."""
    return _mark(view, is_public=True)


def personal(view: View) -> View:
    """Marks a view about one's own account: logged in, in whatever workspace and role, or in none."""
    return _mark(view, is_personal=True)


def allow(role: Role, *, change: Role | None = None) -> Callable[[View], View]:
    """Marks a view with the least role that may open it, and with a higher one to send its form."""
    return lambda view: _mark(view, least_role=role, change_role=change or role)


def operators(view: View) -> View:
    """Marks a view for those who run this server, whatever their role in a workspace."""
    return _mark(view, is_for_operators=True)


def _mark(view: View, **marks: Any) -> View:
    for name, value in marks.items():
        setattr(view, name, value)
    return view


def is_marked(view: Callable[..., Any]) -> bool:
    return any(hasattr(view, mark) for mark in ("is_public", "is_personal", "least_role", "is_for_operators"))


def guard(app: Flask, blueprints: frozenset[str]) -> None:
    """Check every request to a page of `blueprints` before its view, then its CSRF token."""
    login_manager.session_protection = None
    login_manager.user_loader(_load)

    def check() -> Response | None:
        if request.blueprint not in blueprints or request.endpoint is None:
            return None
        _refuse_unreadable()
        refused = _refusal(app.view_functions[request.endpoint])
        if refused is None and app.config["WTF_CSRF_ENABLED"]:
            csrf.protect()
        return refused

    app.before_request(check)


def log_in(user: User, *, workspace_id: str | None = None) -> None:
    """Begin a session that does not carry over anything from the one before."""
    session.clear()
    session.permanent = True
    if workspace_id:
        session[_WORKSPACE] = workspace_id
    login_user(_person(user))


def enter(workspace_id: str) -> None:
    """From now on the pages show this workspace."""
    session[_WORKSPACE] = workspace_id
    g.pop("actor", None)


def current_person() -> Person:
    person: Person = current_user._get_current_object()  # noqa: SLF001 (the proxy's only way to its object)
    return person


def current_actor() -> Actor:
    """The person in their workspace, with the role they have at this moment.

    Raises ForbiddenError for someone who is a member of none.
    """
    actor = find_actor()
    if actor is None:
        raise ForbiddenError("you are in no workspace; ask for an invitation or make one of your own")
    return actor


def find_actor() -> Actor | None:
    """As `current_actor`; None for who is not logged in or in no workspace."""
    if "actor" not in g:
        g.actor = _find_actor() if current_user.is_authenticated else None
    found: Actor | None = g.actor
    return found


def _find_actor() -> Actor | None:
    actor = team.actor_for(db.session(), current_user.id, session.get(_WORKSPACE))
    if actor and session.get(_WORKSPACE) != actor.workspace_id:
        session[_WORKSPACE] = actor.workspace_id
    return actor


def _load(session_id: str) -> Person | None:
    user_id, _, epoch = session_id.rpartition(".")
    user = db.session().get(User, user_id)
    if user is None or str(user.session_epoch) != epoch:
        return None
    return _person(user)


def _person(user: User) -> Person:
    return Person(
        id=user.id,
        epoch=user.session_epoch,
        email=user.email,
        name=user.name,
        zone=user.zone,
        theme=user.theme,
        operator=user.operator,
    )


def _refuse_unreadable() -> None:
    # PostgreSQL takes no NUL: an id with one is unknown, and no search finds it.
    if any("\0" in str(value) for value in (request.view_args or {}).values()):
        raise NotFoundError("nothing of that id here")
    if any("\0" in value for values in request.args.listvalues() for value in values):
        raise BadRequest
    if request.method == "POST":
        # Read here: one that is too large is refused (413) before anything looks into it.
        request.form.get("")


def _refusal(view: Callable[..., Any]) -> Response | None:
    """None to go on. Raises ForbiddenError; a view without a mark is open to nobody."""
    if _is_first_run() and request.endpoint != "account.welcome":
        return redirect(url_for("account.welcome"))
    if getattr(view, "is_public", False):
        return None
    if not current_user.is_authenticated:
        return redirect(url_for("account.login", next=links.here()))
    if getattr(view, "is_personal", False):
        return None
    if getattr(view, "is_for_operators", False):
        _check_operator()
        return None
    return _check_role(view)


def _check_operator() -> None:
    if not current_user.operator:
        raise ForbiddenError("this is for the operators of this server")


def _check_role(view: Callable[..., Any]) -> Response | None:
    role = getattr(view, "least_role" if request.method in _SAFE_METHODS else "change_role", None)
    if role is None:
        raise ForbiddenError("this page is open to nobody")
    if find_actor() is None:
        return redirect(url_for("team.new_workspace"))
    require(current_actor(), role)
    return None


def _is_first_run() -> bool:
    # Once somebody is there, somebody stays: asked until then only.
    if not current_app.extensions.get("has_people"):
        current_app.extensions["has_people"] = users.anyone(db.session())
    return not current_app.extensions["has_people"]
