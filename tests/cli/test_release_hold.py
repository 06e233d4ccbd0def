"""Ending the hold of a restored server from the command line."""

from app import clock
from app.database import writing
from app.engine import hold


def test_it_says_whether_anything_was_held(app, session):
    with writing():
        hold.begin(session.connection(), backup_at=clock.now())
    runner = app.test_cli_runner()

    first, second = runner.invoke(args=["release-hold"]), runner.invoke(args=["release-hold"])

    assert (first.exit_code, first.output) == (0, "outgoing work goes on\n")
    assert (second.exit_code, second.output) == (0, "nothing was held\n")
