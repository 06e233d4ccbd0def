"""The banner of a restored server, on every page, and the button that ends the hold."""

from datetime import timedelta

import pytest

from app import clock
from app.database import writing
from app.engine import hold

BANNER = "Outgoing work is held"


@pytest.fixture
def held(session, world):
    with writing():
        hold.begin(session.connection(), backup_at=clock.now() - timedelta(hours=2))
    return world


@pytest.mark.parametrize("path", ["/", "/rules", "/connections", "/queues", "/team", "/settings", "/help"])
def test_the_banner_stands_on_every_page(held, as_owner, path):
    assert BANNER in as_owner.get(path).text


def test_without_a_hold_there_is_no_banner(world, as_owner):
    assert BANNER not in as_owner.get("/").text
    assert "Nothing is held" in as_owner.get("/hold").text


def test_who_may_not_end_it_is_told_who_may(held, as_viewer):
    page = as_viewer.get("/hold")

    assert "until an operator lets it go on" in as_viewer.get("/").text
    assert "Let it go on" not in page.text
    assert as_viewer.post("/hold/release").status_code == 403


def test_one_press_lets_it_go_on(held, as_owner, session):
    assert "Let it go on" in as_owner.get("/hold").text

    done = as_owner.post("/hold/release", follow_redirects=True)

    assert "Outgoing work goes on." in done.text
    assert BANNER not in done.text
    assert hold.standing(session.connection()) is None


def test_a_second_press_is_harmless(held, as_owner):
    as_owner.post("/hold/release")

    assert "Nothing was held." in as_owner.post("/hold/release", follow_redirects=True).text
