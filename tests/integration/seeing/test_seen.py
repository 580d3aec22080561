"""What an operator sees of a running system: metrics, status, top, queries of dashboard and alerts."""

import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from payg_command import PAYG, Inside, Payg, inside_this_process
from polling import until
from prometheus_server import ALERTS, ROOT, Prometheus, dashboard_queries
from seen_system import Samples, Seen, sample, seen_system

from sandbox.servers import Postgres, free_port
from shared.messaging.topology import Stage

#: Panels with a query that finds nothing here: no payment was made, nothing compared with Stripe.
NOTHING_HAPPENED = {"Top-ups by state", "Steps at Stripe", "Stripe and the books"}


@pytest.fixture(scope="module")
def seen(
    postgres: Postgres, virtual_hosts: Iterator[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    url = postgres.create_database("seen", template="payg_template")
    with seen_system(url, next(virtual_hosts), tmp_path_factory.mktemp("seen")) as system:
        yield system


@pytest.fixture(scope="module")
def shown(seen: Seen) -> Samples:
    return seen.scrape()


@pytest.fixture
def inside(
    seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Inside:
    return inside_this_process(Payg(seen.env, tmp_path), monkeypatch, capsys)


def test_records_are_counted_by_stage_and_outcome(shown: Samples) -> None:
    expected = {
        ("intake", "accepted"): 6,
        ("intake", "malformed"): 1,
        ("pricing", "priced"): 5,
        ("pricing", "unknown_model"): 1,
        ("debit", "debited"): 3,
        ("debit", "duplicate"): 1,
        ("debit", "conflict"): 1,
    }
    assert {
        (stage, outcome): sample(shown, "payg_records_total", stage=stage, outcome=outcome)
        for stage, outcome in expected
    } == expected


def test_money_is_counted_by_who_paid(shown: Samples) -> None:
    paid = [
        sample(shown, "payg_charged_nanos_total", source=source)
        for source in ("quota", "balance", "uncollected")
    ]
    assert paid == [0, 6 * 10**9, 0]


def test_holds_are_counted_by_what_became_of_them(shown: Samples) -> None:
    assert sample(shown, "payg_holds_total", event="placed")
    assert sample(shown, "payg_holds_total", event="billed") == 1


def test_alerts_and_evaluations_are_counted(shown: Samples) -> None:
    assert sample(shown, "payg_alerts_total", type="balance.low") == 1
    assert sample(shown, "payg_alerts_total", type="usage.quarantined") == 3
    assert (sample(shown, "payg_evaluations_total") or 0) >= 1


def test_what_waits_and_what_was_given_up_is_seen(shown: Samples) -> None:
    assert sample(shown, "payg_dead_letters", queue="pricing")
    assert sample(shown, "payg_dead_letters", queue="debit.0") == 0
    for queue in ("usage.intake", "pricing", "debit.0", "debit.1", "thresholds", "topup", "notifications"):
        assert sample(shown, "payg_queue_lag_seconds", queue=queue) == 0
    for reason in ("malformed", "unknown_model", "conflict"):
        assert sample(shown, "payg_quarantine_entries", reason=reason)


def test_lag_waits_and_ages_are_measured(shown: Samples) -> None:
    assert (sample(shown, "payg_queue_wait_seconds_count", queue="pricing") or 0) >= 1
    assert (sample(shown, "payg_batch_seconds_count", stage="debit") or 0) >= 1
    assert (sample(shown, "payg_record_age_seconds_count") or 0) >= 1
    assert 0 <= (sample(shown, "payg_audit_age_seconds") or 0) < 600
    assert sample(shown, "payg_audit_ok")


def test_servers_and_processes_are_seen(shown: Samples) -> None:
    assert sample(shown, "payg_up", server="database")
    assert sample(shown, "payg_up", server="broker")
    for stage in ("intake", "pricing", "debit", "thresholds", "topup", "notifications"):
        assert sample(shown, "payg_processes", stage=stage)


def test_status_shows_everything_and_fails_for_what_is_wrong(inside: Inside) -> None:
    done = inside("status")
    assert done.status == 1
    (seen,) = done.objects
    assert [line.partition(":")[0] for line in seen["wrong"]] == ["1 dead letters of pricing"]
    assert not seen["ok"]
    assert seen["schema"]["current"] == seen["schema"]["head"]
    queues = {queue["queue"]: queue for queue in seen["queues"]}
    assert queues["pricing"]["dead"] == 1
    assert all((queue["ready"], queue["consumers"]) == (0, 1) for queue in queues.values())
    assert {stage["stage"]: stage["processes"] for stage in seen["stages"]} == dict.fromkeys(
        map(str, Stage), 1
    )
    assert set(seen["quarantine"]) == {"malformed", "unknown_model", "conflict"}
    assert seen["audit_ok"]
    assert any("entries in quarantine" in line for line in seen["worth_a_look"])


def test_status_says_what_cannot_be_reached(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("PAYG_DATABASE_URL", f"postgresql://payg@127.0.0.1:{port}/payg")
    monkeypatch.setenv("PAYG_BROKER_URL", f"amqp://guest:guest@127.0.0.1:{port}/")
    monkeypatch.setenv("PAYG_REDIS_URL", f"redis://127.0.0.1:{port}/0")
    done = inside("status")
    assert done.status == 1
    (seen,) = done.objects
    names = ["PostgreSQL", "RabbitMQ", "Redis"]
    assert [server["name"] for server in seen["servers"] if server["problem"]] == names
    assert [line.partition(" cannot be reached")[0] for line in seen["wrong"]] == names


def test_top_looks_again_and_again(inside: Inside) -> None:
    done = inside("top --seconds 0.5")
    assert done.status == 0
    first, *_, last = done.objects
    assert first["debited_per_s"] is None
    assert last["debited_per_s"] == 0
    assert set(last["messages_per_s"]) == set(map(str, Stage))


def test_commands_of_the_runbooks_that_only_look_work(inside: Inside) -> None:
    """As they stand there, one after the other, on a system that runs."""
    runbooks = (ROOT / "docs" / "runbooks.md").read_text()
    looking = sorted(
        {
            f"{family} {verb}"
            for family, verb in re.findall(r"^    payg (\S+) (list)$", runbooks, re.MULTILINE)
        }
    )
    assert len(looking) >= 5
    for command in [*looking, "audit", "drain --timeout 60"]:
        done = inside(command)
        assert done.status == 0, (command, done.err)


def test_top_ends_with_q(seen: Seen) -> None:
    """On a terminal it is one live screen; q ends it and leaves the terminal as it was."""
    controller, terminal = pty.openpty()
    env = {**os.environ, **seen.env, "TERM": "xterm", "COLUMNS": "120", "LINES": "50"}
    top = subprocess.Popen(
        [PAYG, "top"], env=env, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    shown = b""
    while b"messages/s" not in shown:
        shown += os.read(controller, 65_536)
    os.write(controller, b"q")
    assert top.wait(20) == 0
    os.close(controller)


@pytest.fixture(scope="module")
def prometheus(seen: Seen, servers_directory: Path) -> Iterator[Prometheus]:
    """Prometheus with the alert rules, once it has scraped every process more than once."""
    with Prometheus(servers_directory / "prometheus", seen.targets) as server:
        # What a rate is of has to be seen twice.
        until(lambda: len(server.query("count_over_time(up[1m]) > 2")) >= len(seen.targets))
        yield server


def test_every_panel_shows_something(prometheus: Prometheus) -> None:
    """Each query of the dashboard, asked of a Prometheus that this system feeds."""
    empty = {
        title
        for title, query in dashboard_queries()
        if not prometheus.query(query.replace("$__rate_interval", "1m"))
    }
    assert empty == NOTHING_HAPPENED


def test_all_alert_rules_can_be_evaluated_and_the_right_one_fires(prometheus: Prometheus) -> None:
    rules = prometheus.rules()
    assert {rule["name"] for rule in rules} == {alert["alert"] for alert in ALERTS}
    assert [rule["lastError"] for rule in rules if rule["health"] != "ok"] == []
    states = {rule["name"]: rule["state"] for rule in rules}
    assert states["PaygDeadLetters"] == "firing"
    # Refused usage is one record of seven; the rules on time wait before they fire.
    assert {name for name, state in states.items() if state != "inactive"} <= {
        "PaygDeadLetters",
        "PaygManyRefused",
        "PaygQuarantineWaits",
    }


def test_lag_and_money_are_those_of_the_system(prometheus: Prometheus) -> None:
    (lag,) = prometheus.query("max(payg_queue_lag_seconds)")
    (money,) = prometheus.query('sum(payg_charged_nanos_total{source="balance"})')
    assert (float(lag["value"][1]), float(money["value"][1])) == (0, 6e9)
