import time

import pytest

from app.sdk import feeds
from app.sdk.errors import RejectedError

URL = "https://blog.example/feed"


def read(body, content_type="application/xml"):
    return feeds.read(body if isinstance(body, bytes) else body.encode(), content_type=content_type, url=URL)


def item(inner):
    return read(f"<rss version='2.0'><channel><title>B</title><item>{inner}</item></channel></rss>").entries[
        0
    ]


def test_an_item_has_all_that_feeds_say():
    entry = item(
        "<guid isPermaLink='false'>7</guid><link>/a?b=1&amp;c</link><title>A &amp;amp; B</title>"
        "<description>short</description><x:encoded xmlns:x='http://purl.org/rss/1.0/modules/content/'>"
        "<![CDATA[<p>long</p>]]></x:encoded><pubDate>Sat, 21 Nov 2026 09:00:00 EST</pubDate>"
        "<category>news</category><category>lamps</category>"
        "<enclosure url='https://x.example/a.mp3' type='audio/mpeg'/>"
        "<d:creator xmlns:d='http://purl.org/dc/elements/1.1/'>Ada</d:creator>"
    )

    assert entry == {
        "id": "7",
        "link": "https://blog.example/a?b=1&c",
        "title": "A &amp; B",
        "text": "<p>long</p>",
        "author": "Ada",
        "published_at": "2026-11-21T14:00:00.000Z",
        "tags": ["news", "lamps"],
        "enclosures": [{"url": "https://x.example/a.mp3", "type": "audio/mpeg"}],
    }


def test_atom_prefers_the_alternate_link_and_the_content():
    feed = read(
        "<feed xmlns='http://www.w3.org/2005/Atom' xml:base='https://b.example/x/'><title>T</title><entry>"
        "<link rel='self' href='self'/><link href='page'/><link rel='enclosure' href='a.mp3' type='audio/mpeg'/>"
        "<summary>s</summary><content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'>c <b>d</b></div></content>"
        "<author><name>Ada</name></author><published>2026-11-21T09:00:00+01:00</published>"
        "<updated>2027-01-01T00:00:00Z</updated><category term='t'/></entry></feed>"
    )

    [entry] = feed.entries
    assert entry["link"] == "https://b.example/x/page"
    assert entry["text"] == "c d"
    assert entry["published_at"] == "2026-11-21T08:00:00.000Z"
    assert (entry["author"], entry["tags"]) == ("Ada", ["t"])
    assert entry["enclosures"] == [{"url": "https://b.example/x/a.mp3", "type": "audio/mpeg"}]


def test_a_json_feed_of_version_one_and_odd_values_are_read():
    body = (
        '{"items": [{"id": 7, "url": "/a", "author": {"name": "Ada"}, "tags": ["x", 1], "content_text": "hi",'
        ' "attachments": [{"url": "https://x.example/a", "mime_type": "audio/mpeg"}]}, "odd", {"id": null}]}'
    )

    first, second = read(body, "application/json").entries

    assert (first["id"], first["link"], first["author"], first["tags"]) == (
        "7",
        "https://blog.example/a",
        "Ada",
        ["x", "1"],
    )
    assert second["id"] == ""


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "data:text/html,x", "http://[broken", "mailto:a@b.example"]
)
def test_a_link_that_is_no_web_address_is_left_out(link):
    assert item(f"<title>x</title><link>{link}</link>")["link"] == ""


def test_html_names_control_characters_and_space_in_front_do_no_harm():
    title = "<title>a&nbsp;b &eacute; &amp; \x0b&lt;</title>"
    body = f"\n  <?xml version='1.0'?><rss><channel><item>{title}</item></channel></rss>"

    assert read(body).entries[0]["title"] == "a\u00a0b é & <"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_encodings_are_those_that_the_feed_declares(encoding):
    body = f"<?xml version='1.0' encoding='{encoding}'?><rss><channel><item><title>Grüße</title></item></channel></rss>"

    assert read(body.encode(encoding)).entries[0]["title"] == "Grüße"


BOMB = (
    "<!DOCTYPE l [<!ENTITY a 'aaaaaaaaaa'>"
    + "".join(f"<!ENTITY {chr(98 + n)} '{('&' + chr(97 + n) + ';') * 10}'>" for n in range(9))
    + "]><rss><channel><title>&j;</title></channel></rss>"
)


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        BOMB.encode("utf-16"),
        "<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><rss><channel><title>&x;</title></channel></rss>",
        "<!DOCTYPE r [<!ENTITY % x SYSTEM 'http://169.254.169.254/'> %x;]><rss><channel/></rss>",
        "<rss><channel><item>" + "<a " * 400_000,
        "<rss>" + "<x>" * 400_000,
        "<rss><channel>" + "<x/>" * 400_000 + "</channel></rss>",
        "<rss><channel><item><title>" + "&" * 1_000_000,
        "<!--" * 500_000,
        "{" * 500_000,
        b"\xff\xfe<",
    ],
    ids=[
        "laughs",
        "laughs-16",
        "file",
        "parameter",
        "open",
        "deep",
        "many",
        "amps",
        "comments",
        "braces",
        "half",
    ],
)
def test_a_hostile_feed_is_refused_soon(body):
    began = time.monotonic()

    with pytest.raises(RejectedError):
        read(body)

    assert time.monotonic() - began < 2


def test_a_deep_feed_is_read_without_harm():
    inner = "<x>" * 90_000 + "deep" + "</x>" * 90_000

    assert item(f"<title>{inner}</title>")["title"] == "deep"


def test_a_doctype_without_entities_is_harmless():
    body = "<!DOCTYPE rss PUBLIC '-//Netscape//DTD RSS 0.91//EN' 'http://my.netscape.example/rss.dtd'><rss><channel><title>T</title></channel></rss>"

    assert read(body).title == "T"


def test_at_most_a_thousand_entries_are_taken_and_texts_are_cut():
    body = (
        f"<rss><channel><item><title>{'x' * 21_000}</title></item>" + "<item/>" * 2_000 + "</channel></rss>"
    )

    feed = read(body)

    assert len(feed.entries) == 1_000
    assert len(feed.entries[0]["title"]) == 20_000


@pytest.mark.parametrize(
    "said", ["", "tomorrow", "99999-01-01", "Mon, 99 Foo 2026", "0001-01-01T00:00:00+14:00", "x" * 500]
)
def test_a_date_that_is_none_is_none(said):
    assert item(f"<title>x</title><pubDate>{said}</pubDate>")["published_at"] is None


def test_keys_tell_entries_apart_by_id_then_link_then_words():
    entry = {"id": "", "link": "", "title": "a", "text": "b"}

    assert feeds.key_of(entry | {"id": "1"}) == feeds.key_of(
        entry | {"id": "1", "link": "x", "title": "edited"}
    )
    assert feeds.key_of(entry | {"link": "x"}) == feeds.key_of(entry | {"link": "x", "title": "edited"})
    assert feeds.key_of(entry) != feeds.key_of(entry | {"title": "c"})
    assert feeds.key_of(entry | {"title": "\ud800"})
