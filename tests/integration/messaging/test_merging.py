"""Messages that wait for each other are one batch; one that fails harms no other."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from polling import until

from shared.messaging.envelope import Origin, StageMessage
from shared.messaging.lane import MERGED_MESSAGES, Lane
from shared.messaging.topology import Stage

MAX_ELEMENTS = 100


class Handled:
    """A handler that can be held in the middle of its work; it refuses what holds a 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.emitted: list[StageMessage] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, batch: list[int], origins: Sequence[Origin]) -> Sequence[StageMessage]:
        self.origins = origins
        self.batches.append(batch)
        self.begun.set()
        assert self.go_on.wait(10)
        if 13 in batch:
            raise ValueError("13")
        return [StageMessage(Stage.THRESHOLDS, "thresholds", batch)]

    def emit(self, messages: Sequence[StageMessage]) -> None:
        self.emitted += messages


def lane_of(handled: Handled) -> Lane[int]:
    return Lane(handled, handled.emit, MAX_ELEMENTS)


def merge(handled: Handled, lane: Lane[int], *batches: list[int]) -> list[Future[None]]:
    """Let batches wait while another one is handled; return how each of them ended."""
    with ThreadPoolExecutor(MERGED_MESSAGES) as threads:
        first = threads.submit(lane.process, [0])
        assert handled.begun.wait(10)
        waiting = [threads.submit(lane.process, batch) for batch in batches]
        until(lambda: lane.waiting == len(waiting))
        handled.go_on.set()
        first.result(10)
    return waiting


def test_alone_a_batch_is_handled_at_once() -> None:
    handled = Handled()
    handled.go_on.set()
    lane_of(handled).process([1, 2])
    assert handled.batches == [[1, 2]]
    assert [message.batch for message in handled.emitted] == [[1, 2]]


def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    handled = Handled()
    for done in merge(handled, lane_of(handled), *([number] for number in range(1, 6))):
        done.result(10)
    assert handled.batches == [[0], [1, 2, 3, 4, 5]]


def test_a_batch_grows_no_larger_than_is_allowed() -> None:
    handled = Handled()
    for done in merge(handled, lane_of(handled), *([number] * 40 for number in range(1, 6))):
        done.result(10)
    assert [len(batch) for batch in handled.batches] == [1, 80, 80, 40]


def test_a_failure_is_that_of_all_who_were_merged_and_alone_only_the_guilty_one_fails() -> None:
    handled = Handled()
    lane = lane_of(handled)
    for each in merge(handled, lane, [12], [13], [14]):
        with pytest.raises(ValueError, match="13"):
            each.result(10)
    lane.process_alone([12])
    with pytest.raises(ValueError, match="13"):
        lane.process_alone([13])
    assert [message.batch for message in handled.emitted] == [[0], [12]]
