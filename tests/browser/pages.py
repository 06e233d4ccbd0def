"""Every page there is: found from the application's routes, so that a new one is looked at without being listed."""

from dataclasses import dataclass
from pathlib import Path

from flask import Flask
from werkzeug.routing import Rule

from tests.browser.seed import Shop
from tests.conftest import make_app, make_config

# What answers with JSON, plain text or a file; the dashboard is RQ's own.
_NO_PAGES = ("v1_", "rq_dashboard.", "static")
_NO_PAGE = {"help.integration", "events.whole", "files.download", "oauth.callback", "tasks.whole"}
_ALSO_PAGES = {"v1_openapi.docs"}
# Where an address means something else by a name.
_MEANT = {"help.integration": {"key": "smtp"}}
# Pages that only somebody who is logged out sees.
PUBLIC = {"account.login", "account.welcome", "account.invitation"}


@dataclass(frozen=True, slots=True)
class Page:
    name: str
    path: str

    def __str__(self) -> str:
        return self.name


def make_routes(home: Path) -> list[Rule]:
    app: Flask = make_app(make_config(home))
    return [rule for rule in app.url_map.iter_rules() if _is_page(rule)]


def _is_page(rule: Rule) -> bool:
    if rule.endpoint in _ALSO_PAGES:
        return True
    return (
        "GET" in (rule.methods or ())
        and rule.endpoint not in _NO_PAGE
        and not rule.endpoint.startswith(_NO_PAGES)
    )


def member_pages(routes: list[Rule], shop: Shop) -> list[Page]:
    """What an owner who is logged in may open: each route once, and those with more than one face again."""
    found = [_page(rule, shop.ids) for rule in routes if rule.endpoint not in PUBLIC]
    return sorted([*found, *_faces(shop)], key=str)


def public_pages(shop: Shop) -> list[Page]:
    return [
        Page("login", "/login"),
        Page("invitation", f"/invitations/{shop.ids['token']}"),
        Page("invitation-gone", "/invitations/used-up"),
    ]


def _page(rule: Rule, ids: dict[str, str]) -> Page:
    known = ids | _MEANT.get(rule.endpoint, {})
    built = rule.build({name: known[name] for name in rule.arguments}, append_unknown=False)
    assert built, rule.rule
    return Page(rule.endpoint.replace(".", "-"), built[1])


def _faces(shop: Shop) -> list[Page]:
    ids = shop.ids
    rule, draft, scheduled = (f"/rules/{ids[name]}" for name in ("rule_id", "draft", "scheduled"))
    faces = {
        f"runs-show-{state}": f"/runs/{ids[state]}"
        for state in ("filtered", "failed", "uncertain", "waiting")
    }
    faces |= {
        f"connections-new-{key}": f"/connections/new?integration={key}"
        for key in ("smtp", "http", "slack", "webhook")
    }
    faces |= {
        "connections-edit-broken": f"/connections/{ids['crm']}",
        "help-integration-smtp": "/help/integrations/smtp",
        "queues-index-edit": "/queues?edit=new",
        "rules-index-nothing": "/rules?text=lighthouse",
        "rules-show-draft": draft,
        "rules-show-scheduled": scheduled,
        "rules-show-add": f"{rule}?after=big",
        "rules-step-filter": f"{rule}/steps/big",
        "rules-step-http": f"{rule}/steps/call",
        "rules-test_step-filter": f"{rule}/steps/big/test",
        "rules-trigger-scheduled": f"{scheduled}/trigger",
        "rules-trigger-every": f"{scheduled}/trigger?type=schedule.every",
        "rules-trigger-once": f"{scheduled}/trigger?type=schedule.once",
        "runs-index-failed": "/activity?state=failed",
        "runs-index-nothing": "/activity?text=lighthouse",
        "tasks-show-later": f"/tasks/{ids['later']}",
    }
    return [Page(name, path) for name, path in faces.items()]
