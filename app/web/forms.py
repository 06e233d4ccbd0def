"""The forms about people and workspaces. They render and read; services decide what is accepted."""

from typing import Any

from flask_wtf import FlaskForm
from wtforms import EmailField, HiddenField, PasswordField, RadioField, SelectChoice, SelectField, StringField
from wtforms.validators import InputRequired

from app.errors import InvalidError
from app.models import Role
from app.services.passwords import MIN_LENGTH
from app.services.users import zones

_ROLE_WORDS = {
    Role.VIEWER: "looks at everything, changes nothing",
    Role.EDITOR: "rules, connections, API keys, retrying",
    Role.ADMIN: "people, queues and settings",
    Role.OWNER: "everything, and who else is an owner",
}
_PASSWORD_HELP = f"At least {MIN_LENGTH} characters; a few words are easy to remember."
_EMAIL = {"autocomplete": "username", "spellcheck": "false"}


class Form(FlaskForm):  # type: ignore[misc]
    """A form whose token was checked before the view was called."""

    class Meta:
        csrf = False

    def refuse(self, error: InvalidError) -> None:
        """Put each objection beside its field, and what belongs to none beside the first."""
        names = {name.rpartition(".")[2]: field for name, field in self._fields.items()}
        for name, text in (error.fields or {"": str(error)}).items():
            field = names.get(name) or names.get(f"new_{name}") or next(iter(names.values()))
            field.errors = [*field.errors, text]


def _needed() -> list[Any]:
    return [InputRequired("is needed")]


def _new_password(label: str = "Password") -> PasswordField:
    keywords = {"autocomplete": "new-password", "minlength": MIN_LENGTH}
    return PasswordField(label, _needed(), description=_PASSWORD_HELP, render_kw=keywords)


def _email(label: str = "E-mail address") -> EmailField:
    return EmailField(label, _needed(), render_kw=_EMAIL)


def _zones() -> list[str]:
    return list(zones())


def _zone(*, guess: bool) -> SelectField:
    keywords = {"data-zone": True} if guess else {}
    return SelectField("Time zone", choices=_zones, default="UTC", render_kw=keywords)


class WelcomeForm(Form):
    email = _email()
    password = _new_password()
    workspace = StringField(
        "Workspace",
        _needed(),
        default="My workspace",
        description="What you share with others later; a name will do.",
    )
    zone = _zone(guess=True)


class LoginForm(Form):
    email = _email()
    password = PasswordField("Password", _needed(), render_kw={"autocomplete": "current-password"})
    next = HiddenField()


class PasswordForm(Form):
    current = PasswordField("Current password", _needed(), render_kw={"autocomplete": "current-password"})
    new_password = _new_password("New password")


class ProfileForm(Form):
    name = StringField("Name", render_kw={"autocomplete": "name"})
    zone = _zone(guess=False)


class InvitationForm(Form):
    """For somebody who has no account yet."""

    name = StringField("Name", render_kw={"autocomplete": "name"})
    password = _new_password()
    zone = _zone(guess=True)


class InviteForm(Form):
    email = EmailField("E-mail address", _needed(), render_kw={"autocomplete": "off"})
    role = SelectField("Role", default=Role.EDITOR.value)


class ApiKeyForm(Form):
    name = StringField("Name", _needed(), render_kw={"placeholder": "nightly import", "autocomplete": "off"})
    scopes = RadioField(
        "May",
        choices=[SelectChoice("write", "read and write"), SelectChoice("read", "only read")],
        default="write",
    )


class WorkspaceForm(Form):
    name = StringField("Name", _needed(), render_kw={"autocomplete": "off"})


def role_options(highest: Role) -> list[SelectChoice]:
    return [SelectChoice(choice["value"], choice["label"]) for choice in role_choices(highest)]


def role_choices(highest: Role) -> list[dict[str, str]]:
    """The roles somebody of role `highest` may give, least first."""
    roles = [role for role in Role if highest.covers(role)]
    return [{"value": role.value, "label": role.value.title(), "text": _ROLE_WORDS[role]} for role in roles]
