"""payg account alerts: an account's own bounds, quiet hours and rules."""

import pytest
from payg_command import Inside

DOLLAR = 10**9


@pytest.fixture
def account(inside: Inside) -> str:
    return str(inside("account create").object["account_id"])


def test_alert_settings_are_shown_changed_and_cleared(inside: Inside, account: str) -> None:
    assert inside(f"account alerts {account}").object["low_nanos"] == 20 * DOLLAR
    changed = inside(
        f"account alerts {account} --low 50 --quiet 22:00-07:00 --time-zone Europe/Berlin"
        " --quota-share 50,80 --balance 1.50 --time-to-empty 60 --spend-per-day 25"
    ).object
    assert changed == inside(f"account alerts {account}").object
    assert (changed["low_nanos"], changed["warning_nanos"]) == (50 * DOLLAR, 10 * DOLLAR)
    assert (changed["quiet_start"], changed["quiet_end"]) == ("22:00", "07:00")
    assert (changed["quota_share"], changed["balance"]) == ([80, 50], [3 * DOLLAR // 2])
    assert inside(f"account show {account}").object["level"] == "exhausted"
    cleared = inside(f"account alerts {account} --low none --quiet none --quota-share none").object
    assert (cleared["low_nanos"], cleared["quiet_start"], cleared["quota_share"]) == (20 * DOLLAR, None, [])
    assert cleared["time_to_empty"] == [60]


def test_what_makes_no_sense_is_refused(inside: Inside, account: str) -> None:
    inside(f"account alerts {account} --low 1").assert_fails(1, "descend")
    inside(f"account alerts {account} --quota-share 100").assert_fails(1, "percent")
    inside(f"account alerts {account} --quota-share much").assert_fails(2, "--quota-share")
    inside(f"account alerts {account} --quiet 22-xx").assert_fails(2, "--quiet")
    inside(f"account alerts {account} --quiet 22:00-07:00 --time-zone Mars").assert_fails(1, "Mars")
    inside("account alerts acct_none").assert_fails(1, "acct_none")
