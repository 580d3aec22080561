"""The compose file, held against the schema of the compose specification."""

import re

import jsonschema
from check_jsonschema.builtin_schemas import get_builtin_schema
from deploy_files import DEPLOY, PROCESSES, SETTINGS, compose

from shared.settings import Settings

SERVERS = {"postgres", "rabbitmq", "redis"}


def test_compose_takes_the_file() -> None:
    jsonschema.validate(compose(), get_builtin_schema("vendor.compose-spec"))


def test_there_is_a_service_for_each_line_of_the_procfile() -> None:
    services = {name: each["command"] for name, each in compose()["services"].items() if name not in SERVERS}
    assert services == {**PROCESSES, "migrate": ["migrate"]}


def test_processes_run_without_privileges_on_a_read_only_root() -> None:
    for name, service in compose()["services"].items():
        if name not in SERVERS:
            assert service["read_only"], name
            assert service["tmpfs"] == ["/tmp"], name  # noqa: S108 - the container's own
            assert service["security_opt"] == ["no-new-privileges:true"], name
            assert service["cap_drop"] == ["ALL"], name
            assert int(service["stop_grace_period"].rstrip("s")) > Settings.model_fields["shutdown_s"].default


def test_nothing_starts_before_what_it_needs_is_healthy() -> None:
    services = compose()["services"]
    for name in PROCESSES:
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    for server in SERVERS:
        assert services[server]["healthcheck"]["test"][0] == "CMD"


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8080:8080"]


def test_only_settings_are_set() -> None:
    named = {key for service in compose()["services"].values() for key in service.get("environment", {})}
    servers_own = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
    servers_own |= {"RABBITMQ_DEFAULT_USER", "RABBITMQ_DEFAULT_PASS"}
    assert named - servers_own <= SETTINGS


def test_volumes_keep_what_the_servers_store() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    mounted = set(re.findall(r'"(\w+):/[\w/]+"\]', text))
    assert mounted == set(compose()["volumes"]) == SERVERS
