import pytest

from app.engine import secrets
from app.errors import SealError
from app.models import Connection
from app.sdk.errors import AuthError, RejectedError
from tests.engine.conftest import Account
from tests.engine.test_execute import account


def opened(bench, **values):
    connection_id = account(bench, **values)
    row = bench.row(Connection, id=connection_id)
    return secrets.open_connection(bench.engine.keyring, bench.engine.catalogue, row)


def test_an_account_is_split_into_what_may_be_seen_and_what_may_not():
    plain, hidden = secrets.split(Account(user="ada", password="s3cret"))

    assert (plain, hidden) == ({"user": "ada"}, {"password": "s3cret"})


def test_an_account_comes_back_whole(bench):
    found = opened(bench)

    assert (found.user, found.password.get_secret_value()) == ("ada", "s3cret!!")
    assert "s3cret!!" not in repr(found)


def test_a_secret_moved_to_another_row_does_not_open(bench):
    first, second = account(bench), account(bench)
    bench.set(bench.row(Connection, id=second), sealed=bench.row(Connection, id=first).sealed)

    row = bench.row(Connection, id=second)
    with pytest.raises(SealError):
        secrets.open_connection(bench.engine.keyring, bench.engine.catalogue, row)


@pytest.mark.parametrize(
    "sealed", ["", "k1.", "k1.AAAA", "k1.not base64 at all!", "k1.é", "k9.AAAA", "k1." + "A" * 13]
)
def test_a_damaged_secret_does_not_open_and_says_which(bench, sealed):
    with pytest.raises(SealError):
        opened(bench, sealed=sealed)


def test_an_integration_that_is_gone_is_named(bench):
    with pytest.raises(RejectedError, match="gone"):
        opened(bench, integration="gone")


def test_an_account_that_no_longer_fits_asks_to_be_saved_again(bench):
    with pytest.raises(AuthError, match="save it again") as caught:
        opened(bench, settings={"user": "ada", "old": "field"})

    assert "s3cret" not in str(caught.value)
