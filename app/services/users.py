"""People: their accounts, passwords and preferences."""

import re
from functools import cache
from typing import Literal
from zoneinfo import available_timezones

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock, ids
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import User
from app.services.passwords import Passwords

Theme = Literal["auto", "light", "dark"]
THEMES: tuple[Theme, ...] = ("auto", "light", "dark")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,255}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NAME_LENGTH = 100


@cache
def zones() -> tuple[str, ...]:
    """The names of all time zones. Kept, because the standard library walks its files each time."""
    return tuple(sorted(available_timezones()))


def anyone(session: Session) -> bool:
    """Whether the first person is there already."""
    return session.scalar(sa.select(User.id).limit(1)) is not None


def find(session: Session, email: str) -> User | None:
    if _UNPRINTABLE.search(email):
        return None
    return session.scalar(sa.select(User).where(User.email == email.strip().lower()))


def get(session: Session, user_id: str) -> User:
    user = session.get(User, user_id)
    if user is None:
        raise NotFoundError(f"no person {user_id[:40]} here")
    return user


def clean_email(text: str) -> str:
    """As it is stored and compared. Raises InvalidError."""
    email = text.strip().lower()
    if not _EMAIL.fullmatch(email) or _UNPRINTABLE.search(email):
        raise InvalidError(
            "that is no e-mail address", {"email": "must be an e-mail address, as you@example.com"}
        )
    return email


def clean_name(text: str, field: str = "name", *, needed: bool = False) -> str:
    """What people and workspaces are called: one line. Raises InvalidError."""
    name = _UNPRINTABLE.sub(" ", text).strip()
    if needed and not name:
        raise InvalidError(f"the {field} is needed", {field: "is needed"})
    if len(name) > _NAME_LENGTH:
        raise InvalidError(f"the {field} is too long", {field: f"may have at most {_NAME_LENGTH} characters"})
    return name


def add(session: Session, email: str, password_hash: str, *, name: str = "", zone: str = "UTC") -> User:
    """Raises ConflictError when the address is taken. The first person runs the server."""
    email = clean_email(email)
    if find(session, email):
        raise ConflictError(f"{email} has an account already")
    user = User(
        id=ids.new("usr"),
        email=email,
        name=clean_name(name),
        password_hash=password_hash,
        zone=zone if zone in zones() else "UTC",
        operator=not anyone(session),
        created_at=clock.now(),
    )
    session.add(user)
    session.flush()
    return user


def reserve_first(session: Session) -> None:
    """Raises ConflictError once somebody is there; until the commit nobody else passes."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"))
    if anyone(session):
        raise ConflictError("this server has its first owner already; log in, or ask for an invitation")


def identify(session: Session, passwords: Passwords, email: str, password: str) -> User | None:
    """The person of that address and password; takes as long when there is none."""
    user = find(session, email)
    fits = passwords.fits(user.password_hash if user else None, password)
    return user if fits else None


def note_log_in(session: Session, user_id: str, *, new_hash: str | None = None) -> User:
    """`new_hash` replaces one that was made with older costs."""
    user = get(session, user_id)
    user.seen_at = clock.now()
    if new_hash:
        user.password_hash = new_hash
    return user


def set_password(session: Session, user_id: str, password_hash: str) -> User:
    """Ends every session made before."""
    user = get(session, user_id)
    user.password_hash = password_hash
    user.session_epoch += 1
    session.flush()
    return user


def set_theme(session: Session, user_id: str, theme: str) -> None:
    """Anything but a known theme is "auto": as the system."""
    get(session, user_id).theme = theme if theme in THEMES else "auto"


def set_profile(session: Session, user_id: str, *, name: str, zone: str) -> None:
    """Raises InvalidError for a zone that does not exist."""
    if zone not in zones():
        raise InvalidError("that is no time zone", {"zone": "must be a zone's name, as Europe/Berlin"})
    user = get(session, user_id)
    user.name = clean_name(name)
    user.zone = zone


def listing(session: Session) -> list[User]:
    """Everybody on this server, for its operators."""
    return list(session.scalars(sa.select(User).order_by(User.email)))
