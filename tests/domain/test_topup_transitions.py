"""The table of transitions is one: every state is in it, and documents show it as it is."""

from datetime import timedelta
from pathlib import Path

import pytest

from shared.domain.topup import OPEN_STATES, TopupState, retry_wait
from shared.domain.topup_states import (
    TRANSITIONS,
    IllegalMoveError,
    as_markdown,
    check_move,
    may_become,
)

_DOCUMENT = Path(__file__).parents[2] / "docs" / "payments.md"
_MOVES = [(t.source, t.target) for t in TRANSITIONS]


def test_the_document_shows_the_table_of_the_code() -> None:
    assert as_markdown() in _DOCUMENT.read_text()


def test_no_move_stands_there_twice_and_none_says_nothing() -> None:
    assert len(set(_MOVES)) == len(_MOVES)
    assert all(all(transition) for transition in TRANSITIONS)


def test_every_state_is_reached_from_pending() -> None:
    reached, new = set(), {TopupState.PENDING}
    while new:
        reached |= new
        new = {target for source, target in _MOVES if source in reached} - reached
    assert reached == set(TopupState)


def test_every_open_state_can_end_and_be_credited_and_succeeded_ends_it() -> None:
    for state in OPEN_STATES:
        for end in (TopupState.SUCCEEDED, TopupState.FAILED, TopupState.CANCELED, TopupState.QUARANTINED):
            assert may_become(state, end)
    assert not any(may_become(TopupState.SUCCEEDED, state) for state in TopupState)


def test_what_is_closed_is_never_opened_again() -> None:
    closed = set(TopupState) - set(OPEN_STATES)
    assert not [move for move in _MOVES if move[0] in closed and move[1] in OPEN_STATES]


@pytest.mark.parametrize("state", ["confirming", "processing", "retry_wait", "action_required"])
def test_what_may_have_been_charged_never_goes_back_to_created(state: str) -> None:
    with pytest.raises(IllegalMoveError, match=f"{state} cannot become created"):
        check_move(TopupState(state), TopupState.CREATED)


def test_each_soft_decline_makes_the_wait_four_times_longer() -> None:
    hour = timedelta(hours=1)
    assert [retry_wait(hour, declines) for declines in (1, 2, 3)] == [hour, 4 * hour, 16 * hour]
