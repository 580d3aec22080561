"""Options and files: help for every one, --json anywhere, accounts with plans, publishing."""

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime

import aio_pika
import click
import typer.main
from payg_command import Inside, Payg

from cli.main import COMMANDS, command_line
from shared.domain.events import USAGE_TYPE

_EVENTS = [
    {"specversion": "1.0", "type": USAGE_TYPE, "source": "gw", "id": f"req_{n}", "data": {"model": "m"}}
    for n in range(1_200)
]


def _commands(group: click.Command, path: str = "payg") -> Iterator[tuple[str, click.Command]]:
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, f"{path} {name}")


def test_every_command_and_every_option_has_a_help_text() -> None:
    found = dict(_commands(typer.main.get_command(command_line())))
    assert len(found) >= 30
    for path, command in found.items():
        assert command.help, path
        assert "command of its own" not in command.help, f"{path} is explained to programmers"
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{path} {parameter.name}"


def test_the_table_of_commands_says_what_each_module_has() -> None:
    for module, names in COMMANDS.items():
        found = typer.main.get_command(command_line(names[0]))
        assert set(getattr(found, "commands", {})) == set(names), module


def test_help_is_printed_by_the_program(payg: Payg) -> None:
    done = payg("account", "create", "--help", json=False)
    assert done.status == 0
    for option in ("--plan", "--anchor", "--fallback", "--spending-limit", "--name"):
        assert option in done.out


def test_json_may_stand_anywhere(payg: Payg) -> None:
    for command in ("--json account create", "account --json create", "account create --json"):
        created = payg(*command.split(), json=False).object
        assert set(created) == {"account_id", "api_key_id", "api_key"}


def test_without_json_it_prints_for_people(payg: Payg) -> None:
    done = payg("audit", json=False)
    assert done.status == 0
    assert "{" not in done.out
    assert "ok" in done.out


def test_a_plan_changes_at_the_next_cycle_and_ends_with_its_own(inside: Inside) -> None:
    small = inside("plan create small --quota 1").object
    inside("plan create big --quota 9 --discount 12.5")
    member = inside("account create --plan small --anchor 2026-01-31T10:00:00Z").object["account_id"]
    changed = inside(f"account set {member} --plan big --fallback on --spending-limit 3").object
    assert changed["plan_id"] == small["plan_id"] != changed["next_plan_id"]
    assert (changed["quota_nanos"], changed["fallback"]) == (10**9, True)
    assert changed["spending_limit_nanos"] == 3 * 10**9
    assert datetime.fromisoformat(changed["cycle_end"]).hour == 10
    cancelled = inside(f"account set {member} --plan none").object
    assert (cancelled["plan_id"], cancelled["next_plan_id"]) == (small["plan_id"], None)
    assert cancelled["cycle_end"] == changed["cycle_end"]
    assert inside("audit").object["ok"]


def test_a_first_plan_begins_at_once(inside: Inside) -> None:
    plan = inside("plan create first --quota 9 --discount 12.5").object["plan_id"]
    plain = inside("account create").object["account_id"]
    subscribed = inside(f"account set {plain} --plan {plan}").object
    assert subscribed["plan_id"] == subscribed["next_plan_id"] == plan
    assert (subscribed["quota_remaining_nanos"], subscribed["discount_ppm"]) == (9 * 10**9, 125_000)
    assert subscribed["balance_nanos"] == 0
    assert inside("audit").object["ok"]


def test_a_frozen_account_and_its_settings_are_shown(inside: Inside) -> None:
    account = inside("account create --name Bo").object["account_id"]
    assert inside(f"account set {account} --frozen on").object["frozen"] is True
    thawed = inside(f"account set {account} --frozen off --spending-limit none").object
    assert (thawed["frozen"], thawed["spending_limit_nanos"], thawed["name"]) == (False, None, "Bo")
    assert thawed["version"] > 0


def test_what_a_plan_does_not_say_is_zero(inside: Inside) -> None:
    created = inside("plan create plain --quota 0.5").object
    assert (created["quota_nanos"], created["price_nanos"]) == (500_000_000, 0)


def test_a_csv_of_prices_is_imported(inside: Inside, payg: Payg) -> None:
    lines = ["provider,model,input,output,cache_read,above_tokens,from"]
    lines += ["acme,csv-1,1,2,0.1,,", "acme,csv-1,3,4,,200000,", ",csv-2,0.5,0.5,,,2026-01-01T00:00:00Z"]
    (payg.directory / "prices.csv").write_text("\n".join(lines))
    assert inside("prices import prices.csv").object["new_rates"] == 2
    assert inside("prices import prices.csv").object["new_rates"] == 0
    tiers = inside("prices show csv-1 --provider acme").object["tiers"]
    assert [(t["above_tokens"], t["input_nanos"]) for t in tiers] == [(0, 10**9), (200_000, 3 * 10**9)]
    assert inside("prices show csv-2").object["effective_from"] == "2026-01-01T00:00:00Z"
    (payg.directory / "wrong.csv").write_text("model,input\nm,much\n")
    inside("prices import wrong.csv").assert_fails(2, "line 2")


def test_publish_takes_json_lines_an_array_and_standard_input(payg: Payg) -> None:
    lines = "\n".join(json.dumps(event) for event in _EVENTS)
    (payg.directory / "lines.jsonl").write_text(f"\n{lines}\n\n")
    (payg.directory / "array.json").write_text(json.dumps(_EVENTS[:3], indent=2))
    assert payg("publish", "lines.jsonl").object == {"published": 1_200}
    assert payg("publish", "array.json").object == {"published": 3}
    assert payg("publish", "-", stdin=json.dumps(_EVENTS[0])).object == {"published": 1}
    waiting = payg("drain", "--timeout", "0.2")
    assert waiting.status == 1
    assert waiting.objects[0]["drained"] is False
    assert "usage.intake" in waiting.objects[0]["waiting_for"]
    taken = asyncio.run(_take_all(payg.env["PAYG_BROKER_URL"]))
    assert taken == [*_EVENTS, *_EVENTS[:3], _EVENTS[0]]


def test_a_line_that_is_not_json_is_named(payg: Payg) -> None:
    (payg.directory / "broken.jsonl").write_text(f"{json.dumps(_EVENTS[0])}\n{{\n")
    payg("publish", "broken.jsonl").assert_fails(1, "broken.jsonl", "line 2")


async def _take_all(url: str) -> list[object]:
    """Return all events that wait at the entrance, in order."""
    events: list[object] = []
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue("usage.intake")
        while message := await queue.get(fail=False):
            events += json.loads(message.body)
            await message.ack()
    return events
