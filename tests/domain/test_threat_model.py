"""The threat model names tests, and each of them is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| (?P<threat>[^|]+) \| (?P<stopped_by>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)
_TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


def test_each_threat_names_tests_and_they_exist() -> None:
    threats = (ROOT / "docs" / "threat-model.md").read_text().partition("\n## Threats\n")[2]
    rows = list(_ROW.finditer(threats))[1:]  # after the heading
    existing = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in _TEST.findall(file.read_text())
    }
    named = {row["threat"]: re.findall(r"`(\w+)`", row["tests"]) for row in rows}
    assert len(named) > 25
    assert [threat for threat, tests in named.items() if not tests] == []
    assert [each for tests in named.values() for each in tests if each not in existing] == []
