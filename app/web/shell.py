"""What every page shows around its content: the person, their workspaces, and what they may do."""

from functools import cached_property

from flask import Flask, current_app, g
from flask_login import current_user

from app.database import db
from app.engine import core
from app.models import Role
from app.services import alerts, holds, overview, team
from app.services.access import Actor
from app.web.access import Person, find_actor


class Shell:
    """Looked up when a page asks: error pages must work when the database does not."""

    @property
    def theme(self) -> str:
        person = g.get("_login_user")
        return "" if not isinstance(person, Person) or person.theme == "auto" else person.theme

    @property
    def user(self) -> Person | None:
        return current_user if current_user.is_authenticated else None

    @cached_property
    def actor(self) -> Actor | None:
        return find_actor()

    @cached_property
    def workspaces(self) -> list[team.Place]:
        return team.places(db.session(), current_user.id) if self.user else []

    @property
    def workspace(self) -> team.Place | None:
        return next(
            (place for place in self.workspaces if self.actor and place.id == self.actor.workspace_id), None
        )

    @property
    def role(self) -> Role | None:
        return self.actor.role if self.actor else None

    @property
    def can_edit(self) -> bool:
        return self.role is not None and self.role.covers(Role.EDITOR)

    @property
    def can_admin(self) -> bool:
        return self.role is not None and self.role.covers(Role.ADMIN)

    @property
    def operator(self) -> bool:
        return self.user is not None and self.user.operator

    @cached_property
    def needs(self) -> int:
        return overview.count_needs(db.session(), self.actor, core.current()) if self.actor else 0

    @cached_property
    def hold(self) -> holds.Standing | None:
        return holds.standing(db.session(), self.actor)

    @cached_property
    def alerts(self) -> int:
        return alerts.count_unread(db.session(), self.actor) if self.actor else 0

    @property
    def version(self) -> str:
        version: str = current_app.config["VERSION"]
        return version


def add_shell(app: Flask) -> None:
    app.context_processor(lambda: {"shell": Shell()})
