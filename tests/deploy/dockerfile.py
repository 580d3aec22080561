"""The steps of the Dockerfile."""

import re
from dataclasses import dataclass

from deploy_files import DEPLOY

DOCKERFILE = DEPLOY / "Dockerfile"


@dataclass(frozen=True)
class Step:
    """An instruction and what stands behind it, on one line."""

    instruction: str
    value: str


def stages() -> list[list[Step]]:
    """Return the steps of each stage, its FROM first; what stands before the first is left out."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    steps = [Step(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]
    begins = [number for number, step in enumerate(steps) if step.instruction == "FROM"]
    return [steps[start:end] for start, end in zip(begins, [*begins[1:], None], strict=True)]


def values(steps: list[Step], instruction: str) -> list[str]:
    return [step.value for step in steps if step.instruction == instruction]
