from app.integrations.manual import manual, started
from app.sdk.declare import NoSettings


def test_a_start_by_hand_needs_no_account_and_no_settings():
    trigger = manual.triggers["started"]

    assert started(NoSettings()) is None
    assert (trigger.sort, trigger.need, trigger.key) == ("manual", "none", "manual.started")
