"""What the engine lends, in memory, where the database does not matter."""

from dataclasses import dataclass, field
from typing import Any

from app.sdk.context import Limits


@dataclass
class Remembered:
    kept: dict[str, Any] = field(default_factory=dict)

    def recall(self, name: str) -> Any:
        return self.kept.get(name)

    def keep(self, name: str, value: Any) -> None:
        self.kept[name] = value


@dataclass
class Counted:
    """Counts and never stops; `warning` is what it says from then on."""

    reserved: list[tuple[Limits, Limits]] = field(default_factory=list)
    tokens: int = 0
    micros: int = 0
    warning: str | None = None

    def reserve(self, connection: Limits, rule: Limits) -> str | None:
        self.reserved.append((connection, rule))
        return self.warning

    def record(self, *, tokens: int, micros: int) -> None:
        self.tokens += tokens
        self.micros += micros
