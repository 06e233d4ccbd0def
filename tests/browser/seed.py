"""Fills a running server with what a small shop would have: people, accounts, rules, runs in every state, queues."""

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import httpx2

from app import clock
from tests import live
from tests.providers.http import Received, Says, StandIn, http_server, only_with_token, says_json
from tests.providers.smtp import PASSWORD as MAIL_PASSWORD
from tests.providers.smtp import USERNAME as MAIL_USER
from tests.providers.smtp import Mailbox, smtp_server

OWNER, NAME, PASSWORD, ZONE = "ada@lamps.example", "Ada Lovelace", live.PASSWORD, "Europe/Berlin"
_TOKEN = "crm-token-4711"
_CUSTOMERS = ["Grace Hopper", "Alan Turing", "Katherine Johnson", "Edsger Dijkstra", "Radia Perlman"]


class Visitor:
    """A person at a browser that knows only forms: the token of the page goes along with what is posted."""

    def __init__(self, url: str) -> None:
        self.http = httpx2.Client(base_url=url, follow_redirects=True, timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.http.close()

    def post(self, page: str, action: str, **fields: str) -> str:
        """What the answer's page says."""
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', self.http.get(page).text)
        assert found, f"no form on {page}"
        answer = self.http.post(action, data={"csrf_token": found[1], **fields})
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)


@dataclass
class Shop:
    """`ids` are what the addresses of pages with a part in them are made of."""

    server: live.Server
    mailbox: Mailbox
    target: StandIn
    key: str = ""
    ids: dict[str, str] = field(default_factory=dict)

    def api(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        with self.server.api(self.key) as api:
            answer = api.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code < 300, answer.text
        given: dict[str, Any] = answer.json()
        return given

    def run_of(self, state: str) -> str:
        """The newest run in that state, as soon as there is one."""
        found = live.wait_until(
            lambda: self.api("GET", f"/runs?state={state}")["items"], seconds=30, what=f"a run is {state}"
        )
        return str(found[0]["id"])


class _World:
    """What the target answers at each of its paths; the CRM forgets its token when told to."""

    def __init__(self) -> None:
        self.crm = only_with_token(_TOKEN)

    def __call__(self, request: Received) -> Says:
        match request.path:
            case "/warehouse/orders":
                return says_json(
                    {"id": 48, "state": "packed", "parcels": [{"weight_kg": 2.4, "tracked": True}]}, 201
                )
            case "/labels":
                return Says(hang_up=True)
            case "/busy":
                return says_json({"error": "maintenance"}, 503, **{"Retry-After": "5400"})
            case "/crm":
                return self.crm(request)
        return says_json({"error": "no such list"}, 404)


@contextmanager
def shop() -> Iterator[Shop]:
    """A server, its mail server and its target, filled."""
    world = _World()
    with (
        live.running(WORKERS="1") as server,
        smtp_server(security="starttls") as mailbox,
        http_server(world) as target,
    ):
        made = Shop(server, mailbox, target)
        _people(made)
        _connections(made)
        rules = _rules(made)
        _calls(made, rules)
        _break_crm(made, rules["crm"], world)
        _tasks(made)
        _settle(made)
        yield made


def _people(made: Shop) -> None:
    with Visitor(made.server.url) as ada:
        ada.post("/welcome", "/welcome", email=OWNER, password=PASSWORD, workspace="Lamps & Light", zone=ZONE)
        ada.post("/account/password", "/account/profile", name=NAME, zone=ZONE)
        page = ada.post("/api-keys", "/api-keys", name="Web shop", scopes="write")
        made.key = _found(r'id="new-key">(bq_[^<]+)<', page)
        ada.post("/api-keys", "/api-keys", name="Weekly report", scopes="read")
        for name, role in {
            "Grace Hopper": "admin",
            "Alan Turing": "editor",
            "Tim Berners-Lee": "viewer",
        }.items():
            link = _invite(ada, name.split()[0].lower() + "@lamps.example", role)
            with Visitor(made.server.url) as invited:
                invited.post(link, link, name=name, password=PASSWORD, zone=ZONE)
        made.ids["token"] = _invite(ada, "katherine@lamps.example", "editor").rpartition("/")[2]


def _invite(inviting: Visitor, email: str, role: str) -> str:
    """The invitation's path."""
    page = inviting.post("/team", "/team/invitations", email=email, role=role)
    return httpx2.URL(_found(r'id="invite-url">([^<]+)<', page)).path


def _found(pattern: str, page: str) -> str:
    found = re.search(pattern, page)
    assert found, f"no {pattern} on the page"
    return found[1]


def _connections(made: Shop) -> None:
    mail = {
        "host": "localhost", "port": made.mailbox.port, "security": "starttls", "accept_self_signed": True,
        "username": MAIL_USER, "password": MAIL_PASSWORD, "sender": "Lamps & Light <orders@lamps.example>",
    }  # fmt: skip
    made.ids["connection_id"] = _connect(made, "smtp", "Shop mail", mail)
    host = made.target.url.removeprefix("http://")
    crm = {"auth": "bearer", "secret": _TOKEN, "hosts": host, "check_url": f"{made.target.url}/crm"}
    made.ids["crm"] = _connect(made, "http", "Customer file", crm)
    secret = {"scheme": "token", "secret": "a-long-shared-secret", "header": "X-Shop-Token"}
    _connect(made, "webhook", "Shop's signature", secret)


def _connect(made: Shop, integration: str, name: str, settings: dict[str, Any]) -> str:
    body = {"integration": integration, "name": name, "settings": settings}
    return str(made.api("POST", "/connections", body)["id"])


def _rules(made: Shop) -> dict[str, dict[str, Any]]:
    hook = {"type": "webhook.received", "params": {}}
    big = {"key": "big", "kind": "filter", "conditions": [{"field": "event.total", "op": "gt", "value": 100}]}
    rules = {
        "orders": _rule(
            made, "Big orders to the warehouse", hook, [big, _mail(made), _call(made, "/warehouse/orders")]
        ),
        "labels": _rule(made, "Print a shipping label", hook, [_call(made, "/labels")]),
        "letter": _rule(made, "Add to the newsletter", hook, [_call(made, "/lists/12", method="PUT")]),
        "busy": _rule(made, "Tell the bookkeeping", hook, [_call(made, "/busy", method="PUT")]),
        "crm": _rule(
            made, "Keep the customer file up to date", hook, [_call(made, "/crm", connection=made.ids["crm"])]
        ),
    }
    every = {"type": "schedule.cron", "params": {"expression": "0 9 * * 1-5", "zone": "Europe/Berlin"}}
    made.ids["scheduled"] = str(_rule(made, "Morning report", every, [_mail(made)])["id"])
    made.ids["rule_id"], made.ids["key"] = str(rules["orders"]["id"]), "mail"
    draft = {"name": "Thank returning customers", "enabled": False, "trigger": hook, "steps": []}
    made.ids["draft"] = str(made.api("POST", "/rules", draft)["id"])
    return rules


def _rule(made: Shop, name: str, trigger: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
    return made.api("POST", "/rules", {"name": name, "enabled": True, "trigger": trigger, "steps": steps})


def _mail(made: Shop) -> dict[str, Any]:
    params = {
        "to": ["warehouse@lamps.example"],
        "subject": "Order {{ event.order | default: 'of today' }}",
        "text": "Please pack it today.",
    }
    return {
        "key": "mail", "kind": "action", "action": "smtp.send", "connection": made.ids["connection_id"],
        "params": params,
    }  # fmt: skip


def _call(made: Shop, path: str, *, method: str = "POST", connection: str | None = None) -> dict[str, Any]:
    body = {
        "order": "{{ event.order }}",
        "total": "{{ event.total }}",
        "customer": "{{ event.customer.name }}",
    }
    params = {"method": method, "url": made.target.url + path, "json": body}
    return {
        "key": "call",
        "kind": "action",
        "action": "http.request",
        "connection": connection,
        "params": params,
    }


def _calls(made: Shop, rules: dict[str, dict[str, Any]]) -> None:
    for number, total in enumerate([49, 180, 120.5, 35, 310, 99.9, 640]):
        _order(rules["orders"], number, total)
    for name in ("letter", "labels", "busy", "crm"):
        _order(rules[name], 20, 75)
    _order(rules["letter"], 21, 80)


def _order(rule: dict[str, Any], number: int, total: float) -> None:
    name = _CUSTOMERS[number % len(_CUSTOMERS)]
    email = f"{name.split()[0].lower()}@example.com"
    body = {
        "order": f"A-{1001 + number}",
        "total": total,
        "customer": {"name": name, "email": email, "returning": number % 2 == 0},
        "items": [{"name": "Desk lamp", "quantity": 1 + number % 3}, {"name": "Bulb E27", "quantity": 4}],
    }
    answer = httpx2.post(rule["hook_url"], json=body, headers={"Idempotency-Key": f"{rule['id']}-{number}"})
    assert answer.status_code == 202, answer.text


def _break_crm(made: Shop, rule: dict[str, Any], world: _World) -> None:
    live.wait_until(
        lambda: made.api("GET", f"/runs?rule={rule['id']}&state=succeeded")["items"],
        seconds=20,
        what="the CRM's run",
    )
    world.crm = only_with_token("another one by now")
    _order(rule, 30, 90)


def _tasks(made: Shop) -> None:
    call = {
        "action": "http.request",
        "params": {"method": "PUT", "url": f"{made.target.url}/warehouse/orders"},
    }
    made.api(
        "POST",
        "/queues",
        {"name": "invoices", "priority": 10, "concurrency": 2, "rate_count": 30, "rate_period_s": 60},
    )
    made.api("POST", "/queues", {"name": "pictures", "external": True})
    made.api("POST", "/queues", {"name": "newsletter", "priority": -5})
    made.api("POST", "/queues/newsletter/pause")
    made.ids["task_id"] = made.api("POST", "/tasks", {**call, "queue": "invoices"})["id"]
    made.ids["later"] = made.api("POST", "/tasks", {**call, "run_at": _in(hours=8)})["id"]
    for _ in range(3):
        made.api("POST", "/tasks", {**call, "queue": "newsletter"})
    made.api("POST", "/tasks", {"action": "resize", "params": {"file": "lamp-12.png"}, "queue": "pictures"})
    canceled = made.api("POST", "/tasks", {**call, "run_at": _in(hours=2)})["id"]
    made.api("POST", f"/tasks/{canceled}/cancel")


def _in(**later: float) -> str:
    return (clock.now() + timedelta(**later)).isoformat().replace("+00:00", "Z")


def _settle(made: Shop) -> None:
    """Wait until each state has its run."""
    made.ids |= {
        state: made.run_of(state) for state in ("succeeded", "filtered", "failed", "uncertain", "waiting")
    }
    orders = made.api("GET", f"/runs?rule={made.ids['rule_id']}&state=succeeded")["items"]
    made.ids["run_id"] = str(orders[0]["id"])
    made.ids["event_id"] = str(made.api("GET", f"/runs/{made.ids['run_id']}")["event"])
    live.wait_until(lambda: _is_quiet(made), seconds=30, what="nothing is queued or running")


def _is_quiet(made: Shop) -> bool:
    return not any(made.api("GET", f"/runs?state={state}")["items"] for state in ("queued", "running"))
