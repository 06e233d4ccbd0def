import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.crypto import KeyRing
from app.errors import SealError

OLD, NEW = {"k1": b"1" * 32}, {"k2": b"2" * 32}
RING = KeyRing(NEW | OLD)


@given(plain=st.binary(max_size=200), row=st.text(max_size=40))
def test_what_is_sealed_opens_for_the_same_row(plain, row):
    assert RING.open(RING.seal(plain, bound_to=row), bound_to=row) == plain


def test_the_first_key_seals_and_all_open():
    sealed = KeyRing(OLD).seal(b"plain", bound_to="con_1")

    assert RING.open(sealed, bound_to="con_1") == b"plain"
    assert RING.seal(b"plain", bound_to="con_1").startswith("k2.")
    assert (RING.is_current(sealed), KeyRing(OLD).is_current(sealed)) == (False, True)


def test_the_same_text_is_never_sealed_alike():
    assert RING.seal(b"plain", bound_to="con_1") != RING.seal(b"plain", bound_to="con_1")


def test_another_row_does_not_open_it():
    with pytest.raises(SealError, match="con_2"):
        RING.open(RING.seal(b"plain", bound_to="con_1"), bound_to="con_2")


def test_a_wrong_key_does_not_open_it():
    with pytest.raises(SealError):
        KeyRing({"k2": b"x" * 32}).open(RING.seal(b"plain", bound_to="con_1"), bound_to="con_1")


def test_a_key_that_is_missing_is_named():
    with pytest.raises(SealError, match="k2"):
        KeyRing(OLD).open(RING.seal(b"plain", bound_to="con_1"), bound_to="con_1")


@given(garbage=st.text(max_size=60))
def test_garbage_is_refused_in_words(garbage):
    with pytest.raises(SealError):
        RING.open(f"k2.{garbage}", bound_to="con_1")


def test_a_ring_shows_no_key():
    assert "1" * 8 not in repr(RING)
    assert "2" * 8 not in repr(RING)
