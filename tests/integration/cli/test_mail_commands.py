"""Who gets mail about an account, as commands."""

from payg_command import Inside


def test_addresses_are_added_listed_and_removed(inside: Inside) -> None:
    account = inside("account create").object["account_id"]
    assert inside(f"account mail {account}").objects == []
    added = inside(f"account mail {account} --to ops@example.com --type balance.critical").object
    assert (added["address"], added["event_types"], added["enabled"]) == (
        "ops@example.com",
        ["balance.critical"],
        True,
    )
    assert inside(f"account mail {account}").objects == [added]
    all_types = inside(f"account mail {account} --to ops@example.com").object
    assert all_types == added | {"event_types": []}
    removed = inside(f"account mail {account} --remove {added['recipient_id']}").object
    assert removed["removed"] is True
    assert inside(f"account mail {account}").objects == []


def test_what_cannot_be_is_refused(inside: Inside) -> None:
    account = inside("account create").object["account_id"]
    inside(f"account mail {account} --to nowhere").assert_fails(1, "must be an address")
    inside(f"account mail {account} --remove mail_none").assert_fails(1, "mail_none")
    inside(f"account mail {account} --type balance.low").assert_fails(2, "--to")
    inside(f"account mail {account} --to a@b.test --type no.such").assert_fails(2, "no.such")
    inside("account mail acct_none").assert_fails(1, "acct_none")
