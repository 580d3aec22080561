"""Who a server runs as when we are root and it refuses to be, and what that account can reach."""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sandbox.servers.errors import ServerError


class Account(NamedTuple):
    """A user and group of the system, by number."""

    uid: int
    gid: int


def unprivileged(data: Path) -> Account | None:
    """Return the account for a server that refuses root: None where we are an ordinary user anyway.

    As root it is the owner of `data` where that exists, so that data made by an ordinary user stays usable,
    and `nobody` otherwise: no account is created. Raises `ServerError` where the system has no `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        owner = data.stat()
        return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "PostgreSQL refuses to run as root and there is no user `nobody`: run as an ordinary user"
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def reachable(path: Path) -> bool:
    """Whether any user of the system may enter (or run) `path` and all the directories above it."""
    resolved = path.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (resolved, *resolved.parents))


def public_copy(above: Path, trees: Iterable[Path]) -> Path:
    """Copy directories below `above` into a new temporary one that stands for it, and return that.

    Any user may run programs there. The caller removes it. Raises `ServerError` where there is no place.
    """
    scratch = Path(tempfile.mkdtemp(prefix="payg-", dir=_place_for_programs()))
    for tree in trees:
        copy = scratch / tree.relative_to(above)
        shutil.copytree(tree, copy, ignore=shutil.ignore_patterns("*.a", "include", "pgxs", "doc"))
    for entry in (scratch, *scratch.rglob("*")):
        entry.chmod(0o755)  # whatever the umask was where they were installed; writable for root alone
    return scratch


def _place_for_programs() -> Path:
    for place in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")):  # noqa: S108
        if place.is_dir() and reachable(place) and not os.statvfs(place).f_flag & os.ST_NOEXEC:
            return place
    raise ServerError("no temporary directory lets users other than root run programs: set TMPDIR to one")
