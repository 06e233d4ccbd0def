"""Alerts on pages: the list, marking as read, and how each person wants to be told."""

from typing import Any, Final

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response
from wtforms import RadioField, SelectChoice, SelectField, SelectMultipleField, StringField
from wtforms.widgets import CheckboxInput, ListWidget

from app.database import db, writing
from app.engine import core
from app.errors import ConflictError, InvalidError
from app.models import Alert, AlertKind, Channel, Role
from app.services import alerts
from app.services.access import Actor
from app.services.alerts import Preference, Told
from app.web.access import allow, current_actor
from app.web.filters import sentence
from app.web.forms import Form
from app.web.settings import blueprint

_LISTED: Final = 20
_KINDS: Final = {
    AlertKind.FAILED: "a rule that failed",
    AlertKind.STUCK: "a trigger that missed its times",
    AlertKind.BROKEN: "a connection that is broken",
    AlertKind.DISK: "a disk that is full, or storage at 90 %",
}
_CHANNELS: Final = {
    Channel.NONE: "only show them here",
    Channel.MAIL: "a mail",
    Channel.CHAT: "a message in a chat, such as Slack",
    Channel.WEBHOOK: "a call of a web address",
}


class PreferenceForm(Form):
    kinds = SelectMultipleField(
        "Tell me of",
        choices=[SelectChoice(kind.value, label) for kind, label in _KINDS.items()],
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )
    channel = RadioField(
        "How", choices=[SelectChoice(channel.value, label) for channel, label in _CHANNELS.items()]
    )
    connection_id = SelectField(
        "Connection", description="For mails and chats: the account that sends them.", validate_choice=False
    )
    address = StringField(
        "Address",
        description="For mails: another address than your own. For a Slack app: the channel, such as #alerts. "
        "For a call: where to POST the alert as JSON.",
        render_kw={"autocomplete": "off", "spellcheck": "false"},
    )


@blueprint.get("/settings/alerts")
@allow(Role.VIEWER)
def alerts_page() -> str:
    actor = current_actor()
    saved = alerts.preference(db.session(), actor)
    given = {
        "kinds": [kind.value for kind in saved.kinds],
        "channel": saved.channel.value,
        "connection_id": saved.connection_id or "",
        "address": saved.address or "",
    }
    return _page(_form(actor, formdata=None, data=given), saved)


@blueprint.post("/settings/alerts")
@allow(Role.VIEWER)
def save_alerts() -> str | Response | tuple[str, int]:
    actor = current_actor()
    form = _form(actor)
    if not form.validate():
        return _page(form, alerts.preference(db.session(), actor)), 422
    kinds = tuple(kind for kind in AlertKind if kind.value in (form.kinds.data or ()))
    wanted = Preference(kinds)
    if "channel" in form:
        channel = Channel(form.channel.data or Channel.NONE)
        wanted = Preference(kinds, channel, form.connection_id.data or None, form.address.data)
    try:
        with writing() as session:
            alerts.save_preference(session, actor, core.current(), wanted)
    except InvalidError as error:
        form.refuse(error)
        return _page(form, alerts.preference(db.session(), actor)), error.status
    flash("Saved.", "success")
    return redirect(url_for("settings.alerts_page"))


@blueprint.post("/settings/alerts/test")
@allow(Role.EDITOR)
def test_alert() -> Response:
    engine = core.current()
    try:
        with writing() as session:
            task_id = alerts.send_test(session, current_actor(), engine)
    except ConflictError as error:
        flash(sentence(error), "error")
        return redirect(url_for("settings.alerts_page"))
    engine.doorbell.ring()
    flash("The test alert is on its way; this page shows what becomes of it.", "success")
    return redirect(url_for("tasks.show", task_id=task_id))


@blueprint.post("/alerts/<alert_id>/read")
@allow(Role.VIEWER)
def read_alert(alert_id: str) -> Response:
    with writing() as session:
        alerts.mark_read(session, current_actor(), alert_id)
    return redirect(_back())


@blueprint.post("/alerts/read")
@allow(Role.VIEWER)
def read_alerts() -> Response:
    with writing() as session:
        alerts.mark_all_read(session, current_actor())
    return redirect(_back())


def _back() -> str:
    return url_for("settings.alerts_page" if request.form.get("back") == "settings" else "home.index")


def shown(told: Told) -> dict[str, Any]:
    """As the lists of Home and of the settings have it."""
    row = told.row
    return {
        "id": row.id,
        "kind": row.kind.value,
        "title": row.title,
        "text": sentence(row.sentence),
        "more": row.more,
        "at": row.at,
        "lasts": row.over_at is None,
        "read": told.read,
        "task_id": told.task_id,
        "sent": told.sent.value if told.sent else None,
        "url": _subject_url(row),
    }


def _subject_url(row: Alert) -> str | None:
    if row.kind in {AlertKind.FAILED, AlertKind.STUCK}:
        return url_for("rules.show", rule_id=row.subject_id)
    if row.kind is AlertKind.BROKEN:
        return url_for("connections.edit", connection_id=row.subject_id)
    return url_for("settings.storage_page")


def _form(actor: Actor, **given: Any) -> PreferenceForm:
    """A viewer says of what to be told; sending through the workspace's accounts is for editors."""
    form = PreferenceForm(**given)
    if not actor.role.covers(Role.EDITOR):
        for name in ("channel", "connection_id", "address"):
            del form[name]
    return form


def _page(form: PreferenceForm, saved: Preference) -> str:
    session, actor = db.session(), current_actor()
    if "connection_id" in form:
        form.connection_id.choices = [SelectChoice("", "none"), *_ways(actor)]
    told = alerts.listing(session, actor, limit=_LISTED).items
    return render_template(
        "settings/alerts.html",
        form=form,
        email=actor.email,
        told=[shown(each) for each in told],
        may_test=saved.channel is not Channel.NONE,
    )


def _ways(actor: Actor) -> list[SelectChoice]:
    session = db.session()
    rows = [
        row
        for way in (Channel.MAIL, Channel.CHAT)
        for row in alerts.ways(session, actor, core.current(), way)
    ]
    return [SelectChoice(row.id, row.name if row.healthy else f"{row.name} (broken)") for row in rows]
