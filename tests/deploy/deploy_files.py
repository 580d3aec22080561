"""The files of deploy/, read as Docker and kubectl read them."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sandbox.supervisor import read_procfile
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ("small", "large")
PROCESSES = {name: command.split()[1:] for name, command in read_procfile(ROOT / "Procfile").items()}
SETTINGS = {f"PAYG_{name.upper()}" for name in Settings.model_fields}

Object = dict[str, Any]


def tool(name: str, *arguments: str) -> str:
    """Run a program of this environment; return what it says, and fail where it fails."""
    command = [str(Path(sys.executable).parent / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def rendered(overlay: str) -> list[Object]:
    """Return the objects of an overlay, as `kubectl kustomize` puts them together."""
    text = tool("kubectl", "kustomize", str(DEPLOY / "k8s" / "overlays" / overlay))
    return list(yaml.safe_load_all(text))


def of_kind(overlay: str, kind: str) -> dict[str, Object]:
    """Return the objects of one kind by name."""
    return {each["metadata"]["name"]: each for each in rendered(overlay) if each["kind"] == kind}


def pods(overlay: str) -> dict[str, Object]:
    """Return the pods that the overlay's deployments and jobs make, by name."""
    made = {**of_kind(overlay, "Deployment"), **of_kind(overlay, "Job")}
    return {name: each["spec"]["template"]["spec"] for name, each in made.items()}


def container(pod: Object) -> Object:
    """Return the one container of a pod."""
    (only,) = pod["containers"]
    return dict(only)


def compose() -> Object:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))
