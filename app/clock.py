"""The only source of time: aware UTC instants."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)


def rfc3339(instant: datetime) -> str:
    """`2026-11-21T09:00:00.123Z`, the only form of an instant in JSON."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
