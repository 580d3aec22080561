"""Processes with a secret in each setting that can hold one fail in many ways, and show none of them."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import pytest
from canaries import BESIDE, CANARY, SECRET_SETTINGS, assert_none_in, with_password
from pydantic import SecretStr

from shared.settings import Settings, SettingsError, load_settings

PAYG = Path(sys.executable).with_name("payg")
MALFORMED = {
    "PAYG_DATABASE_URL": f"mysql://payg:{CANARY}@127.0.0.1/payg",
    "PAYG_BROKER_URL": f"http://payg:{CANARY}@127.0.0.1/",
    "PAYG_REDIS_URL": f"http://:{CANARY}@127.0.0.1/",
    "PAYG_STRIPE_API_KEY": f"sk_live_{CANARY}",
    "PAYG_SIGNING_KEY": CANARY,
    "PAYG_SMTP_URL": f"http://payg:{CANARY}@127.0.0.1",
}


def test_each_setting_that_may_hold_a_secret_is_looked_for() -> None:
    fields = Settings.model_fields.items()
    secret = {name for name, field in fields if SecretStr.__name__ in repr(field.annotation)}
    urls = {"database_url", "broker_url", "redis_url"}
    assert {f"PAYG_{name.upper()}" for name in secret | urls} == set(SECRET_SETTINGS)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_secret_is_named_and_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"PAYG_STRIPE_API_BASE": "http://127.0.0.1:9"} if name == "PAYG_STRIPE_API_KEY" else {}
    for key, value in {**SECRET_SETTINGS, **BESIDE, **more, name: MALFORMED[name]}.items():
        monkeypatch.setenv(key, value)
    load_settings.cache_clear()
    with pytest.raises(SettingsError) as refused:
        load_settings()
    load_settings.cache_clear()
    assert "PAYG_" in str(refused.value)
    assert CANARY not in str(refused.value)


def test_processes_that_reach_no_server_tell_no_secret(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Some have a database and no broker, others a broker and no database, others neither."""
    settings = {**os.environ, **SECRET_SETTINGS, **BESIDE, "PAYG_STRIPE_API_BASE": "http://127.0.0.1:9"}
    database = {"PAYG_DATABASE_URL": with_password(database_url)}
    commands = {
        "worker topup": database | {"PAYG_BROKER_URL": redis_url},
        "worker debit": {"PAYG_BROKER_URL": redis_url},
        "clock": {"PAYG_BROKER_URL": redis_url},
        "reconcile": database,
        "publish no-such-file": {},
        "audit": {},
    }

    def run(command: str) -> Path:
        output = tmp_path / command.replace(" ", "_")
        with output.open("wb") as file:
            process = subprocess.Popen(
                [PAYG, *command.split()],
                env={**settings, **commands[command]},
                stdout=file,
                stderr=file,
                cwd=tmp_path,
            )
        deadline = monotonic() + 120
        while output.stat().st_size == 0 and monotonic() < deadline:  # it has not failed yet
            sleep(0.05)
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return output

    with ThreadPoolExecutor(len(commands)) as threads:
        outputs = list(threads.map(run, commands))
    assert_none_in(outputs)
