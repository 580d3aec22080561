"""The Kubernetes overlays, rendered by kustomize itself and held against the schemas of the API."""

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from deploy_files import DEPLOY, OVERLAYS, PROCESSES, SETTINGS, container, of_kind, pods, rendered
from keda_fields import as_scaled_object

from shared.messaging.definitions import users
from shared.messaging.topology import Stage, stage_queues
from shared.metrics import GAUGES
from shared.settings import Settings

#: The oldest and the newest Kubernetes that the manifests are held against.
KUBERNETES = ("1.31", "1.37")
SHUTDOWN_S = Settings.model_fields["shutdown_s"].default
DEBIT_QUEUES = Settings.model_fields["debit_queues"].default
#: Where each process may connect to: the servers of payg, and beyond the cluster who has work there.
NAME_SERVICE, SERVERS, HTTPS, MAIL = {53}, {5432, 6432, 5671, 5672, 6379, 4318}, {443}, {465, 587}
REACHES = dict.fromkeys([*PROCESSES, "migrate"], NAME_SERVICE | SERVERS) | {
    "topup": NAME_SERVICE | SERVERS | HTTPS,
    "clock": NAME_SERVICE | SERVERS | HTTPS,
    "api": NAME_SERVICE | SERVERS | HTTPS,
    "notifications": NAME_SERVICE | SERVERS | HTTPS | MAIL,
}

overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.mark.parametrize("version", KUBERNETES)
@overlays
def test_the_api_takes_every_object(overlay: str, version: str) -> None:
    for each in rendered(overlay):
        if each["apiVersion"].startswith("keda.sh/"):
            as_scaled_object(each)
        else:
            kubernetes_validate.validate(each, version, strict=True)


def test_a_field_that_the_api_does_not_know_is_found() -> None:
    wrong = {**of_kind("small", "Deployment")["debit"]}
    wrong["spec"] = {**wrong["spec"], "replica": 1}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


@overlays
def test_there_is_a_deployment_for_each_line_of_the_procfile(overlay: str) -> None:
    deployed = {name: container(pod)["args"] for name, pod in pods(overlay).items()}
    assert deployed == {**PROCESSES, "migrate": ["migrate"]}


@overlays
def test_pods_keep_to_the_restricted_standard_on_a_read_only_root(overlay: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    for name, pod in pods(overlay).items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert [list(volume) for volume in pod["volumes"]] == [["emptyDir", "name"]], name
        assert pod["automountServiceAccountToken"] is False, name
        assert set(container(pod)["resources"]) == {"requests", "limits"}, name


@overlays
def test_a_pod_is_given_longer_to_stop_than_a_process_takes(overlay: str) -> None:
    (configured,) = of_kind(overlay, "ConfigMap").values()
    assert int(configured["data"]["PAYG_SHUTDOWN_S"]) == SHUTDOWN_S
    for name, pod in pods(overlay).items():
        assert pod["terminationGracePeriodSeconds"] >= SHUTDOWN_S + 10, name


@overlays
def test_a_worker_is_started_again_when_it_leaves_its_file_alone(overlay: str, tmp_path: Path) -> None:
    (configured,) = of_kind(overlay, "ConfigMap").values()
    file = configured["data"]["PAYG_ALIVE_FILE"]
    for name in PROCESSES:
        probe = container(pods(overlay)[name])["livenessProbe"]
        if name == "api":
            assert probe["httpGet"]["path"] == "/healthz"
            continue
        *shell, script = probe["exec"]["command"]
        assert shell == ["sh", "-c"], name
        assert f"find {file} " in script, name
    mine = tmp_path / "alive"
    here = [*shell, script.replace(file, str(mine))]
    assert subprocess.run(here, check=False, stderr=subprocess.DEVNULL).returncode != 0
    mine.touch()
    assert subprocess.run(here, check=False).returncode == 0
    os.utime(mine, (time.time() - 31, time.time() - 31))
    assert subprocess.run(here, check=False).returncode != 0


@overlays
def test_at_most_one_pod_of_a_process_is_evicted_at_a_time(overlay: str) -> None:
    deployments, budgets = of_kind(overlay, "Deployment"), of_kind(overlay, "PodDisruptionBudget")
    assert budgets.keys() == deployments.keys()
    for name, budget in budgets.items():
        # Never minAvailable: with one copy that would keep a node from being drained.
        assert budget["spec"] == {"maxUnavailable": 1, "selector": deployments[name]["spec"]["selector"]}


@overlays
def test_only_settings_are_set(overlay: str) -> None:
    (configured,) = of_kind(overlay, "ConfigMap").values()
    named = {*configured["data"]}
    for pod in pods(overlay).values():
        named |= {variable["name"] for variable in container(pod).get("env", [])}
    assert named <= SETTINGS


@overlays
def test_secrets_are_named_and_never_written_down(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    (configured,) = of_kind(overlay, "ConfigMap").values()
    assert not [key for key in configured["data"] if key.endswith(("_URL", "_KEY", "_SECRET"))]
    for name, pod in pods(overlay).items():
        assert {"secretRef": {"name": "payg"}} in container(pod)["envFrom"], name
        assert all("secretKeyRef" in each["valueFrom"] for each in container(pod).get("env", [])), name


@overlays
def test_each_process_may_have_a_user_of_its_own_in_rabbitmq(overlay: str) -> None:
    named = {"api", "clock", *Stage}
    assert named < users(DEBIT_QUEUES).keys()
    for name in named:
        (url,) = (each for each in container(pods(overlay)[name])["env"] if each["name"] == "PAYG_BROKER_URL")
        assert url["valueFrom"]["secretKeyRef"] == {"name": "payg-broker", "key": name, "optional": True}


@overlays
def test_each_kind_of_process_may_have_a_role_of_its_own_in_the_database(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        (url,) = (each for each in container(pod)["env"] if each["name"] == "PAYG_DATABASE_URL")
        key = {"api": "api", "migrate": "owner"}.get(name, "workers")
        assert url["valueFrom"]["secretKeyRef"] == {"name": "payg-database", "key": key, "optional": True}


@overlays
def test_stripes_key_goes_to_those_who_speak_to_stripe(overlay: str) -> None:
    given = {name for name, pod in pods(overlay).items() if "PAYG_STRIPE_API_KEY" in str(pod)}
    assert given == {"topup", "clock", "api"}


@overlays
def test_prometheus_alone_connects_to_a_worker_and_each_reaches_what_it_needs(overlay: str) -> None:
    policies = [policy["spec"] for policy in of_kind(overlay, "NetworkPolicy").values()]
    senders = [rule.get("from") for policy in policies for rule in policy.get("ingress", [])]
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    (configured,) = of_kind(overlay, "ConfigMap").values()
    for name in set(PROCESSES) - {"api"}:
        (port,) = container(pods(overlay)[name])["ports"]
        assert port == {"name": "metrics", "containerPort": int(configured["data"]["PAYG_METRICS_PORT"])}
    assert senders == [None, [monitoring]]  # from anywhere to the HTTP tier
    for name in REACHES:
        labels = {"app.kubernetes.io/part-of": "payg", "app.kubernetes.io/name": name}
        mine = [policy for policy in policies if _selects(policy["podSelector"], labels)]
        assert {"Ingress", "Egress"} <= {each for policy in mine for each in policy["policyTypes"]}, name
        listens = {port["containerPort"] for port in container(pods(overlay)[name]).get("ports", [])}
        assert _ports(mine, "ingress") == listens, name
        assert _ports(mine, "egress") == REACHES[name], name


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    matched = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    among = selector.get("matchExpressions", [])
    return matched and all(
        (labels.get(each["key"]) in each["values"]) == {"In": True, "NotIn": False}[each["operator"]]
        for each in among
    )


def _ports(policies: list[dict[str, Any]], way: str) -> set[int]:
    return {port["port"] for policy in policies for rule in policy.get(way, []) for port in rule["ports"]}


def test_each_stage_scales_on_the_length_and_the_age_of_the_queues_that_it_consumes() -> None:
    scaled = {name: as_scaled_object(each).spec for name, each in of_kind("large", "ScaledObject").items()}
    assert {name: spec.scaleTargetRef.name for name, spec in scaled.items()} == {name: name for name in Stage}
    for name, spec in scaled.items():
        *lengths, age = (trigger.metadata for trigger in spec.triggers)
        queues = stage_queues(Stage(name), DEBIT_QUEUES)
        assert [length.queueName for length in lengths] == queues, name
        metric, way, pattern = re.fullmatch(r'max\(payg_(\w+)\{queue(=~?)"(.+)"\}\)', age.query).groups()
        assert metric in GAUGES
        assert all(re.fullmatch(pattern if way == "=~" else re.escape(pattern), queue) for queue in queues)
    (configured,) = of_kind("large", "ConfigMap").values()
    assert int(configured["data"]["PAYG_DEBIT_QUEUES"]) == DEBIT_QUEUES
    assert scaled["debit"].maxReplicaCount == DEBIT_QUEUES  # a queue has one consumer at a time


def test_what_keda_scales_has_no_number_of_copies_that_an_apply_would_put_back() -> None:
    deployments = of_kind("large", "Deployment")
    assert not [name for name in of_kind("large", "ScaledObject") if "replicas" in deployments[name]["spec"]]


@overlays
def test_images_are_of_this_version(overlay: str) -> None:
    pyproject = (DEPLOY.parent / "pyproject.toml").read_text()
    for pod in pods(overlay).values():
        assert f'version = "{container(pod)["image"].removeprefix("payg:")}"' in pyproject


def test_the_base_leaves_no_file_out() -> None:
    base = DEPLOY / "k8s" / "base"
    listed = yaml.safe_load((base / "kustomization.yaml").read_text())
    named = {*listed["resources"], *(patch["path"] for patch in listed["patches"]), "kustomization.yaml"}
    assert {path.name for path in base.iterdir()} == named
