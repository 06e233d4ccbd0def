import pytest

from app.engine import preview
from app.errors import SealError
from app.models import Task
from app.sdk.errors import RejectedError
from tests.engine.conftest import once, only_if, step, workspace
from tests.engine.test_execute import account


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(bench, provider):
    made = step("one", "{{ event.total }}", params={"what": "{{ event.total }}", "token": "s3cret"})

    shown = preview.render(bench.engine, made, {"event": {"total": 7}})

    assert (shown.action, shown.title, shown.repeatable) == ("probe.tell", "Tell", True)
    assert (shown.params["what"], "s3cret" in str(shown.params)) == (7, False)
    assert provider.heard == []


def test_a_dry_run_says_that_an_action_may_not_be_repeated(bench):
    assert not preview.render(bench.engine, once("one"), {}).repeatable


@pytest.mark.parametrize("made", [step("one", "{{ event.missing }}"), step("one", action="gone.away")])
def test_a_dry_run_says_what_is_wrong(bench, made):
    with pytest.raises(RejectedError):
        preview.render(bench.engine, made, {"event": {}})


def test_really_doing_it_does_it_once_and_leaves_no_task(bench, provider):
    output = preview.call(bench.engine, bench.workspace_id, step("one", connection=account(bench)), {})

    assert output == {"heard": "one"}
    assert len(provider.heard) == 1
    assert provider.keys[0].startswith("try_")
    assert bench.rows(Task) == []


@pytest.mark.parametrize("whose", ["nobody", "another workspace"])
def test_an_account_of_another_workspace_is_not_there(bench, provider, whose):
    elsewhere = account(workspace(bench.engine, provider))
    made = step("one", connection="con_gone" if whose == "nobody" else elsewhere)

    with pytest.raises(RejectedError, match="deleted"):
        preview.call(bench.engine, bench.workspace_id, made, {})

    assert provider.heard == []


def test_an_account_that_does_not_open_is_said_to_be_sealed(bench):
    made = step("one", connection=account(bench, sealed="k9.AAAA"))

    with pytest.raises(SealError):
        preview.call(bench.engine, bench.workspace_id, made, {})


def test_a_filters_verdict_says_why():
    verdict = preview.filter_verdict(only_if("big", "event.total", "gt", 100), {"event": {"total": 50}})

    assert not verdict.passed
    assert "50" in verdict.sentences[0]
