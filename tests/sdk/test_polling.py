from hypothesis import given
from hypothesis import strategies as st

from app.sdk import polling
from app.sdk.answers import Answer
from app.sdk.polling import fresh

NUMBERS = st.lists(st.integers(0, 30), max_size=12)


def look(items, cursor, keys, first=0):
    return fresh(
        items, key=str, data=lambda item: item, cursor=cursor, next_cursor={}, recent_keys=keys, first=first
    )


@given(st.lists(NUMBERS, max_size=8))
def test_whatever_comes_and_goes_each_item_happens_once(looks):
    batch = look([], None, [])
    happened = []
    for items in looks:
        batch = look(items, batch.cursor, batch.recent_keys)
        happened += [one.data for one in batch.occurrences]

    assert len(happened) == len(set(happened))
    assert set(happened) == {item for items in looks for item in items}


def test_the_first_look_remembers_all_and_takes_what_was_asked_for():
    batch = look([5, 4, 3, 2, 1], None, [], first=2)

    assert [one.data for one in batch.occurrences] == [4, 5]
    assert look([6, 5, 4, 3, 2, 1], {}, batch.recent_keys).occurrences[0].data == 6


def test_what_is_in_the_list_is_never_forgotten_however_long_it_is():
    long = list(range(polling.MAX_KEYS + 50))

    batch = look(long, None, ["old"] * 10)

    assert look(long, {}, batch.recent_keys).occurrences == []


def test_what_left_the_list_is_remembered_for_a_while():
    batch = look(list(range(100)), None, [])

    batch = look([], {}, batch.recent_keys)

    assert look([50], {}, batch.recent_keys).occurrences == []


def test_the_marks_of_an_answer_are_the_conditions_of_the_next_question():
    answer = Answer(200, {"etag": '"a"'}, b"", "http://x.example/", 1)

    assert polling.conditions(polling.marks(answer)) == {"If-None-Match": '"a"'}
    assert polling.conditions(None) == {}
