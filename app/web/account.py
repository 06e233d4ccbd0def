"""One's own account: the first owner, logging in and out, the password, joining by invitation."""

import structlog
from flask import Blueprint, current_app, flash, redirect, render_template, request, session, url_for
from flask_login import current_user, logout_user
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response

from app.database import db, writing
from app.errors import ForbiddenError, GoneError, InvalidError, NotFoundError
from app.extensions import limiter
from app.models import Invitation, User
from app.services import invitations, team, tokens, users
from app.services.passwords import Passwords
from app.web.access import current_person, log_in, personal, public
from app.web.forms import InvitationForm, LoginForm, PasswordForm, ProfileForm, WelcomeForm
from app.web.links import back, within_site

blueprint = Blueprint("account", __name__)
log = structlog.get_logger()

Page = str | Response | tuple[str, int]
_TRIES = "10/minute;50/hour"
_WRONG = "That address and password do not fit together."


def _passwords() -> Passwords:
    passwords: Passwords = current_app.extensions["passwords"]
    return passwords


def _typed_email() -> str:
    # Hashed: what somebody typed is not kept in Redis.
    return "email:" + tokens.digest(request.form.get("email", "").strip().lower())


def _own_id() -> str:
    return f"user:{current_user.id}"


@blueprint.route("/welcome", methods=["GET", "POST"])
@public
def welcome() -> Page:
    if users.anyone(db.session()):
        return redirect(url_for("account.login"))
    form = WelcomeForm()
    if not form.validate_on_submit():
        return render_template("account/welcome.html", form=form)
    try:
        _make_first(form)
    except InvalidError as error:
        form.refuse(error)
        return render_template("account/welcome.html", form=form), error.status
    return redirect(url_for("home.index"))


def _make_first(form: WelcomeForm) -> None:
    password_hash = _passwords().hash(form.password.data)
    with writing() as db_session:
        users.reserve_first(db_session)
        user = users.add(db_session, form.email.data, password_hash, zone=form.zone.data)
        team.create_workspace(db_session, user, form.workspace.data)
    log_in(user)


@blueprint.route("/login", methods=["GET", "POST"])
@public
@limiter.limit(_TRIES, methods=["POST"])
@limiter.limit(_TRIES, methods=["POST"], key_func=_typed_email)
def login() -> Page:
    form = LoginForm(next=request.args.get("next"))
    target = within_site(form.next.data, url_for("home.index"))
    if current_user.is_authenticated:
        return redirect(target)
    if not form.validate_on_submit():
        return render_template("account/login.html", form=form, wrong=None)
    if not _log_in(form):
        log.warning("log_in_refused", address=request.remote_addr)
        return render_template("account/login.html", form=form, wrong=_WRONG), 422
    return redirect(target)


def _log_in(form: LoginForm) -> bool:
    passwords = _passwords()
    user = users.identify(db.session(), passwords, form.email.data, form.password.data)
    if user is None:
        return False
    new_hash = passwords.hash(form.password.data) if passwords.is_stale(user.password_hash) else None
    with writing() as db_session:
        user = users.note_log_in(db_session, user.id, new_hash=new_hash)
    log_in(user)
    return True


@blueprint.post("/logout")
@personal
def logout() -> Response:
    logout_user()
    session.clear()
    return redirect(url_for("account.login"))


@blueprint.route("/account/password", methods=["GET", "POST"])
@personal
@limiter.limit(_TRIES, methods=["POST"], key_func=_own_id)
def password() -> Page:
    form = PasswordForm()
    if not form.validate_on_submit():
        return _account_page(form)
    try:
        _change_password(form)
    except InvalidError as error:
        form.refuse(error)
        return _account_page(form), error.status
    flash("The password is changed. Every other browser is logged out.", "success")
    return redirect(url_for("account.password"))


def _account_page(form: PasswordForm) -> str:
    person = current_person()
    profile = ProfileForm(formdata=None, name=person.name, zone=person.zone)
    return render_template("account/password.html", form=form, profile=profile)


def _change_password(form: PasswordForm) -> None:
    person, passwords = current_person(), _passwords()
    if not users.identify(db.session(), passwords, person.email, form.current.data):
        raise InvalidError("the password is wrong", {"current": "is not your password"})
    password_hash = passwords.hash(form.new_password.data)
    workspace_id = session.get("workspace")
    with writing() as db_session:
        user = users.set_password(db_session, person.id, password_hash)
    log_in(user, workspace_id=workspace_id)


@blueprint.post("/account/profile")
@personal
def profile() -> Page:
    form = ProfileForm()
    with writing() as db_session:
        users.set_profile(
            db_session, current_person().id, name=form.name.data or "", zone=form.zone.data or ""
        )
    flash("Saved.", "success")
    return redirect(url_for("account.password"))


@blueprint.post("/account/theme")
@personal
def theme() -> Response:
    with writing() as db_session:
        users.set_theme(db_session, current_person().id, request.form.get("theme", ""))
    return redirect(back(url_for("home.index")))


@blueprint.route("/invitations/<token>", methods=["GET", "POST"])
@public
@limiter.limit(_TRIES, methods=["POST"])
def invitation(token: str) -> Page:
    try:
        found = invitations.find(db.session(), token)
    except (GoneError, NotFoundError) as error:
        return render_template("account/invitation.html", invitation=None, form=None), error.status
    user = users.find(db.session(), found.email)
    if current_user.is_authenticated and current_user.email != found.email:
        raise ForbiddenError(f"this invitation is for {found.email}; log out here, then open the link again")
    if user and not current_user.is_authenticated:
        return redirect(url_for("account.login", next=url_for("account.invitation", token=token)))
    return _join(token, found, user)


def _join(token: str, found: Invitation, user: User | None) -> Page:
    form = None if user else InvitationForm()
    sent = form.validate_on_submit() if form else request.method == "POST"
    if not sent:
        return _invitation_page(found, form)
    try:
        _accept(token, found.email, form)
    except InvalidError as error:
        if form is None:
            raise
        form.refuse(error)
        return _invitation_page(found, form), error.status
    return redirect(url_for("home.index"))


def _invitation_page(found: Invitation, form: FlaskForm | None) -> str:
    shown = invitations.describe(db.session(), found)
    return render_template("account/invitation.html", invitation=shown, form=form)


def _accept(token: str, email: str, form: InvitationForm | None) -> None:
    password_hash = _passwords().hash(form.password.data) if form else ""
    with writing() as db_session:
        if form:
            user = users.add(db_session, email, password_hash, name=form.name.data or "", zone=form.zone.data)
        else:
            user = users.get(db_session, current_person().id)
        actor = invitations.accept(db_session, token, user)
    log_in(user, workspace_id=actor.workspace_id)
