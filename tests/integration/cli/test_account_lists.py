"""Which accounts and plans there are, as commands."""

from payg_command import Inside


def test_accounts_are_searched_in_order_of_their_ids_and_gone_on_with(inside: Inside) -> None:
    names = ("bolt", "Bolster", "zeta")
    made = [inside(f"account create --name {name}").object["account_id"] for name in names]
    assert made == sorted(made)
    found = inside("accounts list --search bol").objects
    assert [(account["account_id"], account["name"]) for account in found] == [
        (made[0], "bolt"),
        (made[1], "Bolster"),
    ]
    assert (found[0]["balance_nanos"], found[0]["frozen"]) == (0, False)
    assert [account["name"] for account in inside(f"accounts list --search {made[2]}").objects] == ["zeta"]
    rest = inside(f"accounts list --after {made[0]} --limit 1").objects
    assert [account["account_id"] for account in rest] == [made[1]]
    everyone = inside("accounts list --limit 10000").objects
    assert {*made} <= {account["account_id"] for account in everyone}


def test_plans_are_listed_oldest_first(inside: Inside) -> None:
    made = [
        inside(f"plan create {name} --quota {quota} --time-zone Europe/Berlin").object["plan_id"]
        for name, quota in (("z-listed", 20), ("a-listed", 5))
    ]
    listed = [plan for plan in inside("plans list").objects if plan["plan_id"] in made]
    assert [(plan["plan_id"], plan["name"], plan["quota_nanos"], plan["time_zone"]) for plan in listed] == [
        (made[0], "z-listed", 20 * 10**9, "Europe/Berlin"),
        (made[1], "a-listed", 5 * 10**9, "Europe/Berlin"),
    ]
