"""What holds for every integration: a new file in app/integrations is tested here at once."""

import ast
import importlib
import inspect
import json
import re
import socket
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pydantic import SecretStr, ValidationError

from app import integrations
from app.sdk.addresses import AddressGuard
from app.sdk.declare import Action, Context, Integration, Occurrence, Reply, Trigger
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.fields import Settings, is_secret, place_of, reveal, secret_names
from app.sdk.http import HttpClient
from tests.integrations.conftest import NOW
from tests.integrations.lent import Counted, Remembered

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"flask", "sqlalchemy", "rq", "redis", "gevent", "os", "subprocess", "requests", "urllib3"}
MAX_LINES = 300
SAMPLES = Path(integrations.__file__).parent / "samples"

CATALOGUE = integrations.load()
INTEGRATIONS = list(CATALOGUE)
WITH_ACCOUNT = [one for one in INTEGRATIONS if one.settings]
ACTIONS = [action for one in INTEGRATIONS for action in one.actions.values()]
TRIGGERS = [trigger for one in INTEGRATIONS for trigger in one.triggers.values()]
MODELS = {model for one in ACTIONS + TRIGGERS if (model := one.params).model_fields} | {
    one.settings for one in WITH_ACCOUNT
}

each_integration = pytest.mark.parametrize("integration", INTEGRATIONS, ids=lambda one: one.key)
each_account = pytest.mark.parametrize("integration", WITH_ACCOUNT, ids=lambda one: one.key)
each_action = pytest.mark.parametrize("action", ACTIONS, ids=lambda one: one.key)
each_trigger = pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda one: one.key)
each_part = pytest.mark.parametrize("part", ACTIONS + TRIGGERS, ids=lambda one: one.key)
each_model = pytest.mark.parametrize(
    "model",
    sorted(MODELS, key=lambda one: one.__module__ + one.__name__),
    ids=lambda one: f"{one.__module__}.{one.__name__}",
)


def integration_of(part: Action | Trigger) -> Integration:
    return CATALOGUE.integrations[part.key.partition(".")[0]]


def example_account(integration: Integration) -> Settings:
    """The account that the form's own examples describe."""
    fields = integration.settings.model_fields
    return integration.settings.model_validate(
        {name: field.examples[0] for name, field in fields.items() if field.examples}
    )


def accounts_for(action: Action) -> list[Settings | None]:
    """Every way to call it: with the example's account, without one, or both where it is optional."""
    without: list[Settings | None] = [] if action.need == "required" else [None]
    return without if action.need == "none" else [*without, example_account(integration_of(action))]


def source_of(integration: Integration) -> Path:
    return Path(importlib.import_module(integration.module).__file__)


def missing(part: Action | Trigger) -> str:
    key, _, name = part.key.partition(".")
    return f'add samples of {part.key}: a list under "{name}" in {SAMPLES / f"{key}.json"}'


def assert_plain(message: str) -> None:
    first = message.split(maxsplit=1)[0]
    assert first == first.lower()
    assert not message.endswith(".")
    assert "\n" not in message


@pytest.fixture(scope="module")
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture
def reached():
    """The hosts that were asked for."""
    return []


@pytest.fixture
def dead_ctx(closed_port, reached):
    """Every name leads to a port of this machine where nobody listens."""

    def resolver(host, port):
        reached.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", closed_port))]

    guard = AddressGuard(allow_private=True, resolver=resolver)
    client = HttpClient(guard)
    yield Context(client, guard, NOW, idempotency_key="tsk_1", memory=Remembered(), meter=Counted())
    client.close()


# words


@each_integration
def test_an_integration_says_what_it_is_for(integration):
    assert integration.title
    assert_plain(integration.about)
    assert integration.actions or integration.triggers
    assert inspect.getdoc(importlib.import_module(integration.module)).endswith(".")


@each_integration
def test_an_integration_has_an_icon(integration):
    icon = ROOT / "static" / "icons" / "integrations" / f"{integration.key}.svg"

    assert ET.fromstring(icon.read_text()).tag.endswith("svg")


@each_part
def test_an_action_or_trigger_has_a_title_and_says_what_it_does(part):
    assert part.title[0].isupper()
    assert not part.title.endswith(".")
    assert part.description.endswith(".")


@each_model
def test_every_field_has_words_and_a_model_has_a_docstring(model):
    assert model.__doc__
    for name, field in model.model_fields.items():
        assert field.title, name
        assert field.title[0].isupper(), name
        assert not (field.description or "").endswith("."), name


@each_account
def test_an_account_can_be_checked_before_it_is_saved(integration):
    assert integration.check_call is not None
    assert integration.check_call.__doc__


# what is derived


@each_model
def test_a_model_gives_a_json_schema(model):
    schema = model.model_json_schema()

    assert json.loads(json.dumps(schema))["additionalProperties"] is False


@each_action
def test_an_action_has_samples_that_its_own_model_accepts(action):
    assert action.samples, missing(action)
    for sample in action.samples:
        action.params.model_validate(sample.params)
        json.dumps(dict(sample.output), allow_nan=False)
        assert sample.output


@each_trigger
def test_a_trigger_has_samples_that_are_json(trigger):
    assert trigger.samples, missing(trigger)
    for sample in trigger.samples:
        assert json.loads(json.dumps(dict(sample), allow_nan=False)) == sample


def test_every_sample_belongs_to_an_action_or_trigger():
    kept = {
        f"{file.stem}.{name}" for file in SAMPLES.glob("*") for name in json.loads(file.read_text("utf-8"))
    }

    assert kept <= {part.key for part in ACTIONS + TRIGGERS}


@each_account
def test_the_examples_of_an_account_make_a_valid_account(integration):
    account = example_account(integration)

    assert integration.settings.model_validate(reveal(account)) == account


@each_action
def test_an_action_says_whether_it_may_be_repeated(action):
    for sample in action.samples:
        assert isinstance(action.is_repeatable(action.params.model_validate(sample.params)), bool)


def test_mail_and_messages_and_posts_are_never_repeated_by_themselves():
    posts = {
        action.key
        for action in ACTIONS
        for sample in action.samples
        if not action.is_repeatable(action.params.model_validate(sample.params))
    }

    assert {"smtp.send", "slack.message", "http.request"} <= posts


@pytest.mark.parametrize("trigger", [one for one in TRIGGERS if one.sort == "poll"], ids=lambda one: one.key)
def test_a_poll_marks_what_it_looks_at(trigger):
    """With `place=True` on its fields: at another place it begins anew."""
    marked = place_of(trigger.params, {})

    assert marked


# secrets


@each_account
def test_an_account_never_shows_its_secrets(integration):
    account = example_account(integration)
    secrets = {
        value.get_secret_value()
        for name in secret_names(integration.settings)
        if (value := getattr(account, name))
    }

    shown = repr(account) + str(account) + account.model_dump_json() + repr(account.model_dump())

    assert secrets
    for secret in filter(None, secrets):
        assert secret not in shown


@each_account
def test_what_sounds_like_a_secret_is_one(integration):
    for name, field in integration.settings.model_fields.items():
        # Not `tokens_a_day`, which is a number of words.
        if re.search(r"secret|password|token(?!s_)|api_key|webhook_url", name):
            assert is_secret(field), name
            assert SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))


@each_account
def test_an_account_that_is_refused_does_not_repeat_what_was_typed(integration):
    typed = dict.fromkeys(secret_names(integration.settings), "hunter2-hunter2")

    with pytest.raises(ValidationError) as refused:
        integration.settings.model_validate(typed | {"unknown_field": "hunter2-hunter2"})

    assert "hunter2" not in str(refused.value)


# the file


@each_integration
def test_the_file_is_short_and_knows_no_framework(integration):
    source = source_of(integration).read_text()
    imported = {name.partition(".")[0] for node in ast.walk(ast.parse(source)) for name in imported_by(node)}

    assert source.count("\n") <= MAX_LINES
    assert not imported & FORBIDDEN


def imported_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


# calls


@each_action
def test_an_action_at_a_dead_server_has_not_been_sent_and_may_be_tried_again(action, dead_ctx, reached):
    failures = [
        failure
        for sample in action.samples
        for account in accounts_for(action)
        if (failure := failed(action, account, sample, dead_ctx, reached))
    ]

    assert all(not failure.sent for failure in failures)
    assert [assert_plain(str(failure)) for failure in failures] or action.need != "required"


def failed(action, account, sample, ctx, reached) -> TemporaryError | None:
    """None where it called nobody: it works here alone, or asks for an account or a file first."""
    reached.clear()
    try:
        action.call(ctx, account, action.params.model_validate(sample.params))
    except TemporaryError as failure:
        return failure
    except IntegrationError as refused:
        assert_plain(str(refused))
    assert reached == []
    return None


TELLING = [action for action in ACTIONS if action.confirm is not None]


@pytest.mark.parametrize("action", TELLING, ids=lambda one: one.key)
def test_a_dead_server_does_not_tell_whether_something_was_done(action, dead_ctx):
    for account in accounts_for(action):
        for sample in action.samples:
            with pytest.raises(IntegrationError) as failure:
                action.confirm(dead_ctx, account, action.params.model_validate(sample.params), NOW)

            assert_plain(str(failure.value))


@pytest.mark.parametrize("action", TELLING, ids=lambda one: one.key)
def test_only_what_may_not_be_repeated_is_asked_about(action):
    assert action.idempotent is not True


@each_account
def test_a_check_at_a_dead_server_says_so_or_has_nothing_to_call(integration, dead_ctx):
    account = example_account(integration)

    try:
        said = integration.check_call(dead_ctx, account)
    except IntegrationError as error:
        assert isinstance(error, TemporaryError | AuthError | RejectedError)
        said = str(error)

    assert_plain(said)
    for name in filter(None, map(secret_of(account), secret_names(integration.settings))):
        assert name not in said


def secret_of(account: Settings):
    return lambda name: getattr(account, name).get_secret_value()


@pytest.mark.parametrize("trigger", [one for one in TRIGGERS if one.sort == "hook"], ids=lambda one: one.key)
def test_a_hook_refuses_an_unsigned_call_when_it_has_an_account(trigger, unsigned_call):
    account = example_account(integration_of(trigger))

    with pytest.raises(IntegrationError) as refused:
        list(trigger.call(unsigned_call, account, trigger.params()))

    assert refused.value.status == 401
    assert_plain(str(refused.value))


@pytest.mark.parametrize(
    "trigger",
    [one for one in TRIGGERS if one.sort == "hook" and one.need != "required"],
    ids=lambda one: one.key,
)
def test_a_hook_without_account_gives_occurrences_of_json_data(trigger, unsigned_call):
    found = trigger.call(unsigned_call, None, trigger.params())

    assert isinstance(found, Reply) or [
        json.dumps(one.data, allow_nan=False) for one in found if isinstance(one, Occurrence)
    ]
