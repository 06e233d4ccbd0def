import base64
import re
import stat

import pytest
from pydantic import ValidationError

from app.config import CHECKOUT, Config, ConfigError, with_kept_keys

KEY = base64.urlsafe_b64encode(bytes(32)).decode()
OTHER_KEY = base64.urlsafe_b64encode(bytes([1]) * 32).decode()
SECRETS = {"SECRET_KEY": "x" * 32, "CREDENTIAL_KEYS": f"k1:{KEY}"}


def load(**environ):
    return Config.load({**SECRETS, **environ})


def sentences_of(**environ):
    with pytest.raises(ConfigError) as caught:
        load(**environ)
    return caught.value.sentences


def test_the_defaults_fit_one_machine(tmp_path):
    config = load(BITQUEUE_HOME=str(tmp_path))

    assert config.port == 8000
    assert config.is_sqlite
    assert config.database_url == f"sqlite:///{tmp_path}/bitqueue.db"
    assert config.redis_is_embedded
    assert config.redis_url == f"unix://{tmp_path}/redis.sock"
    assert config.public_url == "http://localhost:8000"


def test_an_empty_variable_counts_as_unset():
    config = load(PORT="", REDIS_URL="")

    assert config.port == 8000
    assert config.redis_is_embedded


def test_a_relative_home_starts_at_the_checkout():
    assert load(BITQUEUE_HOME="elsewhere").bitqueue_home == CHECKOUT / "elsewhere"


def test_the_settings_cannot_be_changed():
    config = load()

    with pytest.raises(ValidationError):
        config.port = 1


def test_the_environment_of_the_process_is_not_read(monkeypatch):
    monkeypatch.setenv("PORT", "9999")

    assert load().port == 8000


def test_every_wrong_setting_is_named_at_once():
    sentences = sentences_of(
        PORT="many", WORKERS="-1", LOG_LEVEL="loud", PUBLIC_URL="ftp://x", PROVIDER_BASE_URLS="{"
    )

    assert [sentence.split()[0] for sentence in sentences] == [
        "PORT",
        "PUBLIC_URL",
        "WORKERS",
        "PROVIDER_BASE_URLS",
        "LOG_LEVEL",
    ]
    assert all("for example" in sentence for sentence in sentences)


def test_a_worker_may_be_given_no_limit_of_memory_but_not_less_than_none():
    assert load().worker_memory_mb == 2048
    assert load(WORKER_MEMORY_MB="0").worker_memory_mb == 0
    (sentence,) = sentences_of(WORKER_MEMORY_MB="-1")
    assert sentence.startswith("WORKER_MEMORY_MB is wrong: ")
    assert sentence.endswith("; for example WORKER_MEMORY_MB=2048")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_becomes_the_one_driver(scheme):
    config = load(DATABASE_URL=f"{scheme}://u:p@db.example/q")

    assert config.database_url == "postgresql+psycopg://u:p@db.example/q"
    assert not config.is_sqlite


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "bitqueue.db"])
def test_a_database_that_would_lose_or_not_work_is_refused(url):
    (sentence,) = sentences_of(DATABASE_URL=url)

    assert sentence.startswith("DATABASE_URL must")


def test_a_relative_sqlite_file_starts_at_the_checkout():
    assert load(DATABASE_URL="sqlite:///var/x.db").database_url == f"sqlite:///{CHECKOUT}/var/x.db"


def test_redis_over_tls_is_accepted():
    config = load(REDIS_URL="rediss://:pw@redis.example:7000/0")

    assert not config.redis_is_embedded
    assert ("redis.example", 7000) in config.own_addresses


def test_own_addresses_name_redis_the_database_and_the_web():
    config = load(PORT="8100", REDIS_URL="redis://r.example", DATABASE_URL="postgres://u:p@db.example/q")

    assert {("localhost", 8100), ("r.example", 6379), ("db.example", 5432)} <= set(config.own_addresses)


def test_a_home_too_deep_for_a_socket_is_refused_with_the_way_out():
    (sentence,) = sentences_of(BITQUEUE_HOME="/x" * 60)

    assert "set REDIS_URL" in sentence


def test_the_first_key_stands_first():
    config = load(CREDENTIAL_KEYS=f"new:{OTHER_KEY}, old:{KEY}")

    assert list(config.sealing_keys) == ["new", "old"]
    assert config.sealing_keys["old"] == bytes(32)


@pytest.mark.parametrize(
    "text", ["", KEY, "k1:short", f"k.1:{KEY}", f"k1:{KEY},k1:{OTHER_KEY}", f"k1:{KEY},", "k1:!"]
)
def test_keys_that_cannot_seal_are_refused(text):
    (sentence,) = sentences_of(CREDENTIAL_KEYS=text)

    assert sentence.startswith("CREDENTIAL_KEYS")


def test_no_secret_is_in_an_error_or_a_repr():
    config = load(DATABASE_URL="postgres://u:hunter2@db/q", REDIS_URL="redis://:hunter2@r/0")
    sentences = sentences_of(SECRET_KEY="hunter2", CREDENTIAL_KEYS="k1:hunter2", PORT="x")

    assert "hunter2" not in repr(config)
    assert KEY not in repr(config)
    assert "hunter2" not in " ".join(sentences)


def test_provider_addresses_are_a_json_object():
    config = load(PROVIDER_BASE_URLS='{"slack": "http://localhost:9000/api/"}')

    assert config.provider_base_urls == {"slack": "http://localhost:9000/api/"}
    assert sentences_of(PROVIDER_BASE_URLS='{"slack": "localhost"}')


def test_keys_are_made_once_and_kept_for_the_owner_only(tmp_path):
    home = tmp_path / "home"
    first = with_kept_keys({"BITQUEUE_HOME": str(home)})

    second = with_kept_keys({"BITQUEUE_HOME": str(home)})

    assert first == second
    assert Config.load(first).sealing_keys.keys() == {"k1"}
    assert stat.S_IMODE((home / "keys.env").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [path.name for path in home.iterdir()] == ["keys.env"]


def test_kept_keys_are_never_overwritten_and_a_set_one_wins(tmp_path):
    (tmp_path / "keys.env").write_text(f"SECRET_KEY=kept-by-hand-0123\nCREDENTIAL_KEYS=hand:{KEY}\n")

    environ = with_kept_keys({"BITQUEUE_HOME": str(tmp_path), "SECRET_KEY": "from the environment"})

    assert environ["SECRET_KEY"] == "from the environment"
    assert environ["CREDENTIAL_KEYS"] == f"hand:{KEY}"
    assert "kept-by-hand" in (tmp_path / "keys.env").read_text()


def test_beside_postgresql_no_keys_are_made_and_missing_ones_say_how(tmp_path):
    environ = with_kept_keys({"BITQUEUE_HOME": str(tmp_path), "DATABASE_URL": "postgres://u@db/q"})

    with pytest.raises(ConfigError) as caught:
        Config.load(environ)

    assert [sentence.split()[0] for sentence in caught.value.sentences] == ["SECRET_KEY", "CREDENTIAL_KEYS"]
    assert all("python3 -c" in sentence for sentence in caught.value.sentences)
    assert not list(tmp_path.iterdir())


def test_the_example_file_names_every_setting_and_no_other():
    text = (CHECKOUT / ".env.example").read_text()

    named = re.findall(r"^(?:# )?([A-Z_]+)=", text, flags=re.MULTILINE)

    assert sorted(named) == sorted(name.upper() for name in Config.model_fields)
