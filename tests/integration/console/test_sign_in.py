"""Who gets into the console, and who does not any more."""

import httpx
import pytest
from console_scene import ADMIN_KEY, Scene, client, csrf_of, signed_in, submit
from low_money import LowMoney
from sqlalchemy import text

from api.console.viewer import COOKIE
from shared.operations.keys import revoke_key


@pytest.mark.parametrize(
    ("role", "first_page"),
    [
        ("owner", "/console/"),
        ("billing", "/console/"),
        ("member", "/console/usage"),
        ("operator", "/console/accounts"),
        ("auditor", "/console/accounts"),
    ],
)
def test_each_role_begins_at_its_own_page(scene: Scene, console_url: str, role: str, first_page: str) -> None:
    with client(console_url) as browser:
        answer = browser.post("/console/sign-in", data={"key": f" {scene.secrets[role]} "})
        assert (answer.status_code, answer.headers["location"]) == (303, first_page)
        assert browser.get(first_page).status_code == 200


def test_the_operators_key_of_the_settings_gets_in(scene: Scene, console_url: str) -> None:  # noqa: ARG001
    with signed_in(console_url, ADMIN_KEY) as browser:
        assert browser.get("/console/accounts").status_code == 200


def test_an_unknown_key_and_a_gateways_do_not(scene: Scene, console_url: str) -> None:
    with client(console_url) as browser:
        for secret in ("sk-unknown", "", scene.secrets["service"], "admin-secre", "\x00", "é"):
            answer = browser.post("/console/sign-in", data={"key": secret})
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers


def test_without_a_session_every_page_leads_to_the_door(console_url: str) -> None:
    with client(console_url) as browser:
        for path in ("/console", "/console/", "/console/usage.csv", "/console/accounts", "/console/keys"):
            answer = browser.get(path, follow_redirects=True)
            assert answer.url.path == "/console/sign-in"


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(scene: Scene, console_url: str) -> None:
    with client(console_url) as browser:
        answer = browser.post("/console/sign-in", data={"key": scene.secrets["owner"]})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/console" in cookie


async def test_the_token_is_stored_as_a_hash_only(scene: Scene, console_url: str, money: LowMoney) -> None:
    with signed_in(console_url, scene.secrets["owner"]) as browser:
        token = browser.cookies[COOKIE]
    rows = await money.rows("SELECT console_sessions::text AS row FROM console_sessions")
    assert len(rows) == 1
    assert token not in rows[0]["row"]
    assert scene.secrets["owner"] not in rows[0]["row"]


async def test_a_session_is_over_with_its_key(scene: Scene, console_url: str, money: LowMoney) -> None:
    with signed_in(console_url, scene.secrets["owner"]) as browser:
        await revoke_key(money.engine, scene.key_ids["owner"])
        assert browser.get("/console/").headers["location"] == "/console/sign-in"


async def test_a_session_is_over_after_a_while(scene: Scene, console_url: str, money: LowMoney) -> None:
    with signed_in(console_url, scene.secrets["owner"]) as browser:
        async with money.engine.begin() as connection:
            await connection.execute(text("UPDATE console_sessions SET expires_at = now()"))
        assert browser.get("/console/").headers["location"] == "/console/sign-in"


def test_signing_out_ends_the_session_wherever_its_cookie_went(scene: Scene, console_url: str) -> None:
    with signed_in(console_url, scene.secrets["owner"]) as browser, client(console_url) as thief:
        thief.cookies = httpx.Cookies(browser.cookies)
        assert thief.get("/console/").status_code == 200
        assert submit(browser, "/sign-out").status_code == 303
        assert thief.get("/console/").status_code == 303


def test_who_fails_too_often_waits(scene: Scene, console_url: str) -> None:
    with client(console_url) as browser:
        answers = [browser.post("/console/sign-in", data={"key": "sk-no"}).status_code for _ in range(11)]
        assert answers == [401] * 10 + [429]
        right = browser.post("/console/sign-in", data={"key": scene.secrets["owner"]})
        assert right.status_code == 429
        assert right.headers["retry-after"]


def test_a_form_of_another_site_does_nothing(scene: Scene, console_url: str) -> None:
    with signed_in(console_url, scene.secrets["owner"]) as browser:
        token = csrf_of(browser)
        fields = {"name": "forged"}
        forged = [
            browser.post("/console/keys", data=fields),
            browser.post("/console/keys", data=fields | {"csrf": "0" * 64}),
            browser.post("/console/keys", data=fields | {"csrf": "é"}),
            browser.post(
                "/console/keys", data=fields | {"csrf": token}, headers={"Origin": "https://evil.test"}
            ),
            browser.post(
                "/console/keys", data=fields | {"csrf": token}, headers={"Sec-Fetch-Site": "cross-site"}
            ),
        ]
        assert [answer.status_code for answer in forged] == [403] * 5
        assert "forged" not in browser.get("/console/keys").text


def test_nobody_is_signed_in_from_another_site(scene: Scene, console_url: str) -> None:
    with client(console_url) as browser:
        other = {"Origin": "https://evil.test"}
        answer = browser.post("/console/sign-in", data={"key": scene.secrets["stranger"]}, headers=other)
        assert answer.status_code == 403


def test_a_page_loads_from_here_alone_and_is_kept_nowhere(scene: Scene, console_url: str) -> None:
    with signed_in(console_url, scene.secrets["owner"]) as browser:
        for path in ("/console/", "/console/nowhere", "/console/sign-in"):
            headers = browser.get(path).headers
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'self'; object-src 'none'")
            assert "unsafe" not in policy
            assert headers["cache-control"] == "no-store"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "same-origin"
