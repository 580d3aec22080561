"""Runs one server and outlives whoever ordered it, just long enough to end it.

Started as a script, with the standard library alone: `launcher.py PARENT_PID STOP_SIGNAL GRACE_S UID GID
SCRATCH COMMAND...` (UID and GID are -1 to stay who we are, SCRATCH is empty or a directory to remove at the
end). It ends the server when it is sent SIGTERM, or when its parent is gone for whatever reason, SIGKILL
included: first by STOP_SIGNAL, after GRACE_S seconds by SIGKILL. When the server ends, in that way or by
itself, what is left of its processes is killed: as a "child subreaper" the launcher adopts each orphan.

Asking the kernel for the parent's death (PR_SET_PDEATHSIG) is not enough, nor safe: that signal comes at the
end of the *thread* that forked, is lost at a change of user, and reaches one process of a server that may
have many. It serves here for one case only, where it is exact: the death of this single-threaded launcher.
"""

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_WATCHED = frozenset({signal.SIGCHLD, signal.SIGTERM})
_OPEN_FILES_MAX = 65_536


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid` (not itself), parents before children, zombies included."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                # The second field is a name in brackets, which may hold anything: count from its end.
                parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    found = list(children.get(pid, ()))
    for process in found:
        found.extend(children.get(process, ()))
    return found


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _become_server(launcher: int, stop_signal: int, uid: int, gid: int, command: list[str]) -> NoReturn:
    try:
        os.setsid()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_files = _OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES_MAX)
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, hard))
        if uid >= 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        _prctl(_PR_SET_PDEATHSIG, stop_signal)  # after the change of user, which would clear it
        for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored_by_python, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if os.getppid() == launcher:
            os.execv(command[0], command)  # noqa: S606 - a shell is what we do not want
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _ended(server: int) -> bool:
    """Whether the server itself has ended; it stays a zombie, so that its pid cannot become another's."""
    while child := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if child.si_pid == server:
            return True
        os.waitpid(child.si_pid, 0)  # an orphan we adopted
    return False


def _watch(server: int, parent: int) -> None:
    while os.getppid() == parent and not _ended(server):
        caught = signal.sigtimedwait(_WATCHED, 0.2)
        if caught is not None and caught.si_signo == signal.SIGTERM:
            return


def _stop(server: int, stop_signal: signal.Signals, grace_s: float) -> None:
    send([server], stop_signal)
    send(descendants(os.getpid()), signal.SIGCONT)  # it may be paused
    deadline = time.monotonic() + grace_s
    while not _ended(server) and time.monotonic() < deadline:
        signal.sigtimedwait({signal.SIGCHLD}, 0.1)


def _sweep() -> None:
    with contextlib.suppress(ChildProcessError):  # none left
        while True:
            send(descendants(os.getpid()), signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.005)


def main(arguments: Sequence[str]) -> None:
    """Run, watch and end one server; see the head of this file."""
    parent, stop_signal = int(arguments[0]), signal.Signals(int(arguments[1]))
    grace_s, uid, gid = float(arguments[2]), int(arguments[3]), int(arguments[4])
    scratch, command = arguments[5], list(arguments[6:])
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    launcher = os.getpid()
    server = os.fork() or _become_server(launcher, stop_signal, uid, gid, command)
    _watch(server, parent)
    _stop(server, stop_signal, grace_s)
    _sweep()
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
