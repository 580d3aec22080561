"""What `payg status` calls wrong, and what merely waits for a person; and that the screen shows it."""

from dataclasses import replace

from rich.console import Console

from cli.status_screen import Rates, rates_between, screen
from shared.db.schema import Revisions
from shared.messaging.topology import Stage, every_queue
from shared.operations.status import Queue, Server, StageState, Status, worth_a_look, wrong
from shared.settings import Settings

_SETTINGS = Settings(database_url="postgresql://localhost/payg", broker_url="amqp://localhost/")
_QUEUES = tuple(Queue(queue, 0, 1, 0, 0.0) for queue in every_queue(2))
_WELL = Status(
    servers=(Server("PostgreSQL"), Server("RabbitMQ"), Server("Redis")),
    schema=Revisions("0017", "0017"),
    queues=_QUEUES,
    stages=tuple(StageState(stage, 1, 0, 0) for stage in Stage),
    gauges={"clock_age_seconds": {"": 1}, "audit_age_seconds": {"": 60}, "audit_ok": {"": 1}},
)


def _with_queue(status: Status, **changes: object) -> Status:
    return replace(status, queues=(replace(_QUEUES[1], **changes), *_QUEUES[2:]))  # type: ignore[arg-type]


def _with_gauge(status: Status, kind: str, label: str, value: float) -> Status:
    return replace(status, gauges={**status.gauges, kind: {label: value}})


def _shown(status: Status, rates: Rates | None = None) -> str:
    console = Console(width=120, record=True, file=None)
    with console.capture() as captured:
        console.print(screen(status, wrong(status, _SETTINGS), worth_a_look(status), rates))
    return captured.get()


def test_a_system_that_works_is_not_called_wrong() -> None:
    assert wrong(_WELL, _SETTINGS) == worth_a_look(_WELL) == []
    assert "nothing is wrong" in _shown(_WELL)


def test_each_thing_that_is_wrong_is_said() -> None:
    silent = tuple(StageState(stage, int(stage != Stage.DEBIT), 0, 0) for stage in Stage)
    cases = {
        "RabbitMQ cannot be reached: no": replace(_WELL, servers=(Server("RabbitMQ", "no"),)),
        "run `payg migrate`": replace(_WELL, schema=Revisions("0016", "0017")),
        "no process of debit reports": replace(_WELL, stages=silent),
        "the clock does not report": _with_gauge(_WELL, "clock_age_seconds", "", 60),
        "7 messages wait in pricing, and nobody consumes it": _with_queue(_WELL, ready=7, consumers=0),
        "the oldest message of pricing may be 90 s old": _with_queue(_WELL, ready=7, oldest_age_s=90),
        "2 dead letters of pricing": _with_queue(_WELL, dead=2),
        "the last audit found a fault": _with_gauge(_WELL, "audit_ok", "", 0),
    }
    for says, status in cases.items():
        (line,) = wrong(status, _SETTINGS)
        assert says in line
        assert line in _shown(status)


def test_a_schema_that_is_missing_is_the_one_thing_said() -> None:
    empty = replace(_WELL, schema=Revisions(None, "0017"), stages=(), gauges={}, queues=())
    assert [line for line in wrong(empty, _SETTINGS) if "clock" not in line and "process" not in line] == [
        "the schema is at None, not at 0017: run `payg migrate`"
    ]


def test_top_up_may_be_missing_where_payments_are_off() -> None:
    without = replace(_WELL, stages=tuple(StageState(s, int(s != Stage.TOPUP), 0, 0) for s in Stage))
    assert wrong(without, _SETTINGS) == []


def test_what_waits_for_a_person_is_no_fault() -> None:
    cases = {
        "3 entries in quarantine": _with_gauge(_WELL, "quarantine_entries", "malformed", 3),
        "1 top-ups are parked": _with_gauge(_WELL, "topups", "quarantined", 1),
        "2 differences": _with_gauge(_WELL, "payment_differences", "missing", 2),
        "not audited for a day": _with_gauge(_WELL, "audit_age_seconds", "", 100_000),
    }
    for says, status in cases.items():
        assert wrong(status, _SETTINGS) == []
        (line,) = worth_a_look(status)
        assert says in line
        assert line in _shown(status)


def test_rates_are_what_passed_between_two_looks() -> None:
    later = replace(_WELL, debited=1_000, stages=tuple(StageState(s, 1, 4, 50) for s in Stage))
    rates = rates_between(_WELL, later, 2.0)
    assert rates.debited_per_s == 500
    assert rates.messages_per_s == dict.fromkeys(map(str, Stage), 25.0)
    assert "500 records debited/s" in _shown(later, rates)


def test_a_process_that_ended_makes_no_negative_rate() -> None:
    before = replace(_WELL, stages=tuple(StageState(s, 2, 4, 50) for s in Stage))
    assert rates_between(before, _WELL, 1.0).messages_per_s == dict.fromkeys(map(str, Stage), 0.0)
