import re

import time_machine

from app import ids


def test_an_id_names_its_noun_and_has_26_characters():
    assert re.fullmatch(r"tsk_[0-9a-hjkmnp-tv-z]{26}", ids.new("tsk"))


def test_ids_sort_by_the_time_they_were_made():
    with time_machine.travel(1_795_000_000, tick=False) as traveller:
        made = []
        for _ in range(50):
            made.append(ids.new("tsk"))
            traveller.shift(0.001)

    assert made == sorted(made)


def test_ids_of_the_same_instant_differ():
    with time_machine.travel(1_795_000_000, tick=False):
        assert len({ids.new("tsk") for _ in range(1000)}) == 1000
