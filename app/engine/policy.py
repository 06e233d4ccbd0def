"""When a failed try is tried again, and when it is not."""

import random
from datetime import timedelta

MAX_ATTEMPTS = 8
# Pauses of up to 20 s, 1 min, 3 min … 4 h: with jitter eight attempts take about three hours.
_FIRST_PAUSE_S = 20.0
_FACTOR = 3.0
_LONGEST_S = 24 * 3600.0
# Never less than a tenth of it: by chance alone all attempts could be used up within minutes, while a service
# is away for ten. So eight attempts take at least half an hour.
_LEAST_PART = 0.1
# Three workers died with it: the action itself is what kills them.
MAX_LOST = 3
# One loss before that it runs alone: what only stood beside the culprit is not lost a third time.
SUSPECT_LOST = MAX_LOST - 1
# A claimed task belongs to its worker for so long, renewed while it works.
LEASE = timedelta(seconds=10)
RENEW_EVERY_S = 3.0
# One call of an action may take so long in all.
ACTION_DEADLINE_S = 150.0
# A task whose connection is broken looks again after this time at the latest.
HOLD = timedelta(hours=1)
# Rules that start rules: the chain is cut here.
MAX_DEPTH = 10


def pause_s(attempt: int, *, after_s: float | None = None, random_part: float | None = None) -> float:
    """Seconds to wait after the given attempt (1, 2, …): exponential, with jitter over nine tenths of it.

    At least `after_s`, as the service asked for it, and then a little more, so that not all come at once.
    """
    part = random.random() if random_part is None else random_part  # noqa: S311 (spreads load, guards nothing)
    longest = min(_FIRST_PAUSE_S * _FACTOR ** min(attempt - 1, 20), _LONGEST_S)
    if after_s is not None:
        # The order matters: a NaN becomes zero.
        after_s = max(0.0, after_s)
        return min(after_s, _LONGEST_S) + part * min(longest, max(1.0, after_s * 0.1))
    return (_LEAST_PART + (1 - _LEAST_PART) * part) * longest
