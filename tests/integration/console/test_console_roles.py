"""Who sees and does what: every route of the console, as every role."""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from console_scene import Scene, client, csrf_of, full_scene, signed_in, submit
from fastapi.routing import APIRoute
from low_money import DOLLAR, LowMoney
from pypdf import PdfReader

from api.console.app import _PAGES
from shared.clock import utc_now
from shared.operations.audit import audit

#: What each role may look at, and do.
_ACCOUNT_READS = {
    "/now",
    "/live",
    "/transactions",
    "/transactions/{seq}",
    "/add-funds",
    "/cards",
    "/auto-topup",
    "/subscription",
    "/keys",
    "/alerts",
    "/alerts/settings",
    "/alerts/webhooks/{endpoint_id}",
    "/statements",
    "/statements/{month}.pdf",
    "/statements/{month}.csv",
    "/statements/{month}.json",
    "/invoices",
    "/invoices/{number}.pdf",
    "/team",
}
_USAGE_READS = {"/usage", "/usage.csv", "/models"}
_ALL_READS = {
    "/accounts",
    "/accounts/{account_id}",
    "/accounts/{account_id}/transactions/{seq}",
    "/prices",
    "/quarantine",
    "/queues",
    "/reconciliation",
    "/log",
    "/team",
}
_ACCOUNT_WRITES = ("/add-funds", "/cards", "/auto-topup", "/subscription", "/keys", "/alerts")
_READS = {
    "owner": _ACCOUNT_READS | _USAGE_READS,
    "billing": _ACCOUNT_READS | _USAGE_READS,
    "member": _USAGE_READS,
    "operator": _ALL_READS,
    "auditor": _ALL_READS,
}
_WITHOUT_END = {"/live"}
#: Who has what price is no secret.
_FOR_ALL = {"/models"}
_OPEN = {"/", "/sign-in", "/sign-in/mail", "/sign-in/link", "/sign-out"}
_ROLES = tuple(_READS)


def routes() -> Iterator[tuple[str, str]]:
    """Every route of the console: method and path."""
    for module in _PAGES:
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods:
                yield method, route.path


def test_every_route_is_in_somebodys_hands() -> None:
    reads = {path for method, path in routes() if method == "GET"} - _OPEN
    assert reads == set().union(*_READS.values())


@pytest.fixture
async def full(money: LowMoney) -> Scene:
    return await full_scene(money)


async def test_every_role_gets_what_is_its_own_and_nothing_else(full: Scene, console_url: str) -> None:
    names = await _names(full)
    for role in _ROLES:
        with signed_in(console_url, full.secrets[role]) as browser:
            token = csrf_of(browser) if role not in ("operator", "auditor") else _token(browser)
            for method, path in routes():
                if path in _OPEN:
                    continue
                address = "/console" + path.format(**names)
                if method == "GET":
                    expected = 200 if path in _READS[role] else 403
                    with browser.stream("GET", address) as answer:  # one of them has no end
                        assert answer.status_code == expected, (role, method, path)
                elif not _may(role, path):
                    answer = browser.post(address, data={"csrf": token} | _VALID)
                    assert answer.status_code == 403, (role, method, path)
    assert (await audit(full.money.engine)).ok


#: Fields that every form would take: what is refused is refused for who asks.
_VALID = {
    "amount": "5",
    "once": "once-and-for-all",
    "reason": "because",
    "frozen": "true",
    "topup_id": "top_1",
    "preset": "light",
    "threshold": "5",
    "plan_id": "plan_1",
    "model": "m",
    "input": "1",
    "output": "1",
    "address": "a@example.com",
    "url": "https://example.com/hooks",
    "enabled": "true",
    "role": "billing",
}


def _may(role: str, path: str) -> bool:
    if path.startswith("/team"):
        return role in ("owner", "operator")
    mine = path.startswith(_ACCOUNT_WRITES)
    return (role == "owner" and mine) or (role == "operator" and not mine)


def _token(browser: Any) -> str:
    return str(re.search(r'name="csrf" value="(\w+)"', browser.get("/console/log").text)[1])  # type: ignore[index]


async def _names(scene: Scene) -> dict[str, Any]:
    """What stands for the variable parts of a path: things that exist, of the account."""
    rows = scene.money.rows
    seq = await rows(
        "SELECT max(transfer_seq) AS seq FROM usage_records WHERE account_id = :id", id=scene.account_id
    )
    number = await rows("SELECT document ->> 'number' AS number FROM invoices")
    card = await rows("SELECT payment_method_id AS id FROM payment_customers")
    entry = await rows("SELECT entry_id AS id FROM quarantine")
    recipient = await rows("SELECT recipient_id AS id FROM mail_recipients")
    member = await rows("SELECT member_id AS id FROM members WHERE account_id = :id", id=scene.account_id)
    delivery = await rows("SELECT target_id, delivery_id AS id FROM alert_deliveries")
    return {
        "seq": seq[0]["seq"],
        "number": number[0]["number"],
        "month": f"{utc_now():%Y-%m}",
        "card_id": card[0]["id"],
        "entry_id": entry[0]["id"],
        "account_id": scene.account_id,
        "api_key_id": scene.key_ids["agents"],
        "difference_id": "dif_1",
        "recipient_id": recipient[0]["id"],
        "endpoint_id": delivery[0]["target_id"],
        "delivery_id": delivery[0]["id"],
        "member_id": member[0]["id"],
    }


async def test_another_accounts_things_do_not_exist(full: Scene, console_url: str) -> None:
    """Every route that an owner may use, as the owner of another account, with the ids of the first."""
    names = await _names(full)
    secrets = (full.account_id, *full.key_ids.values(), "orthwind", "4242", "claude-sonnet-4-5")
    with signed_in(console_url, full.secrets["stranger"]) as stranger:
        for method, path in routes():
            address = path.format(**names)
            if method == "GET" and path in _READS["owner"] - _WITHOUT_END - _FOR_ALL:
                answer = stranger.get(f"/console{address}")
                own = "{" not in path or "{month}" in path
                assert answer.status_code == (200 if own else 404), path
                seen = _text(answer).replace(full.key_ids["stranger"], "")
                assert not [secret for secret in secrets if secret in seen], path
            elif method == "POST" and _may("owner", path) and "{" in path:
                assert submit(stranger, address, enabled="false").status_code == 303
                assert 'class="notice problem"' in stranger.get("/console/").text, path
    with signed_in(console_url, full.secrets["owner"]) as owner:
        assert "4242" in owner.get("/console/cards").text
        assert owner.get("/console/keys").text.count(">Revoked<") == 0
        assert owner.get("/console/team").text.count("northwind.example") > 0


def _text(answer: httpx.Response) -> str:
    if answer.headers["content-type"] != "application/pdf":
        return answer.text
    return " ".join(page.extract_text() for page in PdfReader(BytesIO(answer.content)).pages)


async def test_a_member_sees_what_its_own_key_used(full: Scene, console_url: str) -> None:
    with signed_in(console_url, full.secrets["member"]) as member:
        html, table = member.get("/console/usage").text, member.get("/console/usage.csv").text
    assert full.key_ids["agents"] not in html + table
    rows = table.splitlines()[1:]
    assert rows
    assert all(full.key_ids["member"] in row for row in rows)


async def test_the_csv_adds_up_to_the_books(full: Scene, console_url: str) -> None:
    with signed_in(console_url, full.secrets["owner"]) as owner:
        header, *rows = owner.get("/console/usage.csv?step=month&days=90").text.splitlines()
    place = header.split(",").index("charge_nanos")
    total = sum(int(row.split(",")[place]) for row in rows)
    query = "SELECT sum(charge_nanos)::bigint AS sum FROM usage_records WHERE account_id = :id"
    assert total == (await full.money.rows(query, id=full.account_id))[0]["sum"]


async def test_an_operator_adjusts_once_and_it_is_written_down(scene: Scene, console_url: str) -> None:
    here = f"/accounts/{scene.account_id}"
    with signed_in(console_url, scene.secrets["operator"]) as operator:
        token = _token(operator)
        form = {"csrf": token, "once": "0123456789abcdef", "amount": "-2.50", "reason": "over-charged"}
        for _ in range(2):
            assert operator.post(f"/console{here}/adjust", data=form).status_code == 303
        refused = operator.post(f"/console{here}/adjust", data=form | {"amount": "0"})
        assert refused.status_code == 303
        wrong = operator.post(f"/console{here}/adjust", data=form | {"amount": "7"})
        assert wrong.status_code == 303
        assert "was used for another credit" in operator.get("/console/log").text
    assert await scene.money.balance(scene.account_id) == 37_500_000_000
    actions = await scene.money.rows("SELECT * FROM operator_actions ORDER BY action_id")
    assert [each["actor"] for each in actions] == [scene.key_ids["operator"]] * 3
    assert [each["outcome"] for each in actions[:2]] == ["done", "done"]
    assert actions[2]["outcome"].startswith("refused: ")
    assert (actions[0]["account_id"], actions[0]["detail"]) == (scene.account_id, "−$2.50: over-charged")  # noqa: RUF001
    assert (await audit(scene.money.engine)).ok


async def test_an_operator_freezes_and_thaws(scene: Scene, console_url: str) -> None:
    query = "SELECT frozen FROM accounts WHERE account_id = :id"
    with signed_in(console_url, scene.secrets["operator"]) as operator:
        for frozen in ("true", "false"):
            form = {"csrf": _token(operator), "frozen": frozen, "reason": "a dispute"}
            operator.post(f"/console/accounts/{scene.account_id}/freeze", data=form)
            assert str((await scene.money.rows(query, id=scene.account_id))[0]["frozen"]).lower() == frozen


async def test_a_refund_is_of_the_accounts_own_top_up(full: Scene, console_url: str) -> None:
    topup = (await full.money.rows("SELECT topup_id FROM topups WHERE state = 'succeeded'"))[0]["topup_id"]
    with signed_in(console_url, full.secrets["operator"]) as operator:
        form = {"csrf": _token(operator), "topup_id": topup, "amount": "5", "reason": "asked"}
        for number, account_id in enumerate((full.other_id, full.account_id)):
            once = {"once": f"a-refund-{number}"}
            operator.post(f"/console/accounts/{account_id}/refund", data=form | once)
    refunds = await full.money.rows("SELECT account_id, amount_nanos FROM refunds")
    assert [(each["account_id"], each["amount_nanos"]) for each in refunds] == [(full.account_id, 5 * DOLLAR)]


async def test_an_operator_makes_accounts_sets_prices_and_dismisses(full: Scene, console_url: str) -> None:
    entry = (await full.money.rows("SELECT entry_id AS id FROM quarantine"))[0]["id"]
    with signed_in(console_url, full.secrets["operator"]) as operator:
        token = {"csrf": _token(operator)}
        made = operator.post("/console/accounts", data=token | {"name": "<b>New</b>", "plan_id": ""})
        assert "&lt;b&gt;New" in made.text
        secret = str(re.search(r">(sk-[\w-]+)<", made.text)[1])  # type: ignore[index]
        price = {"model": "brand-new", "input": "$1,000.5", "output": "2", "cache_read": ""}
        operator.post("/console/prices", data=token | price)
        assert "brand-new" in operator.get("/console/prices?search=brand").text
        operator.post(f"/console/quarantine/{entry}/dismiss", data=token | {"reason": "a test"})
        operator.post("/console/reconciliation/run", data=token)
        assert "Compared 1 payments" in operator.get("/console/reconciliation").text
    with signed_in(console_url, secret) as owner:
        assert owner.get("/console/").status_code == 200
    statuses = await full.money.rows("SELECT status FROM quarantine")
    assert [each["status"] for each in statuses] == ["dismissed"]


async def test_an_auditors_key_reads_the_operators_api_and_changes_nothing(
    scene: Scene, console_url: str
) -> None:
    path = f"/v1/admin/accounts/{scene.account_id}"
    change = {"amount": "1", "reason": "a test"}
    for role, statuses in (("auditor", (200, 403)), ("operator", (200, 201)), ("service", (403, 403))):
        with httpx.Client(headers={"Authorization": f"Bearer {scene.secrets[role]}"}) as program:
            read = program.get(f"{console_url}{path}")
            changed = program.post(f"{console_url}{path}/adjustments", json=change)
        assert (read.status_code, changed.status_code) == statuses
    (action,) = await scene.money.rows("SELECT * FROM operator_actions")
    assert (action["actor"], action["account_id"]) == (scene.key_ids["operator"], scene.account_id)
    assert action["action"] == f"POST {path}/adjustments"
    assert action["outcome"] == "done"
    assert "a test" in action["detail"]


async def test_what_is_wrong_with_a_form_is_said_where_it_was(scene: Scene, console_url: str) -> None:
    with signed_in(console_url, scene.secrets["owner"]) as owner:
        for path, fields, said in (
            ("/add-funds/card", {"amount": "4"}, "at least $5"),
            ("/add-funds/card", {"amount": "x"}, "dollars such as 12.50"),
            ("/auto-topup/preset", {"preset": "huge"}, "Preset"),
            ("/auto-topup", {"threshold": "5", "amount": "20"}, "needs a card"),
            ("/subscription", {"plan_id": "plan_none"}, "There is no plan"),
            ("/keys", {"limit": "-1"}, "dollars such as 12.50"),
            ("/alerts/settings", {"low": "5", "warning": "9"}, "descend from low"),
            ("/alerts/settings", {"quota_percent": "80 lots"}, "Quota percent"),
            ("/alerts/settings", {"quiet_start": "22:00"}, "a beginning and an end"),
        ):
            answer = submit(owner, path, **fields)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/console{path}")
            assert said in owner.get("/console/").text
        assert 'role="alert"' not in owner.get("/console/").text


def test_hostile_addresses_are_answered(scene: Scene, console_url: str) -> None:
    with signed_in(console_url, scene.secrets["owner"]) as owner, client(console_url) as nobody:
        for path in (
            "transactions/0",
            "transactions/99999999999999999999",
            "transactions?cursor=x",
            "transactions?since=never",
            "usage?days=-1&step=year",
            "usage.csv?days=1000",
            "invoices/%00.pdf",
            "alerts?cursor=MQ%00",
            "static/../app.py",
            "static/%2e%2e/app.py",
        ):
            assert 400 <= owner.get(f"/console/{path}").status_code < 500, path
            assert nobody.get(f"/console/{path}").status_code in (303, 400, 404), path
