"""A backup under load, restored elsewhere by the commands that people type: equal, held, and nothing done twice."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa
from dotenv import dotenv_values

from app import clock
from tests.live import Server, command, free_port, fresh_database, running, wait_until
from tests.processes.ledger import Ledger
from tests.processes.test_trust import call_step, make_rule, once, slot_step

# Far enough for a backup on a busy machine.
SLOT_IN_S = 45


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger(slow_s=0.5)
    yield made
    made.close()


@pytest.fixture
def slots() -> Iterator[Ledger]:
    made = Ledger()
    yield made
    made.close()


@contextmanager
def elsewhere(old: Server, home: Path) -> Iterator[Server]:
    """Another machine: a home that is not there yet, and no keys. Not started."""
    with fresh_database() as url:
        port = free_port()
        env = old.env | {"BITQUEUE_HOME": str(home), "PORT": str(port), "DATABASE_URL": url, "PUBLIC_URL": ""}
        yield Server(home, port, env | {"SECRET_KEY": "", "CREDENTIAL_KEYS": ""})


class Load:
    """Calls of a hook, until stopped; `sent` are the orders that were acknowledged."""

    def __init__(self, url: str) -> None:
        self.sent: list[int] = []
        self._url = url
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(lane,)) for lane in range(3)]
        for thread in self._threads:
            thread.start()

    def _send(self, lane: int) -> None:
        with httpx2.Client(timeout=30) as caller:
            for number in range(lane, 10**6, 3):
                if self._stopped.wait(0.05):
                    return
                if call(caller, self._url, number).status_code == 202:
                    self.sent.append(number)

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def call(caller: httpx2.Client, url: str, number: int) -> httpx2.Response:
    return caller.post(url, json={"order": number}, headers={"Idempotency-Key": f"order-{number}"})


def orders(server: Server, *, states: str) -> set[int]:
    """What the runs in these states are for; an event's key ends with the number of its order."""
    statement = f"SELECT e.key FROM runs r JOIN events e ON e.id = r.event_id WHERE r.state IN ({states})"
    database = server.database()
    with database.connect() as connection:
        keys = [str(key) for key in connection.scalars(sa.text(statement)) if "order-" in key]
    database.dispose()
    return {int(key.rpartition("order-")[2]) for key in keys}


def sent(ledger: Ledger) -> Counter[int]:
    return Counter(body["order"] for _, body in list(ledger.entries))


@pytest.mark.slow
def test_a_backup_under_load_is_restored_equal_held_and_repeats_nothing(
    ledger: Ledger, slots: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "one.backup"
    with running() as old, elsewhere(old, tmp_path / "home") as new:
        path = backed_up(old, ledger, slots, file)
        restored(new, file)
        settled, open_ = orders(new, states="'succeeded'"), orders(new, states="'running'")
        assert settled
        assert open_
        before = sent(ledger)

        new.start()
        try:
            # --- held: taken and kept, nothing sent, and what had begun to send asks
            with httpx2.Client(timeout=30) as caller:
                assert call(caller, new.url + path, 10**6).status_code == 202
            wait_until(
                lambda: not orders(new, states="'running'"), seconds=60, what="the old server's leases end"
            )
            uncertain = orders(new, states="'uncertain'")
            assert sent(ledger) == before
            assert uncertain & open_

            # --- let go
            new.cli("release-hold")
            wait_until(
                lambda: not orders(new, states="'queued', 'running', 'waiting'"),
                seconds=90, what="everything is settled",
            )  # fmt: skip
            wait_until(lambda: slots.entries, seconds=SLOT_IN_S + 30, what="the next slot fires")
            time.sleep(2)
        finally:
            new.stop()
        after = sent(ledger)
        assert after[10**6] == 1
        assert {order: after[order] for order in settled} == {order: before[order] for order in settled}
        assert max(before[order] for order in settled) == 1
        assert {order: after[order] for order in uncertain} == {order: before[order] for order in uncertain}
        assert len(slots.entries) == 1


def backed_up(old: Server, ledger: Ledger, slots: Ledger, file: Path) -> str:
    """Under load; then the machine dies. The path of the hook."""
    key = old.owner_key()
    step = call_step(ledger.url, repeat_safe=False)
    rule = make_rule(old, key, {"type": "webhook.received", "params": {}}, step)
    slot = (clock.now() + timedelta(seconds=SLOT_IN_S)).replace(microsecond=0, tzinfo=None)
    make_rule(old, key, once(slot.isoformat(), "UTC"), slot_step(slots.url))
    load = Load(rule["hook_url"])
    try:
        wait_until(lambda: len(ledger.entries) > 50, seconds=60, what="the load flows")
        already = len(load.sent)
        made = command("backup", old.env, str(file))
        assert made.returncode == 0, made.stderr
        assert len(load.sent) > already
    finally:
        load.stop()
    old.process.kill()
    old.process.wait()
    assert slots.entries == []
    return str(httpx2.URL(rule["hook_url"]).path)


def restored(new: Server, file: Path) -> None:
    done = command("restore", new.env, str(file), "--verify")
    assert done.returncode == 0, done.stderr
    assert "outgoing work is held" in done.stdout
    assert "not compared" not in done.stdout
    if new.env["DATABASE_URL"]:
        # Beside PostgreSQL a person sets them, as the command says.
        kept = dotenv_values(new.home / "keys.env")
        new.env |= {name: value for name, value in kept.items() if value}
    again = command("restore", new.env, str(file))
    assert again.returncode == 1
    assert "empty" in again.stderr


@pytest.mark.slow
def test_looking_at_a_backup_changes_nothing_and_needs_its_passphrase(tmp_path: Path) -> None:
    file = tmp_path / "one.backup"
    with fresh_database() as url:
        env = plain_env(tmp_path / "home", url)
        early = command("backup", env, str(file))
        assert command("prepare", env).returncode == 0
        assert command("backup", env, str(file)).returncode == 0
        lying = sorted(path.name for path in tmp_path.rglob("*"))

        looked = command("restore", env, str(file), "--check")
        wrong = command("restore", env | {"BITQUEUE_BACKUP_PASSPHRASE": "wrong"}, str(file), "--check")
        silent = command("restore", env | {"BITQUEUE_BACKUP_PASSPHRASE": ""}, str(file))
        again = command("backup", env, str(file))

    assert early.returncode == 1
    assert "there is no" in early.stderr or "nothing to back up" in early.stderr
    assert (looked.returncode, looked.stderr) == (0, "")
    assert "nothing was changed" in looked.stdout
    assert "does not open the keys" in wrong.stderr
    assert "there is no terminal to ask" in silent.stderr
    assert "exists already" in again.stderr
    assert [wrong.returncode, silent.returncode, again.returncode] == [1, 1, 1]
    assert sorted(path.name for path in tmp_path.rglob("*")) == lying


def plain_env(home: Path, database_url: str) -> dict[str, str]:
    keys = {"SECRET_KEY": "s" * 48, "CREDENTIAL_KEYS": "k1:" + "YmVuY2g" * 6 + "Y="}
    return {**os.environ, **keys, "BITQUEUE_HOME": str(home), "DATABASE_URL": database_url, "REDIS_URL": ""}


@pytest.mark.slow
def test_other_keys_than_the_backups_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    file, home = tmp_path / "one.backup", tmp_path / "elsewhere"
    env = plain_env(tmp_path / "home", "")
    assert command("prepare", env).returncode == 0
    assert command("backup", env, str(file)).returncode == 0

    other = env | {"BITQUEUE_HOME": str(home), "CREDENTIAL_KEYS": "k1:" + "b3RoZXI" * 6 + "Y="}
    done = command("restore", other, str(file))

    assert done.returncode == 1
    assert "CREDENTIAL_KEYS is set, without the key k1" in done.stderr
    assert not home.exists()
