"""Who may open which page, found by asking every route."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.routing import AnyConverter, IntegerConverter

from app import clock
from app.engine import core
from app.models import Membership, Role, State
from app.services import failures
from app.web import find_blueprints
from app.web.access import is_marked
from tests import factories
from tests.conftest import World

NAMES = {blueprint.name for blueprint in find_blueprints()}
# About oneself, in whatever role.
PERSONAL = {
    "account.logout",
    "account.theme",
    "account.profile",
    "account.password",
    "settings.save_alerts",
    "settings.read_alert",
    "settings.read_alerts",
    "team.leave",
    "team.switch",
    "team.new_workspace",
}
UNKNOWN_ID = "xxx_00000000000000000000000000"


def routes(app: Flask) -> list:
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint.partition(".")[0] in NAMES]


def is_public(app: Flask, rule) -> bool:
    return getattr(app.view_functions[rule.endpoint], "is_public", False)


def fill(rule, ids: Mapping[str, str] = MappingProxyType({})) -> str:
    with_ids = {name: ids.get(name, _unknown(rule._converters[name])) for name in rule.arguments}
    return rule.build({**with_ids, **(rule.defaults or {})})[1]


def _unknown(converter) -> object:
    if isinstance(converter, AnyConverter):
        return next(iter(converter.items))
    return 999_999 if isinstance(converter, IntegerConverter) else UNKNOWN_ID


def calls(app: Flask, *methods: str) -> list[tuple[str, str, str]]:
    return [
        (method, fill(rule), rule.endpoint)
        for rule in routes(app)
        for method in methods
        if method in rule.methods
    ]


def test_every_view_says_who_may_open_it(app: Flask):
    unmarked = [rule.endpoint for rule in routes(app) if not is_marked(app.view_functions[rule.endpoint])]

    assert unmarked == []


def test_a_view_without_a_mark_is_open_to_nobody(app: Flask, as_owner: FlaskClient, monkeypatch):
    monkeypatch.setitem(app.view_functions, "help.index", lambda: "secret")

    answer = as_owner.get("/help")

    assert answer.status_code == 403


def test_who_is_not_logged_in_is_sent_to_log_in(app: Flask, world: World, client: FlaskClient):
    private = {rule.endpoint for rule in routes(app) if not is_public(app, rule)}

    answers = {
        (method, endpoint): client.open(path, method=method)
        for method, path, endpoint in calls(app, "GET", "POST")
        if endpoint in private
    }

    assert answers
    assert {key for key, answer in answers.items() if answer.status_code != 302} == set()
    assert all(answer.location.startswith("/login") for answer in answers.values())


def test_a_viewer_changes_nothing(app: Flask, as_viewer: FlaskClient):
    changing = [call for call in calls(app, "POST") if call[2] not in PERSONAL]

    answers = {
        endpoint: as_viewer.post(path)
        for _, path, endpoint in changing
        if not getattr(app.view_functions[endpoint], "is_public", False)
    }

    assert answers
    assert {endpoint: a.status_code for endpoint, a in answers.items() if a.status_code != 403} == {}


def test_an_unknown_id_is_not_found_anywhere(app: Flask, as_owner: FlaskClient):
    statuses = ask(app, as_owner, {})

    assert statuses
    assert {key: status for key, status in statuses.items() if status != 404} == {}


@pytest.fixture
def ids(world: World, session: Session) -> dict[str, str]:
    """One row of every noun in the shop, by the name that routes give its id."""
    shop = {"workspace_id": world.workspace.id}
    rule = factories.RuleFactory(**shop)
    version = factories.RuleVersionFactory(rule_id=rule.id, **shop)
    event = factories.EventFactory(**shop)
    run = factories.RunFactory(rule_id=rule.id, version_id=version.id, event_id=event.id, **shop)
    task = factories.TaskFactory(queue_id=world.queue.id, run_id=run.id, **shop)
    key = factories.ApiKeyFactory(user_id=world.owner.id, **shop)
    connection = factories.ConnectionFactory(**shop)
    invitation = factories.InvitationFactory(invited_by=world.owner.id, expires_at=clock.now(), **shop)
    return {
        "rule_id": rule.id,
        "event_id": event.id,
        "run_id": run.id,
        "task_id": task.id,
        "key": "1",
        "queue_id": world.queue.id,
        "api_key_id": key.id,
        "connection_id": connection.id,
        "user_id": world.owner.id,
        "invitation_id": invitation.id,
        "token": "the-token",
        "part": "params",
        "file_id": factories.FileFactory(**shop).id,
        "alert_id": factories.AlertFactory(**shop).id,
        "workspace_id": world.workspace.id,
        "group": _failed(session, world),
    }


def _failed(session: Session, world: World) -> str:
    """The key of a failure, as the page of failures groups it."""
    factories.TaskFactory(workspace_id=world.workspace.id, queue_id=world.queue.id, state=State.FAILED)
    [group] = failures.desk(session, world.actor(), core.current()).groups
    return group.key


def test_a_stranger_finds_no_row_of_ours_on_any_route(
    app: Flask, as_stranger: FlaskClient, ids: dict[str, str]
):
    statuses = ask(app, as_stranger, ids)

    assert statuses
    assert {key: status for key, status in statuses.items() if status != 404} == {}


def test_every_id_in_a_route_has_a_row_to_try_it_with(app: Flask, ids: dict[str, str]):
    assert {name for rule in routes(app) for name in rule.arguments} <= set(ids)


def ask(app: Flask, client: FlaskClient, ids: dict[str, str]) -> dict[tuple[str, str], int]:
    """The answer's status of every route with an id and every method."""
    form = {"role": "viewer", "answer": "done", "direction": "up", "kind": "filter", "choice": "once"}
    return {
        (method, rule.endpoint): client.open(fill(rule, ids), method=method, data=form).status_code
        for rule in routes(app)
        if rule.arguments
        for method in ("GET", "POST")
        if method in rule.methods
    }


def test_an_id_with_a_nul_is_not_found(as_owner: FlaskClient):
    answer = as_owner.post("/team/members/usr%00x/remove")

    assert answer.status_code == 404


def test_a_person_of_another_workspace_is_not_found(as_owner: FlaskClient, world: World):
    answer = as_owner.post(f"/team/members/{world.stranger.id}/role", data={"role": "viewer"})

    assert answer.status_code == 404


def test_a_role_that_was_lowered_counts_at_once(as_admin: FlaskClient, world: World, session):
    assert as_admin.get("/settings").status_code == 200
    session.execute(
        sa.update(Membership).where(Membership.user_id == world.admin.id).values(role=Role.VIEWER)
    )
    session.commit()

    assert as_admin.get("/settings").status_code == 403


@pytest.mark.parametrize("path", ["/", "/rules", "/login", "/help", "/invitations/x"])
def test_before_the_first_owner_every_page_leads_to_the_welcome(app: Flask, client: FlaskClient, path: str):
    answer = client.get(path)

    assert (answer.status_code, answer.location) == (302, "/welcome")


def test_a_form_without_its_token_is_refused_everywhere(app: Flask, as_owner: FlaskClient, monkeypatch):
    monkeypatch.setitem(app.config, "WTF_CSRF_ENABLED", True)

    statuses = {endpoint: as_owner.post(path).status_code for _, path, endpoint in calls(app, "POST")}

    assert {endpoint: status for endpoint, status in statuses.items() if status != 400} == {}
