"""A link that comes by mail lets its owner in once, and tells nobody who is known."""

import re
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from urllib.parse import urlsplit

import httpx
import pytest
from console_scene import Scene, client, csrf_of, signed_in, submit
from mail_server import MailServer
from polling import until
from sqlalchemy import text

from shared.domain.access import Role
from shared.operations.keys import revoke_key
from shared.operations.members import put_member, remove_member

_ADA = "ada@example.com"


@pytest.fixture
async def ada(scene: Scene) -> str:
    """The id of an owner."""
    return str((await put_member(scene.money.engine, scene.account_id, _ADA, Role.OWNER))["member_id"])


def ask(browser: httpx.Client, address: str = _ADA) -> httpx.Response:
    return browser.post("/console/sign-in/mail", data={"address": address})


def links_in(mail: EmailMessage) -> list[str]:
    """Return the addresses of a mail's links, without their host."""
    body = mail.get_body(("plain",))
    assert body is not None
    found = [urlsplit(url) for url in re.findall(r"http\S+", body.get_content())]
    return [f"{url.path}?{url.query}" for url in found]


def mailed(browser: httpx.Client, server: MailServer, address: str = _ADA) -> list[str]:
    """Ask for links, and return those that came."""
    before = len(server.taken)
    assert ask(browser, address).status_code == 200
    until(lambda: len(server.taken) > before)
    assert server.envelopes[-1][1] == [address.lower()]
    return links_in(server.taken[-1])


def use(browser: httpx.Client, link: str) -> httpx.Response:
    return browser.post("/console/sign-in/link", data={"token": link.partition("token=")[2]})


async def test_an_owner_gets_in_with_the_link_and_once_only(
    scene: Scene, ada: str, mailed_url: str, mail_server: MailServer
) -> None:
    with client(mailed_url) as browser, client(mailed_url) as thief:
        [link] = mailed(browser, mail_server, "Ada@Example.com")
        [row] = await scene.money.rows("SELECT sign_in_links::text AS row FROM sign_in_links")
        assert link.partition("token=")[2] not in row["row"]
        for _ in range(2):  # a program that looks at the mail opens the link, and uses nothing up
            assert _ADA in browser.get(link).text
        answer = use(browser, link)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
        assert "Northwind Labs" in browser.get("/console/").text
        for again in (thief.get(link), use(thief, link), use(thief, link[:-1]), use(thief, "token=é")):
            assert again.status_code == 401
            assert "Ask for another" in again.text
            assert "set-cookie" not in again.headers
    rows = await scene.money.rows("SELECT member_id FROM members WHERE signed_in_at IS NOT NULL")
    assert [row["member_id"] for row in rows] == [ada]


@pytest.mark.usefixtures("ada")
async def test_of_ten_who_use_a_link_at_once_one_gets_in(mailed_url: str, mail_server: MailServer) -> None:
    with client(mailed_url) as browser:
        [link] = mailed(browser, mail_server)
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: use(client(mailed_url), link).status_code, range(10)))
    assert sorted(answers) == [303] + [401] * 9


@pytest.mark.usefixtures("ada")
async def test_a_link_is_over_after_fifteen_minutes(
    scene: Scene, mailed_url: str, mail_server: MailServer
) -> None:
    with client(mailed_url) as browser:
        [link] = mailed(browser, mail_server)
        [left] = await scene.money.rows(
            "SELECT expires_at - now() BETWEEN '14 min' AND '15 min' AS right FROM sign_in_links"
        )
        assert left["right"]
        async with scene.money.engine.begin() as connection:
            await connection.execute(text("UPDATE sign_in_links SET expires_at = now()"))
        assert browser.get(link).status_code == 401
        assert use(browser, link).status_code == 401


@pytest.mark.usefixtures("ada")
async def test_the_answer_does_not_tell_who_is_known(mailed_url: str, mail_server: MailServer) -> None:
    with client(mailed_url) as browser:
        known, unknown, nonsense = [ask(browser, each) for each in (_ADA, "eve@example.com", "é\r\nBcc: x")]
        pages = [
            answer.text.replace(name, "…") for answer, name in ((known, _ADA), (unknown, "eve@example.com"))
        ]
        until(lambda: mail_server.taken != [])
    assert known.status_code == unknown.status_code == nonsense.status_code == 200
    assert pages[0] == pages[1]
    assert {**known.headers, "date": "", "content-length": ""} == {
        **unknown.headers,
        "date": "",
        "content-length": "",
    }
    assert [to for _, to in mail_server.envelopes] == [[_ADA]]


@pytest.mark.usefixtures("ada")
async def test_a_link_opens_its_own_account_and_no_other(
    scene: Scene, mailed_url: str, mail_server: MailServer
) -> None:
    await put_member(scene.money.engine, scene.other_id, _ADA, Role.BILLING)
    with client(mailed_url) as browser:
        links = mailed(browser, mail_server)
        seen = []
        for link in links:
            assert use(browser, link).status_code == 303
            html = browser.get("/console/").text
            seen.append({name for name in ("Northwind Labs", "Somebody else") if name in html})
            assert (">Owner</span>" in html) == ("Northwind Labs" in html)
    assert seen == [{"Northwind Labs"}, {"Somebody else"}]


@pytest.mark.parametrize(
    ("role", "first_page"), [(Role.OPERATOR, "/console/accounts"), (Role.AUDITOR, "/console/accounts")]
)
async def test_people_of_the_platform_get_in_by_mail(
    scene: Scene, mailed_url: str, mail_server: MailServer, role: Role, first_page: str
) -> None:
    await put_member(scene.money.engine, None, _ADA, role)
    with client(mailed_url) as browser:
        [link] = mailed(browser, mail_server)
        assert use(browser, link).headers["location"] == first_page
        html = browser.get(f"/console/accounts/{scene.account_id}").text
    assert ("Adjust" in html) == (role is Role.OPERATOR)


async def test_a_member_sees_what_its_key_used_until_the_key_is_revoked(
    scene: Scene, mailed_url: str, mail_server: MailServer
) -> None:
    engine, key = scene.money.engine, scene.key_ids["member"]
    await put_member(engine, scene.account_id, _ADA, Role.MEMBER, key)
    await scene.use(3, days=1)
    await scene.use(2, key="billing", days=1)
    with client(mailed_url) as browser:
        [link, spare] = mailed(browser, mail_server) + mailed(browser, mail_server)
        assert use(browser, link).headers["location"] == "/console/usage"
        rows = browser.get("/console/usage.csv").text.splitlines()[1:]
        assert rows
        assert all(key in row for row in rows)
        await revoke_key(engine, key)
        assert browser.get("/console/usage").status_code == 303
        use(browser, spare)
        assert browser.get("/console/usage").status_code == 303
        ask(browser)
        assert len(mail_server.taken) == 2


async def test_who_was_removed_is_out_at_once(
    scene: Scene, ada: str, mailed_url: str, mail_server: MailServer
) -> None:
    with client(mailed_url) as browser:
        [link, spare] = mailed(browser, mail_server) + mailed(browser, mail_server)
        use(browser, link)
        await remove_member(scene.money.engine, scene.account_id, ada)
        assert browser.get("/console/").headers["location"] == "/console/sign-in"
        assert use(browser, spare).status_code == 401


@pytest.mark.usefixtures("ada")
async def test_nobody_is_flooded_with_links(scene: Scene, mailed_url: str, mail_server: MailServer) -> None:
    with client(mailed_url) as browser:
        answers = [ask(browser) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert answers[-1].headers["retry-after"]
    until(lambda: len(mail_server.taken) == 5)
    [row] = await scene.money.rows("SELECT count(*) FROM sign_in_links")
    assert row["count"] == 5


def test_no_other_site_asks_for_a_link_or_uses_one(mailed_url: str) -> None:
    with client(mailed_url) as browser:
        browser.headers["Origin"] = "https://evil.test"
        assert ask(browser).status_code == 403
        assert use(browser, "token=x").status_code == 403


def test_without_a_mail_server_there_is_no_link_to_ask_for(console_url: str) -> None:
    with client(console_url) as browser:
        assert "Mail address" not in browser.get("/console/sign-in").text
        assert ask(browser).status_code == 404


async def test_an_owner_lets_people_in_and_out(scene: Scene, console_url: str) -> None:
    with signed_in(console_url, scene.secrets["owner"]) as owner:
        for fields, said in (
            ({"role": "billing"}, f"{_ADA} may sign in as billing"),
            ({"role": "member"}, "is of one key"),
            ({"role": "member", "api_key_id": scene.key_ids["stranger"]}, "no key"),
            ({"role": "operator"}, "no role in an account"),
            ({"role": "member", "api_key_id": scene.key_ids["member"]}, f"{_ADA} may sign in as member"),
        ):
            submit(owner, "/team", address=" Ada@example.com", **fields)
            assert said in owner.get("/console/team").text
        [row] = await scene.money.rows("SELECT member_id, role, api_key_id FROM members")
        assert (row["role"], row["api_key_id"]) == ("member", scene.key_ids["member"])
        with signed_in(console_url, scene.secrets["stranger"]) as stranger:
            submit(stranger, f"/team/{row['member_id']}/remove")
            assert len(await scene.money.rows("SELECT 1 FROM members")) == 1
        submit(owner, f"/team/{row['member_id']}/remove")
    assert await scene.money.rows("SELECT 1 FROM members") == []


async def test_what_an_operator_lets_in_is_written_down(scene: Scene, console_url: str) -> None:
    with signed_in(console_url, scene.secrets["operator"]) as operator:
        token = {"csrf": csrf_of(operator, "/console/team")}
        operator.post("/console/team", data=token | {"address": "audit@example.com", "role": "auditor"})
        account = f"/console/accounts/{scene.account_id}"
        operator.post(f"{account}/members", data=token | {"address": _ADA, "role": "owner"})
        assert _ADA in operator.get(account).text
    rows = await scene.money.rows("SELECT account_id, detail FROM operator_actions ORDER BY action_id")
    assert [(row["account_id"], row["detail"]) for row in rows] == [
        (None, "audit@example.com as auditor"),
        (scene.account_id, f"{_ADA} as owner"),
    ]
