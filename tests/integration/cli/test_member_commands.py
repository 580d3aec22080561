"""Who signs in to the console by mail, as commands."""

from payg_command import Inside


def test_members_are_let_in_change_their_role_and_are_removed(inside: Inside) -> None:
    made = inside("account create").object
    account, key = made["account_id"], made["api_key_id"]
    ada = inside(f"member put Ada@example.com --role owner --account {account}").object
    assert (ada["address"], ada["role"], ada["signed_in_at"]) == ("ada@example.com", "owner", None)
    again = inside(f"member put ada@example.com --role member --key {key} --account {account}").object
    assert again == ada | {"role": "member", "api_key_id": key}
    [listed] = inside(f"member list --account {account}").objects
    assert listed["member_id"] == ada["member_id"]
    auditor = inside("member put eve@example.com --role auditor").object
    assert auditor["account_id"] is None
    inside(f"member remove {ada['member_id']}").assert_fails(1, "there is no member")
    assert inside(f"member remove {ada['member_id']} --account {account}").object["removed"] is True
    inside("member put a@example.com --role owner").assert_fails(1, "no role of the platform")
    inside(f"member put nowhere --role owner --account {account}").assert_fails(1, "must be an address")
