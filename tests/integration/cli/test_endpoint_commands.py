"""payg endpoint …, as programs see it."""

from payg_command import Inside

_URL = "https://hooks.example/payg"


def test_an_endpoint_from_its_making_to_its_end(inside: Inside) -> None:
    account_id = inside("account create").object["account_id"]
    made = inside(f"endpoint create {_URL} --account {account_id} --type balance.low --type topup.failed")
    endpoint_id, secret = made.object["endpoint_id"], made.object["secret"]
    assert secret.startswith("whsec_")
    (listed,) = inside(f"endpoint list --account {account_id}").objects
    assert listed["event_types"] == ["balance.low", "topup.failed"]
    assert "secret" not in listed
    mine = f"{endpoint_id} --account {account_id}"
    assert inside(f"endpoint rotate {mine}").object["secret"] != secret
    assert inside(f"endpoint disable {mine}").object["enabled"] is False
    inside(f"endpoint replay {mine} --since 2026-01-01").assert_fails(1, "enable it first")
    assert inside(f"endpoint enable {mine}").object["enabled"] is True
    assert inside(f"endpoint deliveries {mine}").objects == []
    assert inside(f"endpoint replay {mine} --since 2026-01-01").object == {"replayed": 0}
    assert inside(f"endpoint remove {mine}").object == {"endpoint_id": endpoint_id, "removed": True}
    inside(f"endpoint rotate {mine}").assert_fails(1, endpoint_id)


def test_what_an_endpoint_gets_can_be_changed(inside: Inside) -> None:
    account_id = inside("account create").object["account_id"]
    endpoint_id = inside(f"endpoint create {_URL} --account {account_id}").object["endpoint_id"]
    mine = f"{endpoint_id} --account {account_id}"
    few = inside(f"endpoint set {mine} --type balance.low --type topup.failed --description pager").object
    assert (few["event_types"], few["description"]) == (["balance.low", "topup.failed"], "pager")
    moved = inside(f"endpoint set {mine} --url {_URL}/2").object
    assert (moved["url"], moved["event_types"]) == (f"{_URL}/2", few["event_types"])
    assert inside(f"endpoint set {mine} --all-types").object["event_types"] == []
    inside(f"endpoint set {mine}").assert_fails(2, "--type")
    inside(f"endpoint set {mine} --type balance.low --all-types").assert_fails(2, "--all-types")
    inside(f"endpoint set {mine} --url https://169.254.169.254/").assert_fails(1, "public Internet")


def test_an_operators_endpoint_belongs_to_no_account(inside: Inside) -> None:
    made = inside(f"endpoint create {_URL} --type usage.quarantined").object
    assert made["account_id"] is None
    assert [each["endpoint_id"] for each in inside("endpoint list").objects] == [made["endpoint_id"]]
    inside(f"endpoint deliveries {made['endpoint_id']} --account acct_x").assert_fails(1, "no endpoint")


def test_what_is_wrong_is_said(inside: Inside) -> None:
    inside("endpoint create https://169.254.169.254/").assert_fails(1, "public Internet")
    inside("endpoint create http://hooks.example/").assert_fails(1, "https://")
    inside(f"endpoint create {_URL} --type balance.unknown").assert_fails(2, "balance.unknown")
    inside(f"endpoint create {_URL} --account acct_unknown").assert_fails(1, "acct_unknown")
    inside("endpoint replay ep_1").assert_fails(2, "--delivery", "--since")
    inside("endpoint replay ep_1 --delivery dlv_1").assert_fails(1, "ep_1")
