"""For random histories: statements add up to the nano, they join, and no changed digit passes the check."""

import copy
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from statement_histories import KEY, Month, histories

from shared.domain.money import parse_dollars
from shared.domain.statement_check import Checked, check_statement
from shared.domain.statement_export import StatementFault, entry_line, read_export, usage_line

_few = settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def _export(month: Month, *, usage: bool = True) -> list[bytes]:
    lines = [json.dumps(month.signed).encode()]
    for transfer, rows in month.entries:
        lines.append(entry_line(transfer))
        lines += [usage_line(row) for row in rows if usage]
    return lines


def _checked(lines: list[bytes]) -> Checked:
    try:
        signed, entries = read_export(lines)
    except StatementFault as fault:
        return Checked(fault=fault)
    assert signed is not None
    return check_statement(signed, entries, [KEY.public_key])


def _changed(text: str, place: int) -> str:
    """Return a text with one character changed: a digit to another digit, a letter to another letter."""
    old = text[place]
    new = str((int(old) + 1) % 10) if old.isdecimal() else "b" if old == "a" else "a"
    return text[:place] + new + text[place + 1 :]


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths to everything in a document that is no object and no list."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _leaves(inner, (*path, key))
    else:
        yield path


def _mutated(document: Any, path: tuple[Any, ...], place: int) -> Any:
    """Return a document in which one value at the end of a path is another, by one character."""
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    old = inner[path[-1]]
    if isinstance(old, int):
        inner[path[-1]] = old + (1 if place % 2 else -1)
    elif isinstance(old, str) and old:
        inner[path[-1]] = _changed(old, place % len(old))
    else:
        inner[path[-1]] = "a"
    return changed


@given(histories())
def test_lines_add_up_to_the_nano(months: list[Month]) -> None:
    for month in months:
        statement = month.statement
        lines = sum(line.amount_nanos for line in statement.lines)
        assert statement.opening.balance_nanos + lines == statement.closing.balance_nanos
        dollars = sum(parse_dollars(line.amount, allow_negative=True) for line in statement.lines)
        assert dollars == lines
        used = sum(line.balance_nanos for line in statement.usage)
        listed = sum(each.amount_nanos for each in statement.transactions)
        assert statement.opening.balance_nanos + listed - used == statement.closing.balance_nanos
        assert used == sum(day.balance_nanos for day in statement.usage_days)


@given(histories())
def test_statements_join(months: list[Month]) -> None:
    for before, after in pairwise(months):
        assert after.statement.opening == before.statement.closing


@given(histories(), st.booleans())
def test_what_was_not_changed_passes(months: list[Month], usage: bool) -> None:  # noqa: FBT001 - drawn
    for month in months:
        checked = _checked(_export(month, usage=usage))
        assert checked.fault is None, str(checked.fault)
        assert checked.entries == len(month.entries)
        assert checked.signed_by == KEY.key_id


@_few
@given(histories(), st.data())
def test_a_change_in_an_entry_is_found_and_the_entry_is_named(
    months: list[Month], data: st.DataObject
) -> None:
    assume(months)
    month = data.draw(st.sampled_from(months))
    lines = _export(month)
    changed = data.draw(st.integers(1, len(lines) - 1), label="line")
    document = json.loads(lines[changed])
    path = data.draw(st.sampled_from(list(_leaves(document))), label="path")
    lines[changed] = json.dumps(_mutated(document, path, data.draw(st.integers(0, 200)))).encode()
    before = [json.loads(line) for line in lines[1:changed]]
    seq = sum("entry" in line for line in before) + month.statement.opening.seq
    seq += "entry" in document
    fault = _checked(lines).fault
    assert fault is not None, document
    assert fault.where in (f"entry {seq}", "the first entry"), str(fault)


@_few
@given(histories(), st.data())
def test_a_change_in_a_statement_is_found(months: list[Month], data: st.DataObject) -> None:
    assume(months)
    month = data.draw(st.sampled_from(months))
    path = data.draw(st.sampled_from(list(_leaves(month.signed))), label="path")
    lines = _export(month)
    lines[0] = json.dumps(_mutated(month.signed, path, data.draw(st.integers(0, 200)))).encode()
    checked = _checked(lines)
    assert checked.fault is not None, path
    # What stands in the statement of an entry is told apart by the entry.
    if path[:2] == ("statement", "transactions") and path[-1] in ("amount_nanos", "cause", "hash", "amount"):
        seq = month.signed["statement"]["transactions"][path[2]]["seq"]
        assert checked.fault.where == f"entry {seq}", str(checked.fault)


@_few
@given(histories(), st.data())
def test_an_entry_or_a_row_that_is_missing_or_twice_is_found(
    months: list[Month], data: st.DataObject
) -> None:
    assume(months)
    month = data.draw(st.sampled_from(months))
    lines = _export(month)
    place = data.draw(st.integers(1, len(lines) - 1), label="line")
    assume(len(lines) > 2)
    if data.draw(st.booleans(), label="twice"):
        lines.insert(place, lines[place])
    else:
        without_rows = _export(month, usage=False)
        del lines[place]
        assume(lines != without_rows)  # exported without rows: nothing wrong with that
    assert _checked(lines).fault is not None


@_few
@given(histories(), st.integers(0, 200), st.data())
def test_any_digit_of_the_text_of_a_statement_counts(
    months: list[Month], nth: int, data: st.DataObject
) -> None:
    assume(months)
    month = data.draw(st.sampled_from(months))
    text = json.dumps(month.signed)
    digits = [place for place, character in enumerate(text) if character.isdecimal()]
    changed = _changed(text, digits[nth * 7919 % len(digits)])
    assert check_statement(json.loads(changed)).fault is not None
