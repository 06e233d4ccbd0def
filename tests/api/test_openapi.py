import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.api.problems import is_ours
from tests import factories

_BOUNDED = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_the_description_is_valid_openapi(client):
    document = client.get("/api/v1/openapi.json").json

    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described(app, client):
    described = client.get("/api/v1/openapi.json").json["paths"]
    left_out = {"/healthz", "/readyz", "/metrics", "/api/docs", "/api/v1/openapi.json"}

    for rule in app.url_map.iter_rules():
        if is_ours(rule.rule) and rule.rule not in left_out:
            path = rule.rule.replace("<", "{").replace(">", "}")
            assert path in described, path


def test_operations_have_a_summary_an_id_of_their_own_and_a_problem(client):
    document = client.get("/api/v1/openapi.json").json
    operations = [operation for path in document["paths"].values() for operation in path.values()]

    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert all(operation["responses"]["default"] for operation in operations)
    assert all("<" not in operation["summary"] for operation in operations)


def test_the_page_reads_without_script_or_key(client):
    answer = client.get("/api/docs")

    assert answer.status_code == 200
    assert "/api/v1/tasks" in answer.text
    assert "Idempotency-Key" in answer.text
    assert "style=" not in answer.text


@pytest.fixture
def schema(app, api_key, world):
    factories.TaskFactory(workspace_id=world.workspace.id, queue_id=world.queue.id)
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)


@pytest.mark.slow
def test_no_generated_request_is_a_fault(schema, api_key):
    """Whatever fits the description, or just does not: an answer below 500, and a problem where it is refused."""
    refused: list[str] = []
    operations = [result.ok() for result in schema.get_all_operations()]

    for operation in operations:
        _try(operation, api_key, refused)

    assert len(operations) > 30
    assert refused == []


def _try(operation, key: str, refused: list[str]) -> None:
    @_BOUNDED
    @given(case=operation.as_strategy())
    def call(case):
        answer = case.call(headers={"Authorization": f"Bearer {key}"})
        kind = answer.headers.get("content-type", [""])[0]
        if answer.status_code >= 500 or (answer.status_code >= 400 and kind != "application/problem+json"):
            refused.append(f"{answer.status_code} {kind} {operation.label}: {case.as_curl_command()}")

    call()
