"""The Dockerfile: linted, and the rules that no linter knows."""

import re

from deploy_files import SETTINGS, tool
from dockerfile import DOCKERFILE, stages, values


def test_hadolint_finds_nothing() -> None:
    tool("hadolint", str(DOCKERFILE))


def test_what_builds_stays_behind() -> None:
    build, image = stages()
    assert values(build, "FROM") == ["${PYTHON_IMAGE} AS build"]
    assert values(image, "COPY") == ["--from=build /opt/payg /opt/payg"]
    assert not [value for value in values(image, "RUN") if "pip" in value or "apt" in value]


def test_the_base_is_named_by_version_and_can_be_pinned_to_a_digest() -> None:
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)


def test_every_package_is_locked_by_hash() -> None:
    installs = [part for run in values(stages()[0], "RUN") for part in run.split("&&") if " install " in part]
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]  # nothing but our own code


def test_it_runs_as_an_ordinary_user_by_number() -> None:
    """Kubernetes can tell a number from root; of a name it cannot know."""
    assert values(stages()[-1], "USER") == ["10001:10001"]


def test_no_secret_is_baked_in() -> None:
    assert not re.search(
        r"^(ARG|ENV).*(PASSWORD|SECRET|TOKEN|_KEY|_URL)", DOCKERFILE.read_text(), re.MULTILINE
    )


def test_only_settings_are_set() -> None:
    (env,) = values(stages()[-1], "ENV")
    assert set(re.findall(r"(PAYG_\w+)=", env)) <= SETTINGS
