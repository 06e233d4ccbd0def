"""Whose tasks wait in a queue that has more of them than there are places: no rule keeps the others from starting."""

import random

import sqlalchemy as sa

# In one claim; chance decides which, and so every rule's turn comes.
_MOST = 20


def shares(connection: sa.Connection, queue_id: str, places: int) -> dict[str, int]:
    """Some of the rules whose tasks wait, and how many of each are to be taken first: half of the places, evenly.

    The tasks of the API are like those of a rule without an id. Empty where there is a place for each task.
    """
    asked = {"queue": queue_id, "most": places + 1}
    if int(connection.scalar(_BACKLOG, asked) or 0) <= places:
        return {}
    found, half = list(connection.scalars(_RULES, asked)), halved(places)
    if len(found) < 2 or not half:
        return {}
    chosen = random.sample(found, min(_MOST, half, len(found)))
    return dict.fromkeys(chosen, half // len(chosen))


def halved(places: int) -> int:
    """Of an odd number, and so of a single place, chance decides which half has more."""
    return (places + random.getrandbits(1)) // 2


_BACKLOG = sa.text(
    """
    SELECT count(*) FROM
        (SELECT 1 FROM tasks WHERE queue_id = :queue AND state = 'queued' LIMIT :most) AS waits
    """
)
# From each rule in the index straight to the next one, however many tasks it has there. With `min`, PostgreSQL reads
# them all as long as it has not counted how many there are.
_RULES = sa.text(
    """
    WITH RECURSIVE rules (id) AS (
        SELECT * FROM (
            SELECT rule_id FROM tasks WHERE queue_id = :queue AND state = 'queued'
            ORDER BY queue_id, rule_id LIMIT 1
        ) AS least
        UNION ALL
        SELECT (
            SELECT rule_id FROM tasks WHERE queue_id = :queue AND state = 'queued' AND rule_id > rules.id
            ORDER BY queue_id, rule_id LIMIT 1
        )
        FROM rules WHERE rules.id IS NOT NULL
    )
    SELECT id FROM rules WHERE id IS NOT NULL
    """
)
