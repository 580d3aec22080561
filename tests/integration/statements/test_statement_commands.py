"""payg statements, statement, signing-key and verify: what they print and write."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader
from statement_books import KEY, NEXT_KEY, OCTOBER, StatementBooks, day

from shared.domain.ids import AccountId

PAYG = Path(sys.executable).with_name("payg")
NOW = day("11-20 12:00")


@dataclass(frozen=True)
class Command:
    """The command in an environment of its own."""

    env: dict[str, str]
    directory: Path

    def __call__(self, *arguments: object, status: int = 0) -> list[dict[str, Any]]:
        done = subprocess.run(
            [PAYG, *map(str, arguments), "--json"],
            env=self.env,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def payg(books: StatementBooks, tmp_path: Path) -> Command:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYG_")}
    urls = {"PAYG_DATABASE_URL": books.url, "PAYG_BROKER_URL": "amqp://127.0.0.1:1"}
    return Command({**clean, **urls, "PAYG_SELLER_NAME": "Northwind"}, tmp_path)


@pytest.fixture
def offline(tmp_path: Path) -> Command:
    """A machine on which payg is installed, and nothing is set."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAYG_")}
    return Command(clean, tmp_path)


@pytest.fixture
async def account_id(books: StatementBooks) -> AccountId:
    account_id = await books.account(OCTOBER.start)
    await books.post(account_id, 25 * 10**9, day("10-02 12:00"))
    await books.use(account_id, [("a", 30), ("b", 12)], day("10-03 12:00"))
    await books.use(account_id, [("c", 5)], day("10-04 12:00"))
    await books.closing(NOW).run()
    return account_id


async def test_list_and_show(payg: Command, account_id: AccountId) -> None:
    listed = {each["period"]: each for each in payg("statements", "list", "--account", account_id)}
    assert (listed["2026-10"]["state"], listed["2026-10"]["closing_nanos"]) == ("closed", 24_999_999_953)
    (signed,) = payg("statement", "show", account_id, "2026-10")
    assert signed["statement"]["closing"]["balance"] == "24.999999953"
    assert signed["signature"]["key_id"] == KEY.key_id
    payg("statement", "show", account_id, "2026-09", status=1)
    payg("statement", "show", account_id, "October", status=2)
    payg("statements", "list", "--account", "acct_nobody", status=1)


async def test_show_writes_pdf_and_csv(payg: Command, account_id: AccountId) -> None:
    pdf, csv = payg.directory / "one.pdf", payg.directory / "one.csv"
    payg("statement", "show", account_id, "2026-10", "--pdf", pdf, "--csv", csv)
    assert "October 2026" in PdfReader(BytesIO(pdf.read_bytes())).pages[0].extract_text()
    assert "24.999999953" in csv.read_text()
    payg("statement", "show", account_id, "2026-10", "--pdf", payg.directory / "no" / "one.pdf", status=1)


async def test_what_was_exported_is_verified_without_a_database(
    payg: Command, offline: Command, account_id: AccountId
) -> None:
    file = payg.directory / "october.jsonl"
    (exported,) = payg("statement", "export", account_id, "2026-10", "--usage", file)
    assert exported["lines"] == 1 + 3 + 3
    (verified,) = offline("verify", file, "--public-key", KEY.public_key.hex())
    assert verified == {
        "ok": True,
        "account_id": account_id,
        "period": "2026-10",
        "signed_by": KEY.key_id,
        "trusted": True,
        "entries_checked": 3,
        "usage_rows_checked": 3,
        "first_fault": None,
        "fault_where": None,
    }
    (by_others,) = offline("verify", file, "--public-key", NEXT_KEY.public_key.hex(), status=1)
    assert (by_others["ok"], by_others["fault_where"]) == (False, "signature")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"charge_nanos":30', b'"charge_nanos":31')
    file.write_bytes(b"".join(lines))
    (refused,) = offline("verify", file, status=1)
    assert (refused["ok"], refused["fault_where"]) == (False, "entry 2")


async def test_a_statement_and_its_entries_may_be_two_files(
    payg: Command, offline: Command, account_id: AccountId
) -> None:
    (signed,) = payg("statement", "show", account_id, "2026-10")
    statement, entries = payg.directory / "statement.json", payg.directory / "entries.jsonl"
    statement.write_text(json.dumps(signed, indent=2))
    payg("statement", "export", account_id, "2026-10", entries)
    (alone,) = offline("verify", statement)
    assert (alone["ok"], alone["trusted"], alone["entries_checked"]) == (True, False, None)
    (both,) = offline("verify", statement, "--entries", entries)
    assert (both["ok"], both["entries_checked"], both["usage_rows_checked"]) == (True, 3, 0)


@pytest.mark.parametrize(
    "content", ["", "nonsense", "[]", "{}", '{"a": 1, "a": 1}', '{"statement": 1, "signature": null}\n{}']
)
def test_what_is_no_statement_is_refused(offline: Command, content: str) -> None:
    file = offline.directory / "file.json"
    file.write_text(content)
    (refused,) = offline("verify", file, status=1)
    assert refused["ok"] is False


def test_a_key_is_made_here_or_in_a_file_that_only_its_owner_reads(offline: Command) -> None:
    (shown,) = offline("signing-key", "create")
    assert len(bytes.fromhex(shown["signing_key"])) == 32
    file = offline.directory / "key"
    (written,) = offline("signing-key", "create", "--file", file)
    assert "signing_key" not in written
    assert file.stat().st_mode & 0o077 == 0
    assert written["key_id"] != shown["key_id"]
    offline("signing-key", "create", "--file", file, status=1)


async def test_the_keys_that_signed_are_listed(payg: Command, account_id: AccountId) -> None:
    assert account_id
    (key,) = payg("signing-key", "list")
    assert (key["key_id"], key["public_key"]) == (KEY.key_id, KEY.public_key.hex())


@pytest.mark.parametrize(("name", "value"), [("PAYG_SIGNING_KEY", "short"), ("PAYG_STATEMENT_CLOSE_S", "-1")])
def test_a_malformed_setting_stops_with_one_line_that_names_it(payg: Command, name: str, value: str) -> None:
    done = subprocess.run(
        [PAYG, "audit"], env={**payg.env, name: value}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert name in done.stderr
    assert value not in done.stderr or name != "PAYG_SIGNING_KEY"
