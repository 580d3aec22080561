"""Statements over HTTP, as an account's owner meets them, and the public key as anybody does."""

import csv
from collections.abc import Iterator
from io import BytesIO, StringIO

import httpx
import pytest
from gate_api import serving
from pypdf import PdfReader
from statement_books import KEY, NOVEMBER, OCTOBER, SELLER, StatementBooks, day

from shared.domain.access import Scope
from shared.domain.ids import AccountId
from shared.domain.money import parse_dollars
from shared.domain.statement_check import check_statement
from shared.operations.keys import create_key
from shared.settings import Settings

NOW = day("12-01 12:00")


@pytest.fixture
def url(books: StatementBooks) -> Iterator[str]:
    settings = Settings(database_url=books.url, broker_url="amqp://127.0.0.1:1", seller_name=SELLER.name)
    with serving(settings) as address:
        yield address


@pytest.fixture
async def account_id(books: StatementBooks) -> AccountId:
    account_id = await books.account(OCTOBER.start)
    await books.post(account_id, 25 * 10**9, day("10-02 12:00"))
    await books.use(account_id, [("a", 234_567_891)], day("10-03 12:00"))
    await books.closing(NOW).run()
    return account_id


@pytest.fixture
async def owner(books: StatementBooks, account_id: AccountId, url: str) -> httpx.AsyncClient:
    key = await create_key(books.engine, account_id, None, None, [Scope.BILLING_READ])
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key.api_key}"})


async def test_list_has_every_month_the_newest_first(owner: httpx.AsyncClient) -> None:
    listed = (await owner.get("/v1/billing/statements")).json()["data"]
    by_month = {each["period"]: each for each in listed}
    assert [each["period"] for each in listed] == sorted(by_month, reverse=True)
    assert (by_month["2026-10"]["state"], by_month["2026-10"]["closing_nanos"]) == ("closed", 24_765_432_109)
    assert by_month["2026-11"]["opening_nanos"] == 24_765_432_109


async def test_a_statement_is_proven_by_the_published_key(owner: httpx.AsyncClient, url: str) -> None:
    signed = (await owner.get("/v1/billing/statements/2026-10")).json()
    async with httpx.AsyncClient(base_url=url) as anybody:
        published = (await anybody.get("/v1/signing-key")).json()
    assert published["current"]["key_id"] == KEY.key_id
    checked = check_statement(signed, None, [bytes.fromhex(published["current"]["public_key"])])
    assert (checked.fault, checked.signed_by) == (None, KEY.key_id)


async def test_the_pdf_says_what_the_statement_says(owner: httpx.AsyncClient) -> None:
    answer = await owner.get("/v1/billing/statements/2026-10/pdf")
    assert answer.headers["content-type"] == "application/pdf"
    assert "statement-2026-10.pdf" in answer.headers["content-disposition"]
    text = " ".join(page.extract_text() for page in PdfReader(BytesIO(answer.content)).pages)
    for words in ("October 2026", SELLER.name, "nano-small", "24.76", "5432109", KEY.key_id):
        assert words in text, words


async def test_the_amounts_of_the_csv_lead_from_one_balance_to_the_other(owner: httpx.AsyncClient) -> None:
    answer = await owner.get("/v1/billing/statements/2026-10/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(StringIO(answer.text)))
    amounts = sum(parse_dollars(row["amount"], allow_negative=True) for row in rows if row["amount"])
    assert parse_dollars(rows[0]["balance"]) + amounts == parse_dollars(rows[-1]["balance"])


@pytest.mark.parametrize("month", ["2026-13", "2026-09", "2999-01", "0000-01"])
async def test_a_month_without_a_statement_is_not_found(owner: httpx.AsyncClient, month: str) -> None:
    for kind in ("", "/pdf", "/csv"):
        answer = await owner.get(f"/v1/billing/statements/{month}{kind}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_what_is_no_month_is_refused(owner: httpx.AsyncClient) -> None:
    assert (await owner.get("/v1/billing/statements/november")).status_code == 404


async def test_nobody_sees_the_statements_of_another(
    books: StatementBooks, account_id: AccountId, url: str
) -> None:
    assert account_id
    other = await books.account(OCTOBER.start)
    key = await create_key(books.engine, other, None, None, [Scope.BILLING_READ])
    usage_only = await create_key(books.engine, account_id, None, None, [Scope.USAGE])
    async with httpx.AsyncClient(base_url=url) as client:
        for path in ("", "/pdf", "/csv"):
            address = f"/v1/billing/statements/{OCTOBER}{path}"
            found = await client.get(address, headers={"Authorization": f"Bearer {key.api_key}"})
            assert found.status_code == 404
            refused = await client.get(address, headers={"Authorization": f"Bearer {usage_only.api_key}"})
            assert refused.status_code == 403
            assert (await client.get(address)).status_code == 401


async def test_a_month_that_is_open_is_a_preview_that_nobody_signed(
    books: StatementBooks, owner: httpx.AsyncClient, account_id: AccountId
) -> None:
    await books.post(account_id, 5, day("12-01 00:00"))
    signed = await books.shown(account_id, NOVEMBER.plus(1), NOW)
    assert (signed["statement"]["state"], signed["signature"]) == ("open", None)
    assert owner
