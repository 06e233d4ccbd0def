"""Passwords: argon2id, and the same work for nobody as for somebody."""

import pytest

from app.errors import InvalidError
from app.services.passwords import Passwords
from tests.factories import CHEAP_PASSWORDS, PASSWORD


def test_the_real_costs_are_argon2id_with_19_mib():
    made = Passwords().hash(PASSWORD)

    assert made.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_password_fits_only_itself():
    made = CHEAP_PASSWORDS.hash(PASSWORD)

    assert CHEAP_PASSWORDS.fits(made, PASSWORD)
    assert not CHEAP_PASSWORDS.fits(made, PASSWORD + " ")


def test_nobody_has_a_password_that_fits():
    assert not CHEAP_PASSWORDS.fits(None, "a person who does not exist")


def test_a_damaged_hash_fits_nothing():
    assert not CHEAP_PASSWORDS.fits("$argon2id$nonsense", PASSWORD)


def test_any_character_may_stand_in_a_password():
    odd = "pä\0ss\ud800 \U0001f511 wörd"

    assert CHEAP_PASSWORDS.fits(CHEAP_PASSWORDS.hash(odd), odd)


@pytest.mark.parametrize("password", ["", "short", "x" * 257])
def test_too_short_and_too_long_are_refused(password: str):
    with pytest.raises(InvalidError):
        CHEAP_PASSWORDS.hash(password)


def test_other_costs_are_noticed():
    assert CHEAP_PASSWORDS.is_stale(Passwords(time=2, memory_kib=16, lanes=1).hash(PASSWORD))
