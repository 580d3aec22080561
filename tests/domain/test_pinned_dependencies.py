"""What is installed is what was locked: one version of each, by its hashes, wherever it comes from."""

import re
from pathlib import Path

import pytest

LOCKS = sorted((Path(__file__).parents[2] / "requirements").glob("*.txt"))
_PINNED = re.compile(r"[a-z0-9-]+==[^\s;]+( ; [^\\]+)? ?(\\\n    --hash=sha256:[0-9a-f]{64} ?)+")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.name))
def test_each_dependency_is_pinned_to_one_version_by_its_hashes(lock: Path) -> None:
    text = "\n".join(line for line in lock.read_text().splitlines() if line and not line.startswith("#"))
    entries = re.split(r"\n(?=\S)", text)
    assert [entry.splitlines()[0] for entry in entries if not _PINNED.fullmatch(entry)] == []
    assert "://" not in text, "a lock file names no registry"
