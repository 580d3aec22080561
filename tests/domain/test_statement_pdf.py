"""The PDF and the CSV of a statement: every figure of it, on as many pages as it takes."""

import csv
import os
import re
import subprocess
import sys
from datetime import timedelta
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from domain_builders import payg_account, plan, subscribed
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pypdf import PdfReader
from statement_histories import KEY, MODELS, START, Month, histories, months, played

from shared.documents.amounts import MINUS, amount_of
from shared.documents.statement_csv import render_csv
from shared.documents.statement_pdf import render_statement
from shared.domain.ledger import TransferKind
from shared.domain.money import parse_dollars
from shared.domain.statement import State, Statement

_ROOT = Path(__file__).parents[2]
_RENDER = """
import sys, hashlib
sys.path.insert(0, "tests/domain")
from test_statement_pdf import MONTH
from shared.documents.statement_pdf import render_statement
print(hashlib.sha256(render_statement(MONTH.statement, MONTH.signed["signature"])).hexdigest())
"""


def _month(entries: int) -> Month:
    """Return a month of an account with quota, in which so much happened."""
    steps: list[tuple[timedelta, object]] = [(timedelta(hours=1), (TransferKind.TOPUP, 250 * 10**9))]
    for number in range(entries):
        step = (
            (TransferKind.CREDIT, 10**9 + number)
            if number % 3 == 0
            else [(MODELS[number % 3], 123_456_789 + number), (MODELS[0], 10**9)]
        )
        steps.append((timedelta(minutes=60 * 200 // entries), step))
    return months(played(subscribed(plan(10**9), START, fallback=True), steps))[0]


MONTH = _month(6)


def _pages(month: Month, statement: Statement | None = None) -> list[str]:
    pdf = render_statement(statement or month.statement, month.signed["signature"])
    return [page.extract_text() for page in PdfReader(BytesIO(pdf)).pages]


def _digits(text: str) -> str:
    """Return a text without what parts the digits of an amount."""
    return re.sub(r"[\s,]", "", text)


def test_it_holds_period_balances_lines_models_and_proof() -> None:
    text = " ".join(_pages(MONTH))
    for words in ("September 2026", "acc_1", "Northwind Inference Ltd", "Closed", "Proof", KEY.key_id):
        assert words in text, words
    for words in ("Beginning balance", "Top-ups", "Credits", "Usage", "Ending balance", *MODELS[:2]):
        assert words in text, words
    assert MONTH.statement.closing.hash in _digits(text)
    assert MONTH.signed["signature"]["value"] in _digits(text)


def test_every_amount_stands_there_to_the_nano() -> None:
    text = _digits(" ".join(_pages(MONTH)))
    statement = MONTH.statement
    nanos = [statement.opening.balance_nanos, statement.closing.balance_nanos]
    nanos += [line.amount_nanos for line in statement.lines if line.amount_nanos]
    nanos += [each.balance_after_nanos for each in statement.transactions]
    nanos += [line.balance_nanos for line in statement.usage]
    for each in nanos:
        amount = amount_of(each)
        assert _digits(amount.cents + amount.fine) in text, each


@pytest.mark.parametrize(
    ("nanos", "cents", "fine"),
    [
        (0, "0.00", ""),
        (-1, f"{MINUS}0.00", "0000001"),
        (1_234_567_890_000_000, "1,234,567.89", ""),
        (-1_000_000_010, f"{MINUS}1.00", "000001"),
    ],
)
def test_cents_are_parted_from_what_is_finer(nanos: int, cents: str, fine: str) -> None:
    assert amount_of(nanos) == (cents, fine)


def test_a_preview_says_that_it_is_one() -> None:
    preview = replace(MONTH.statement, state=State.OPEN)
    text = " ".join(page.extract_text() for page in PdfReader(BytesIO(render_statement(preview, None))).pages)
    assert "Preview, not closed" in text
    assert "not signed" in text
    assert "Signed with key" not in text


def test_a_long_one_goes_on_with_its_columns_named_again_and_nothing_lost() -> None:
    month = _month(150)
    pages = _pages(month)
    assert len(pages) > 3
    assert all("September 2026" in page for page in pages)
    assert all("Transaction" in page for page in pages[2:-1])
    text = _digits(" ".join(pages))
    for each in month.statement.transactions:
        assert _digits(each.cause) in text


def test_it_is_the_same_bytes_each_time_and_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _RENDER],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(_ROOT), "TZ": zone},
            capture_output=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Pacific/Auckland"))
    }
    assert len(digests) == 1


def test_a_quiet_month_is_a_statement_too() -> None:
    opening = replace(MONTH.statement.opening, balance_nanos=5, balance="0.000000005")
    quiet = replace(
        MONTH.statement, opening=opening, closing=opening, lines=(), usage=(), usage_days=(), transactions=()
    )
    (page,) = _pages(MONTH, quiet)
    assert "Ending balance" in page


@settings(max_examples=8, deadline=None)
@given(histories(), st.text(max_size=200))
def test_no_history_and_no_text_keeps_it_from_being_drawn(history: list[Month], text: str) -> None:
    for month in history:
        listed = tuple(replace(each, cause=text) for each in month.statement.transactions)
        assert render_statement(replace(month.statement, transactions=listed), None).startswith(b"%PDF-")


@given(histories())
def test_the_amounts_of_the_csv_lead_from_one_balance_to_the_other(history: list[Month]) -> None:
    for month in history:
        rows = list(csv.DictReader(StringIO(render_csv(month.statement))))
        amounts = [parse_dollars(row["amount"], allow_negative=True) for row in rows if row["amount"]]
        opening, closing = (parse_dollars(rows[i]["balance"], allow_negative=True) for i in (0, -1))
        assert opening + sum(amounts) == closing


def test_a_text_of_the_csv_is_never_a_formula() -> None:
    entries = played(payg_account(), [(timedelta(hours=1), (TransferKind.CREDIT, 5))])
    statement = months(entries)[0].statement
    listed = tuple(replace(each, cause='=HYPERLINK("x")') for each in statement.transactions)
    rows = list(csv.DictReader(StringIO(render_csv(replace(statement, transactions=listed)))))
    assert rows[1]["description"] == '\'=HYPERLINK("x")'
