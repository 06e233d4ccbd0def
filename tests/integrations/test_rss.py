import pytest

from app.integrations.rss import Address, Following, new_entry, read
from app.sdk.errors import RejectedError, TemporaryError
from tests.providers.feeds import Publisher, feed_server
from tests.providers.http import Received, Says, says_json

FORMS = ["/rss", "/atom", "/rdf", "/json"]
each_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def service():
    with feed_server() as (stand_in, publisher):
        yield stand_in, publisher


@pytest.fixture
def server(service):
    return service[0]


@pytest.fixture
def publisher(service):
    return service[1]


class Follower:
    """Looks as the engine does, with what the last look gave."""

    def __init__(self, ctx, server, form="/rss", **params):
        self.ctx, self.params = ctx, Following(url=server.url + form, **params)
        self.cursor, self.keys = None, []

    def look(self):
        batch = new_entry(self.ctx, None, self.params, self.cursor, self.keys)
        self.cursor, self.keys = batch.cursor, batch.recent_keys
        return [one.data["title"] for one in batch.occurrences]


@each_form
def test_a_feed_is_read_in_every_form(ctx, server, publisher, form):
    publisher.publish(1)
    publisher.publish(2)

    output = read(ctx, None, Address(url=server.url + form, limit=1))

    assert (output["title"], output["count"]) == ("Blog", 1)
    [entry] = output["entries"]
    assert entry["id"] == "e2"
    assert entry["title"] == "Entry 2"
    assert entry["link"] == f"{server.url}/2"
    assert entry["text"] == "<p>2 & so</p>"
    assert entry["published_at"] is None


@each_form
def test_each_new_entry_happens_once_and_the_oldest_first(ctx, server, publisher, form):
    publisher.publish(1)
    follower = Follower(ctx, server, form)

    assert follower.look() == []
    publisher.publish(2)
    publisher.publish(3)
    assert follower.look() == ["Entry 2", "Entry 3"]
    assert follower.look() == []


def test_the_first_look_takes_the_last_ones_if_asked(ctx, server, publisher):
    for number in range(5):
        publisher.publish(number)
    follower = Follower(ctx, server, first=2)

    assert follower.look() == ["Entry 3", "Entry 4"]
    publisher.publish(5)
    assert follower.look() == ["Entry 5"]


def test_a_feed_that_was_empty_at_first_begins_with_its_first_entry(ctx, server, publisher):
    follower = Follower(ctx, server)
    follower.look()

    publisher.publish(1)

    assert follower.look() == ["Entry 1"]


def test_what_has_not_changed_is_not_sent_again(ctx, server, publisher):
    publisher.publish(1)
    follower = Follower(ctx, server)
    follower.look()
    follower.look()

    assert server.received[1].headers["if-none-match"].startswith('"')
    assert server.received[1].headers["if-modified-since"] == "Sat, 21 Nov 2026 09:00:00 GMT"
    publisher.publish(2)
    assert follower.look() == ["Entry 2"]


def test_entries_of_the_same_second_and_edited_ones_are_told_by_their_ids(ctx, server, publisher):
    date = "Sat, 21 Nov 2026 09:00:00 GMT"
    publisher.publish(1, date=date)
    follower = Follower(ctx, server)
    follower.look()

    publisher.publish(2, date=date)
    publisher.entries[-1]["title"] = "Entry 1, edited"

    assert follower.look() == ["Entry 2"]


def test_an_entry_that_was_gone_for_a_while_is_not_new(ctx, server, publisher):
    publisher.publish(1)
    follower = Follower(ctx, server)
    follower.look()
    gone = publisher.entries.pop()
    publisher.publish(2)
    follower.look()

    publisher.entries.append(gone)

    assert follower.look() == []


def test_entries_without_ids_are_told_by_their_links_or_words(ctx, server, publisher):
    publisher.publish(1, id="")
    publisher.publish(2, id="", link="")
    follower = Follower(ctx, server)
    follower.look()

    publisher.publish(3, id="", link="")

    assert follower.look() == ["Entry 3"]


def test_dates_decide_the_order_where_there_are_any(ctx, server, publisher):
    publisher.publish(1, date="Sat, 21 Nov 2026 11:00:00 +0100")
    publisher.publish(2, date="Fri, 20 Nov 2026 09:00:00 GMT")
    publisher.publish(3, date="the day before yesterday")

    entries = read(ctx, None, Address(url=server.url + "/rss"))["entries"]

    assert [entry["title"] for entry in entries] == ["Entry 1", "Entry 2", "Entry 3"]
    assert entries[0]["published_at"] == "2026-11-21T10:00:00.000Z"
    assert entries[2]["published_at"] is None


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (Says(404), "has no feed there .404."),
        (Says(410), "has no feed there .410."),
        (Says(401), "keeps this feed to itself .401."),
        (Says(403), "keeps this feed to itself .403."),
        (
            Says(200, b"<html><body>hello</body></html>", {"Content-Type": "text/html"}),
            "is no feed but <html>",
        ),
        (Says(200, b"<rss><channel>"), "not well-formed XML at line 1"),
        (Says(200, b""), "not well-formed"),
        (says_json({"orders": []}), "no JSON Feed"),
        (says_json([1]), "no JSON Feed"),
    ],
)
def test_what_is_no_feed_is_told(ctx, server, publisher, says, words):
    publisher.faults = [says]

    with pytest.raises(RejectedError, match=words):
        read(ctx, None, Address(url=server.url + "/rss"))


@pytest.mark.parametrize(
    "says", [Says(500), Says(503, headers={"Retry-After": "60"}), Says(429), Says(hang_up=True)]
)
def test_a_publisher_that_cannot_now_is_asked_later(ctx, server, publisher, says):
    publisher.faults = [says, says]

    with pytest.raises(TemporaryError):
        Follower(ctx, server).look()


def test_a_feed_on_a_private_network_is_not_read(strict_ctx, server):
    with pytest.raises(RejectedError):
        read(strict_ctx, None, Address(url=server.url + "/rss"))


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [("POST", "/rss", {}, 405), ("GET", "/page", {}, 404), ("GET", "/rss", {"accept": "text/html"}, 406)],
)
def test_the_stand_in_refuses_what_is_no_request_for_a_feed(method, path, headers, status):
    assert Publisher().answer(Received(method, path, {}, headers, b"")).status == status
