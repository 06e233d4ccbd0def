"""Manual: rules that a person starts."""

from app.sdk.declare import Integration, NoSettings

manual = Integration(module=__name__, title="Manual", about="start a rule with a button", need="none", rank=3)


@manual.manual("Started by hand")
def started(params: NoSettings) -> None:
    """Starts when somebody presses run on the rule, or starts it over the API with data of their own."""
