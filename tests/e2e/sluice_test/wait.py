"""Waiting for a state, with a deadline. Tests never sleep for a time and hope."""

import time

from .build import PATIENCE


def wait_until(predicate, deadline=15.0, message="", every=0.02):
    """Calls predicate until it gives something true, which is returned.

    An exception counts as "not yet"; the last one is shown when the time is up."""
    end = time.monotonic() + deadline * PATIENCE
    last = None
    while True:
        try:
            last = predicate()
            if last:
                return last
        except Exception as error:  # the thing waited for may not exist yet
            last = error
        if time.monotonic() > end:
            what = message() if callable(message) else message or getattr(predicate, "__name__", "")
            raise AssertionError(f"not within {deadline * PATIENCE:.0f} s: {what}; last: {last!r}")
        time.sleep(every)
