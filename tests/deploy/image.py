"""The Dockerfile performed without Docker: each step in a root of its own, by chroot in a mount namespace.

The programs of this machine stand in for the base image. What is locked by hash comes from this
environment, where `make` has installed it so; with ``full`` it is downloaded anew, as `docker build` would.
"""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from deploy_files import ROOT
from dockerfile import Step, stages, values

_FROM_THE_MACHINE = ("bin", "lib", "lib64", "sbin", "usr", "proc", "dev")
_LOCKED = "/locked"
_PYTHON = Path(sys._base_executable).resolve()  # noqa: SLF001 - the only name for what the venv was made of
_PATH = f"{_PYTHON.parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Image:
    """A root directory, and what the Dockerfile says of the process in it."""

    root: Path
    env: dict[str, str]
    user: str
    workdir: str
    entrypoint: list[str]
    health: list[str]

    def command(self, *arguments: str, env: dict[str, str] | None = None) -> list[str]:
        """Return how to run the entry point: as the image's user, with nothing to write to but /tmp."""
        variables = [f"{name}={value}" for name, value in {**self.env, **(env or {})}.items()]
        inside = [
            "chroot",
            f"--userspec={self.user}",
            str(self.root),
            "env",
            "-i",
            "-C",
            self.workdir,
            *variables,
        ]
        lock = f"mount -o remount,bind,ro {self.root}; mount -t tmpfs tmpfs {self.root}/tmp"  # noqa: S108 - its own
        return _in_namespace(self.root, f"{lock}; exec {shlex.join([*inside, *self.entrypoint, *arguments])}")


def build(place: Path, *, full: bool = False) -> Image:
    """Perform the steps of both stages in ``place``."""
    build_stage, image_stage = stages()
    _perform(build_stage, _new_root(place / "build"), place / "build", full=full)
    root = _new_root(place / "image")
    _perform(image_stage, root, place / "build", full=full)
    env = dict(part.split("=", 1) for part in values(image_stage, "ENV")[0].split())
    env["PATH"] = env["PATH"].replace("$PATH", _PATH)
    (user,), (workdir,) = values(image_stage, "USER"), values(image_stage, "WORKDIR")
    entrypoint = json.loads(values(image_stage, "ENTRYPOINT")[0])
    health = json.loads(values(image_stage, "HEALTHCHECK")[0].partition("CMD")[2])
    return Image(root, env, user, workdir, entrypoint, health)


def _new_root(root: Path) -> Path:
    root.mkdir(mode=0o755)
    for name in (*_FROM_THE_MACHINE, "tmp", "opt", _LOCKED.strip("/")):
        machines = Path("/", name)
        if machines.is_symlink():
            (root / name).symlink_to(machines.readlink())
        else:
            (root / name).mkdir(mode=0o755)
    shutil.copytree("/etc", root / "etc", symlinks=True, ignore_dangling_symlinks=True)
    (root / _home_of_python().relative_to("/")).mkdir(parents=True, exist_ok=True)
    return root


def _home_of_python() -> Path:
    return _PYTHON.parents[1]


def _perform(steps: list[Step], root: Path, built: Path, *, full: bool) -> None:
    workdir = "/"
    for step in steps:
        if step.instruction == "WORKDIR":
            workdir = step.value
            (root / workdir.strip("/")).mkdir(parents=True, exist_ok=True)
        elif step.instruction == "COPY":
            _copy(step.value.split(), root, workdir, built)
        elif step.instruction == "RUN":
            _run(root, workdir, step.value if full else _with_what_is_here(step.value))


def _with_what_is_here(run: str) -> str:
    """Replace the download of what is locked by what this environment has of it."""
    there = f"/opt/payg/lib/python3.{sys.version_info.minor}/site-packages/locked.pth"
    return re.sub(r"pip [^&]*--require-hashes[^&]*", f"echo {_LOCKED} > {there} ", run)


def _run(root: Path, workdir: str, script: str) -> None:
    inside = ["chroot", str(root), "env", "-C", workdir, f"PATH={_PATH}", "sh", "-ec", script]
    done = subprocess.run(
        _in_namespace(root, f"exec {shlex.join(inside)}"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"


def _in_namespace(root: Path, script: str) -> list[str]:
    """Return how to run a script where the machine's programs are mounted below ``root``."""
    mounts = [f"mount --bind {root} {root}"]
    mounts += [
        f"mount --rbind /{name} {root}/{name}"
        for name in _FROM_THE_MACHINE
        if not Path("/", name).is_symlink()
    ]
    if not _home_of_python().is_relative_to("/usr"):
        mounts.append(f"mount --bind {_home_of_python()} {root}{_home_of_python()}")
    mounts.append(f"mount --bind -o ro {sysconfig.get_path('purelib')} {root}{_LOCKED}")
    return ["unshare", "--mount", "sh", "-ec", "; ".join([*mounts, script])]


def _copy(words: list[str], root: Path, workdir: str, built: Path) -> None:
    *sources, target = [word for word in words if not word.startswith("--from=")]
    to = root / workdir.strip("/") / target if not target.startswith("/") else root / target.strip("/")
    if words[0].startswith("--from="):
        shutil.copytree(built / sources[0].strip("/"), to, symlinks=True)
    elif sources == ["."]:
        shutil.copytree(ROOT, to, ignore=_ignored, dirs_exist_ok=True)
    else:
        to.mkdir(parents=True, exist_ok=True)
        for source in sources:
            shutil.copy(ROOT / source, to)


def _ignored(directory: str, names: list[str]) -> set[str]:
    """Return the names that .dockerignore leaves out of the context."""
    patterns = (ROOT / ".dockerignore").read_text().split()
    at_top = Path(directory) == ROOT
    anywhere = [pattern.removeprefix("**/") for pattern in patterns if at_top or pattern.startswith("**/")]
    return {name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in anywhere)}
