"""The settings: read once from the environment, checked as a whole, frozen."""

import base64
import contextlib
import json
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parents[1]

_KEY_BYTES = 32
_KEPT_HEAD = "# Made once by BitQueue. Without this file no saved connection can be opened: back it up."
_SOCKET_PATH_BYTES = 100  # the kernel's limit is 108 on Linux, 104 on macOS
_HOME = "var"
_DEFAULT_PORTS = {"redis": 6379, "rediss": 6379, "postgresql+psycopg": 5432}
_MAKING = {
    "SECRET_KEY": "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'",
    "CREDENTIAL_KEYS": "python3 -c 'import base64, os; "
    """print("k1:" + base64.urlsafe_b64encode(os.urandom(32)).decode())'""",
}


class ConfigError(Exception):
    """Every setting that is wrong, one sentence each."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("; ".join(sentences))
        self.sentences = sentences


def _wrong(sentence: str) -> PydanticCustomError:
    # Braces would be read as placeholders by pydantic's own formatting.
    return PydanticCustomError("setting", "{sentence}", {"sentence": sentence})


def _home_path(value: Path) -> Path:
    return (CHECKOUT / value.expanduser()).resolve()


def _database(value: str) -> str:
    scheme, mark, rest = value.partition("://")
    if mark and scheme in {"postgres", "postgresql", "postgresql+psycopg"}:
        return f"postgresql+psycopg://{rest}"
    if scheme != "sqlite" or not rest.startswith("/"):
        raise _wrong("must begin with sqlite:/// or postgresql://")
    if rest in {"/", "/:memory:"}:
        raise _wrong("must name a file: a database in memory would be lost")
    return f"sqlite:///{CHECKOUT / rest[1:]}"


def _redis(value: str) -> str:
    if urlsplit(value).scheme not in {"redis", "rediss", "unix"}:
        raise _wrong("must begin with redis://, rediss:// or unix://")
    return value


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise _wrong("must be an http or https address")
    return value


def _site(value: str) -> str:
    parts = urlsplit(_web_address(value))
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise _wrong("must end after the host and port")
    return value.rstrip("/")


def _base_urls(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise _wrong("must be a JSON object of integration key and base url") from None


def _secret(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < 16:
        raise _wrong(f"is too short: at least 16 characters; make one with {_MAKING['SECRET_KEY']}")
    return value


def _parse_key(entry: str) -> tuple[str, bytes]:
    key_id, colon, text = entry.strip().partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", key_id):
        raise _wrong("must be a list of id:key; the id has letters, digits, - and _")
    try:
        key = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        making = _MAKING["CREDENTIAL_KEYS"]
        raise _wrong(f"has a key {key_id} that is not 32 bytes in url-safe base64; make one with {making}")
    return key_id, key


def _parse_keys(value: SecretStr) -> dict[str, bytes]:
    entries = [_parse_key(entry) for entry in value.get_secret_value().split(",")]
    keys = dict(entries)
    if len(keys) < len(entries):
        raise _wrong("names the same key id twice")
    return keys


def _keys(value: SecretStr) -> SecretStr:
    _parse_keys(value)
    return value


_LOWER = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


class Config(BaseSettings):
    """All settings of one process. A setting's variable is its field's name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    port: int = Field(8000, ge=1, le=65535)
    bitqueue_home: Annotated[Path, AfterValidator(_home_path)] = Field(Path(_HOME), validate_default=True)
    database_url: Annotated[str, AfterValidator(_database)] = Field(
        "", repr=False, examples=["postgresql://user:password@host/name"]
    )
    redis_url: Annotated[str, AfterValidator(_redis)] = Field(
        "", repr=False, examples=["redis://host:6379/0"]
    )
    secret_key: Annotated[SecretStr, AfterValidator(_secret)]
    credential_keys: Annotated[SecretStr, AfterValidator(_keys)]
    public_url: Annotated[str, AfterValidator(_site)] = Field("", examples=["https://bitqueue.example.com"])
    web_concurrency: int = Field(1, ge=1, le=64)
    workers: int = Field(1, ge=0, le=64)
    worker_concurrency: int = Field(200, ge=1, le=1000)
    worker_memory_mb: int = Field(2048, ge=0)
    storage_limit_mb: int = Field(0, ge=0, examples=["20000"])
    allow_private_networks: bool = Field(default=False, examples=["true"])
    provider_base_urls: Annotated[
        dict[str, Annotated[str, AfterValidator(_web_address)]], BeforeValidator(_base_urls)
    ] = Field({}, examples=['{"slack": "http://localhost:9000"}'])
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _LOWER] = "info"
    log_format: Annotated[Literal["text", "json"], _LOWER] = "text"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The process's own environment is never read behind the caller's back.
        return (init_settings,)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from `environ`; an empty variable counts as unset. Raises `ConfigError`."""
        given = {name: environ[name.upper()] for name in cls.model_fields if environ.get(name.upper())}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigError([_sentence(detail, environ) for detail in error.errors()]) from None

    @classmethod
    def from_environment(cls) -> Self:
        """The settings of this process: its environment, then the checkout's `.env`, then the kept keys."""
        return cls.load(with_kept_keys(environment()))

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: dict[str, Any]) -> dict[str, Any]:
        home = _home_path(Path(values.get("bitqueue_home", _HOME)))
        port = values.get("port", cls.model_fields["port"].default)
        derived = {
            "database_url": f"sqlite:///{home}/bitqueue.db",
            "redis_url": f"unix://{quote(str(redis_socket(home)))}",
            "public_url": f"http://localhost:{port}",
        }
        return {**derived, **values}

    @model_validator(mode="after")
    def _fits_the_socket(self) -> Self:
        socket = redis_socket(self.bitqueue_home)
        if self.redis_is_embedded and len(os.fsencode(socket)) > _SOCKET_PATH_BYTES:
            raise _wrong(
                "BITQUEUE_HOME is too long for redis's socket; choose a shorter path or set REDIS_URL"
            )
        return self

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite:")

    @property
    def redis_is_embedded(self) -> bool:
        """Whether Redis is the one that the supervisor starts: `REDIS_URL` was not set."""
        return self.redis_url == f"unix://{quote(str(redis_socket(self.bitqueue_home)))}"

    @property
    def sealing_keys(self) -> dict[str, bytes]:
        """Key id to 32 bytes; the first one seals, all open."""
        return _parse_keys(self.credential_keys)

    @property
    def own_addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of our own Redis, database and web, which no rule may call."""
        loopback = (("localhost", self.port), ("127.0.0.1", self.port), ("::1", self.port))
        return (*loopback, *_address(self.redis_url), *_address(self.database_url))


def of_this_process() -> Config:
    """The settings; where they do not hold, the process ends, having said why in plain sentences."""
    try:
        return Config.from_environment()
    except ConfigError as error:
        sys.exit("\n".join(f"bitqueue cannot start: {sentence}" for sentence in error.sentences))


def _sentence(detail: ErrorDetails, environ: Mapping[str, str]) -> str:
    if not detail["loc"]:
        return detail["msg"]
    name = str(detail["loc"][0])
    if detail["type"] == "missing":
        return _missing_sentence(name.upper(), environ)
    field = Config.model_fields[name]
    example = str((field.examples or [field.default])[0])
    secret = field.annotation is SecretStr
    problem = detail["msg"] if detail["type"] == "setting" else f"is wrong: {detail['msg'].lower()}"
    return f"{name.upper()} {problem}" + ("" if secret else f"; for example {name.upper()}={example}")


def _missing_sentence(name: str, environ: Mapping[str, str]) -> str:
    kept = _kept_path(environ)
    copied = f", or copy it from {kept}" if kept.is_file() else ""
    return f"{name} is not set; make it once, keep it safe and give every process the same: {_MAKING[name]}{copied}"


def _address(url: str) -> Iterator[tuple[str, int]]:
    parts = urlsplit(url)
    if parts.scheme in _DEFAULT_PORTS:
        yield parts.hostname or "localhost", parts.port or _DEFAULT_PORTS[parts.scheme]


def redis_socket(home: Path) -> Path:
    return home / "redis.sock"


def environment() -> dict[str, str]:
    """The process's environment over the checkout's `.env` file, if there is one."""
    written = {name: value for name, value in dotenv_values(CHECKOUT / ".env").items() if value is not None}
    return {**written, **os.environ}


def with_kept_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """Add the secrets kept in `<home>/keys.env` where they are unset, making them once.

    Only beside SQLite: a PostgreSQL database is shared by machines, and each would make its own.
    """
    given = {name: value for name, value in environ.items() if value}
    shared = not given.get("DATABASE_URL", "sqlite:").startswith("sqlite:")
    if shared or all(name in given for name in _MAKING):
        return given
    path = _kept_path(given)
    if not path.exists():
        _keep_new_keys(path)
    return {**{name: value for name, value in dotenv_values(path).items() if value}, **given}


def _kept_path(environ: Mapping[str, str]) -> Path:
    return _home_path(Path(environ.get("BITQUEUE_HOME") or _HOME)) / "keys.env"


def make_home(home: Path) -> None:
    """Create the home, readable by its owner only; one that is there stays as it is."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)


def _keep_new_keys(path: Path) -> None:
    make_home(path.parent)
    key = base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()
    text = f"{_KEPT_HEAD}\nSECRET_KEY={secrets.token_urlsafe(48)}\nCREDENTIAL_KEYS=k1:{key}\n"
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix="keys.env.") as draft:
        draft.write(text)
        draft.flush()
        os.fsync(draft.fileno())
        # A link appears whole or not at all and never replaces a file: whoever comes second reads the first's keys.
        with contextlib.suppress(FileExistsError):
            os.link(draft.name, path)
