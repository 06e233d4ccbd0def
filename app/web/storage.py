"""What the workspace keeps and takes, and what its paid services cost: pages of the settings."""

from typing import Any

from flask import flash, redirect, render_template, url_for
from werkzeug.wrappers import Response
from wtforms import IntegerField
from wtforms.validators import InputRequired, Optional

from app.database import db, writing
from app.engine import core, disk
from app.errors import InvalidError
from app.models import Role
from app.services import storage, usage
from app.web.access import allow, current_actor
from app.web.forms import Form
from app.web.settings import blueprint

_NUMBER = {"min": "1", "inputmode": "numeric", "autocomplete": "off"}


class StorageForm(Form):
    keep_days = IntegerField(
        "Days to keep runs",
        [Optional()],
        description="After so many days a run that has ended is removed. Empty: for ever.",
        render_kw=_NUMBER,
    )
    keep_runs = IntegerField(
        "Runs to keep",
        [Optional()],
        description="Of more than so many the oldest are removed. Empty: no limit.",
        render_kw=_NUMBER,
    )
    budget_mb = IntegerField(
        "Budget in MB",
        [InputRequired("is needed")],
        description="What the workspace may take of the database, its files included.",
        render_kw=_NUMBER | {"min": str(storage.LEAST_BUDGET_MB)},
    )


@blueprint.app_context_processor
def disk_trouble() -> dict[str, Any]:
    """For the banner of every page."""
    return {"disk_trouble": lambda: disk.watch(core.current().database).room().trouble}


@blueprint.get("/settings/storage")
@allow(Role.VIEWER)
def storage_page() -> str:
    return _page(None)


@blueprint.post("/settings/storage")
@allow(Role.ADMIN)
def save_storage() -> str | Response | tuple[str, int]:
    form = StorageForm()
    if not form.validate():
        return _page(form), 422
    values = {name: form[name].data for name in ("keep_days", "keep_runs", "budget_mb")}
    try:
        with writing() as session:
            storage.change(session, current_actor(), values)
    except InvalidError as error:
        form.refuse(error)
        return _page(form), error.status
    flash("Saved. What is too much goes in the next minutes, a little at a time.", "success")
    return redirect(url_for("settings.storage_page"))


@blueprint.get("/settings/usage")
@allow(Role.VIEWER)
def usage_page() -> str:
    found = usage.listing(db.session(), current_actor(), core.current())
    return render_template("settings/usage.html", uses=[_shown(use) for use in found])


def _page(form: StorageForm | None) -> str:
    standing = storage.standing(db.session(), current_actor(), core.current())
    given = {
        "keep_days": standing.keep_days,
        "keep_runs": standing.keep_runs,
        "budget_mb": standing.budget_bytes // storage.MB,
    }
    return render_template(
        "settings/storage.html", standing=standing, form=form or StorageForm(formdata=None, data=given)
    )


def _shown(use: usage.Use) -> dict[str, Any]:
    periods = {"Today": use.day, "This month": use.month}
    return {
        "id": use.id,
        "kind": use.kind,
        "name": use.name,
        "periods": [
            {"name": name, "levels": {unit: _level(unit, level) for unit, level in levels.items()}}
            for name, levels in periods.items()
        ],
    }


def _level(unit: str, level: usage.Level) -> dict[str, Any]:
    used, limit = _amount(unit, level.used), None if level.limit is None else _amount(unit, level.limit)
    return {"used": used, "limit": limit, "part": level.part}


def _amount(unit: str, number: int) -> str:
    return f"${number / 1_000_000:,.2f}" if unit == "micros" else f"{number:,}"
