"""Who is in the workspace; and moving between workspaces."""

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.database import db, writing
from app.errors import InvalidError
from app.models import Invitation, Membership, Role
from app.services import invitations, team, users
from app.services.access import Actor
from app.web.access import allow, current_actor, current_person, enter, personal
from app.web.forms import InviteForm, WorkspaceForm, role_choices, role_options
from app.web.links import published

blueprint = Blueprint("team", __name__)


@blueprint.get("/team")
@allow(Role.VIEWER)
def index() -> str:
    return _page()


def _page(form: InviteForm | None = None, *, made: Invitation | None = None, token: str = "") -> str:
    actor = current_actor()
    may_invite = actor.role.covers(Role.ADMIN)
    return render_template(
        "team/index.html",
        members=[_member(actor, membership) for membership in team.members(db.session(), actor)],
        roles=role_choices(actor.role),
        invitations=invitations.listing(db.session(), actor) if may_invite else [],
        form=(form or _invite_form(actor, fresh=True)) if may_invite else None,
        invite_url=published("account.invitation", token=token) if token else None,
        invite_email=made.email if made else None,
    )


def _invite_form(actor: Actor, *, fresh: bool = False) -> InviteForm:
    form = InviteForm(formdata=None) if fresh else InviteForm()
    form.role.choices = role_options(actor.role)
    return form


def _member(actor: Actor, membership: Membership) -> dict[str, Any]:
    return {
        "user_id": membership.user_id,
        "name": membership.user.name,
        "email": membership.user.email,
        "role": membership.role,
        "joined_at": membership.created_at,
        "you": membership.user_id == actor.user_id,
        "can_change": actor.role.covers(Role.ADMIN) and actor.role.covers(membership.role),
    }


@blueprint.post("/team/invitations")
@allow(Role.ADMIN)
def invite() -> str | tuple[str, int]:
    actor = current_actor()
    form = _invite_form(actor)
    if not form.validate():
        return _page(form), 422
    try:
        with writing() as session:
            made, token = invitations.create(session, actor, form.email.data, Role(form.role.data))
    except InvalidError as error:
        form.refuse(error)
        return _page(form), error.status
    # Shown in the answer itself: the link is nowhere else, and a reload makes a new one that replaces it.
    return _page(made=made, token=token)


@blueprint.post("/team/invitations/<invitation_id>/revoke")
@allow(Role.ADMIN)
def revoke_invitation(invitation_id: str) -> Response:
    with writing() as session:
        invitations.withdraw(session, current_actor(), invitation_id)
    flash("The invitation is withdrawn; its link no longer works.", "success")
    return redirect(url_for("team.index"))


@blueprint.post("/team/members/<user_id>/role")
@allow(Role.ADMIN)
def change_role(user_id: str) -> Response:
    role = _role(request.form.get("role", ""))
    with writing() as session:
        team.change_role(session, current_actor(), user_id, role)
    flash("The role is changed.", "success")
    return redirect(url_for("team.index"))


def _role(text: str) -> Role:
    if text not in set(Role):
        raise InvalidError(f"there is no role {text[:20]}; choose owner, admin, editor or viewer")
    return Role(text)


@blueprint.post("/team/members/<user_id>/remove")
@allow(Role.ADMIN)
def remove(user_id: str) -> Response:
    with writing() as session:
        team.remove(session, current_actor(), user_id)
    flash("They are no longer in this workspace.", "success")
    return redirect(url_for("team.index"))


@blueprint.post("/team/leave")
@personal
def leave() -> Response:
    with writing() as session:
        team.leave(session, current_actor())
    return redirect(url_for("home.index"))


@blueprint.post("/workspaces/switch")
@personal
def switch() -> Response:
    actor = team.enter(db.session(), current_actor(), request.form.get("workspace", ""))
    enter(actor.workspace_id)
    return redirect(url_for("home.index"))


@blueprint.route("/workspaces/new", methods=["GET", "POST"])
@personal
def new_workspace() -> str | Response | tuple[str, int]:
    form = WorkspaceForm()
    if not form.validate_on_submit():
        return render_template("team/new.html", form=form)
    try:
        with writing() as session:
            actor = team.create_workspace(session, users.get(session, current_person().id), form.name.data)
    except InvalidError as error:
        form.refuse(error)
        return render_template("team/new.html", form=form), error.status
    enter(actor.workspace_id)
    return redirect(url_for("home.index"))
