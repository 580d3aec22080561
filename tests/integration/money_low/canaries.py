"""Secrets of tests that must turn up nowhere, and the settings that hold them."""

import re
from collections.abc import Iterable
from pathlib import Path

#: A part of every one of them; hexadecimal, since one is a key.
CANARY = "5ec2e75ec2e7"
PASSWORD = f"pw{CANARY}"

#: Each setting that may hold a secret; the URLs of servers are those of a machine where nobody listens.
SECRET_SETTINGS = {
    "PAYG_DATABASE_URL": f"postgresql://payg:{PASSWORD}@127.0.0.1:9/payg",
    "PAYG_BROKER_URL": f"amqp://payg:{PASSWORD}@127.0.0.1:9/",
    "PAYG_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:9/0",
    "PAYG_STRIPE_API_KEY": f"sk_test_{CANARY}",
    "PAYG_STRIPE_WEBHOOK_SECRET": f"whsec_{CANARY}",
    "PAYG_SIGNING_KEY": (CANARY * 6)[:64],
    "PAYG_SMTP_URL": f"smtp+starttls://payg:{PASSWORD}@127.0.0.1:9",
    "PAYG_ADMIN_KEY": f"admin-{CANARY}",
}
BESIDE = {"PAYG_MAIL_FROM": "Acme Billing <billing@payg.test>", "PAYG_LOG_LEVEL": "debug"}


def with_password(url: str) -> str:
    """Return the URL of a server that asks for no password, with one."""
    return re.sub(r"//(\w+)@", rf"//\1:{PASSWORD}@", url)


def assert_none_in(files: Iterable[Path]) -> None:
    """No secret stands in what processes wrote, and most of them did write."""
    written = {file.name: file.read_text(errors="replace") for file in files}
    assert sum(map(bool, written.values())) > len(written) / 2, "who writes nothing shows nothing"
    for name, text in written.items():
        at = text.find(CANARY)
        assert at < 0, f"{name}: …{text[max(0, at - 300) : at + 60]}…"
