"""The docs are true: every setting, state, command and metric is where a reader looks for it."""

import re

import click
import pytest
from flask import Flask

from app.config import Config
from app.models import Role, State
from tests.live import ROOT

OPERATING = (ROOT / "docs" / "operating.md").read_text()
CONCEPTS = (ROOT / "docs" / "concepts.md").read_text()
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(field.upper() for field in Config.model_fields))
def test_every_setting_is_explained(name: str) -> None:
    assert f"`{name}`" in OPERATING


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_its_row(state: State) -> None:
    assert re.search(rf"^\| {state} \|", CONCEPTS, flags=re.MULTILINE)


@pytest.mark.parametrize("role", list(Role))
def test_every_role_has_its_row(role: Role) -> None:
    assert re.search(rf"^\| {role} \|", CONCEPTS, flags=re.MULTILINE)


def _commands(command: click.Command, words: tuple[str, ...]) -> list[str]:
    if not isinstance(command, click.Group):
        return [" ".join(words)]
    return [each for name, sub in command.commands.items() for each in _commands(sub, (*words, name))]


def test_every_command_of_ours_is_listed(app: Flask) -> None:
    ours = [name for name, command in app.cli.commands.items() if _module(command).startswith("app.cli.")]

    listed = [line for name in ours for line in _commands(app.cli.commands[name], (name,))]

    missing = [line for line in listed if f"./run cli {line}" not in OPERATING]
    assert listed
    assert missing == []


def _module(command: click.Command) -> str:
    return (command.callback or _first(command)).__module__


def _first(command: click.Command) -> object:
    assert isinstance(command, click.Group)
    return next(iter(command.commands.values())).callback


def test_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)

    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
