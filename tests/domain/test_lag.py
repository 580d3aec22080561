"""The lag of a queue is never less than the age of its oldest message, and close to it once one is taken."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.lag import oldest_at

_START = datetime(2026, 11, 23, tzinfo=UTC)
_STEPS = st.lists(st.sampled_from(["send", "take", "look", "tell"]), max_size=60)


@given(_STEPS)
def test_no_message_is_older_than_the_lag_says(steps: list[str]) -> None:
    waiting: list[datetime] = []
    taken = told = None
    before: tuple[datetime, datetime | None] = (_START, None)
    for second, step in enumerate(steps, start=1):
        now = _START + timedelta(seconds=second)
        if step == "send":
            waiting.append(now)
        elif step == "take" and waiting:
            taken = waiting.pop(0)
        elif step == "tell":  # workers tell what they took now and then
            told = taken
        elif step == "look":
            oldest = oldest_at(len(waiting), now, before, told)
            assert (oldest is None) == (not waiting)
            assert oldest is None or oldest <= waiting[0]
            before = (now, oldest)


def test_a_queue_that_was_empty_holds_nothing_older_than_that() -> None:
    then, now = _START, _START + timedelta(seconds=2)
    assert oldest_at(5, now, (then, None), None) == then


def test_what_a_worker_took_is_older_than_what_waits() -> None:
    taken, now = _START + timedelta(seconds=9), _START + timedelta(seconds=10)
    assert oldest_at(5, now, (_START, _START), taken) == taken


def test_a_sender_ahead_of_time_hides_no_lag() -> None:
    now = _START + timedelta(seconds=10)
    assert oldest_at(5, now, (_START, _START), now + timedelta(hours=1)) == now


def test_a_queue_that_nobody_takes_from_grows_older() -> None:
    before: tuple[datetime, datetime | None] = (_START, None)
    for seconds in range(2, 20, 2):
        now = _START + timedelta(seconds=seconds)
        before = (now, oldest_at(3, now, before, None))
    assert before[1] == _START
