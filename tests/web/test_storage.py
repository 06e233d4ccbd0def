"""The pages of storage and of paid services."""

from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.engine import meter
from app.models import Storage, Usage, Workspace
from tests import factories
from tests.conftest import World


def test_an_admin_sets_what_is_kept(as_admin: FlaskClient, session: Session, world: World):
    given = {"keep_days": "7", "keep_runs": "", "budget_mb": "500"}

    answer = as_admin.post("/settings/storage", data=given | {"workspace_id": "x"})

    row = session.get_one(Workspace, world.workspace.id)
    assert answer.location == "/settings/storage"
    assert (row.keep_days, row.keep_runs, row.budget_bytes) == (7, None, 500 * 1024**2)


def test_what_does_not_fit_stands_beside_its_field(as_admin: FlaskClient):
    few = as_admin.post("/settings/storage", data={"keep_days": "7", "budget_mb": "1"})
    words = as_admin.post("/settings/storage", data={"keep_days": "a week", "budget_mb": "500"})

    assert (few.status_code, words.status_code) == (422, 422)
    assert "must be a whole number from 10" in few.text
    assert "Not a valid integer value" in words.text


def test_everybody_sees_what_takes_how_much_and_only_an_admin_the_form(
    as_viewer: FlaskClient, session: Session, world: World
):
    rule = factories.RuleFactory(workspace_id=world.workspace.id, name="Big <orders>")
    session.add(Storage(workspace_id=world.workspace.id, subject_id=rule.id, count=12, bytes=4_900_000_000))
    session.commit()

    page = as_viewer.get("/settings/storage").text

    assert "Big &lt;orders&gt;" in page
    assert "4.6 GB of 5.0 GB, 91 %" in page
    assert "The budget is nearly used up" in page
    assert 'name="keep_days"' not in page
    assert as_viewer.post("/settings/storage", data={"budget_mb": "500"}).status_code == 403


def test_the_page_of_paid_services_shows_money_and_limits(
    as_viewer: FlaskClient, session: Session, world: World
):
    place = world.workspace.id
    account = factories.ConnectionFactory(
        workspace_id=place, integration="openai", name="Our AI", settings={"dollars_a_day": 2}
    )
    empty = as_viewer.get("/settings/usage").text
    session.add(
        Usage(
            workspace_id=place,
            subject_id=account.id,
            day=meter.today(),
            calls=3,
            tokens=1234,
            micros=2_000_000,
        )
    )
    session.commit()

    page = as_viewer.get("/settings/usage").text

    assert "Our AI" in empty
    assert "1,234" in page
    assert "$2.00" in page
    assert "used up" in page
