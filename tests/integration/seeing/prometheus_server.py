"""A private Prometheus that scrapes the processes of a test."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import yaml

from sandbox.servers.errors import ServerError
from sandbox.servers.launched import Command
from sandbox.servers.network import LOOPBACK
from sandbox.servers.process import ServerProcess

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "payg.rules.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "payg.json"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]


def dashboard_queries() -> list[tuple[str, str]]:
    """Return the title and the query of every target of every panel."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], each["expr"]) for panel in panels for each in panel.get("targets", ())]


class Prometheus(ServerProcess):
    """Scrapes targets every second and evaluates the alert rules as often."""

    name: ClassVar[str] = "Prometheus"

    def __init__(self, directory: Path, targets: Sequence[str]) -> None:
        super().__init__(directory)
        self._targets = targets

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").is_success
        except httpx.HTTPError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression gives now; fails where it is wrong."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """Return each alert rule with its health and its state."""
        groups = httpx.get(f"{self.url}/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _prepare(self) -> Command:
        server = shutil.which("prometheus")
        if server is None:
            raise ServerError("Prometheus is not installed: `make servers` installs it")
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "payg", "static_configs": [{"targets": list(self._targets)}]}],
            "rule_files": [str(RULES)],
        }
        path = self.directory / "prometheus.yml"
        path.write_bytes(msgspec.json.encode(config))  # JSON is YAML
        arguments = [
            f"--config.file={path}",
            f"--storage.tsdb.path={self.data}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
        ]
        self.data.mkdir(mode=0o755, exist_ok=True)
        return Command([server, *arguments], env={"PATH": os.defpath})
