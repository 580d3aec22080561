"""Each command that a document shows exists, with its arguments and options."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import command_line

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCKS = re.compile(r"^```\w*\n(.*?)^```|((?:^ {4,}\S.*\n)+)", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?payg [^`]+)`")
_COMMAND = re.compile(r"^\s*(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?payg (?P<line>.+)$", re.MULTILINE)


#: What is wrong with a value, or that an option is merely named.
_OF_VALUES = {"BadParameter", "BadOptionUsage"}


def _commands(document: Path) -> list[str]:
    """Return the command lines of a document, without what stands before and after them."""
    text = document.read_text()
    blocks = ["".join(found).replace("\\\n", " ") for found in _BLOCKS.findall(text)]
    inline = [found.replace("\n", " ") for found in _INLINE.findall(text)]
    return [match["line"] for part in (*blocks, *inline) for match in _COMMAND.finditer(part)]


@pytest.fixture(scope="module")
def payg() -> Any:
    return typer.main.get_command(command_line())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_command_can_be_given_as_it_stands(
    document: Path, payg: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    wrong = {line: why for line in _commands(document) if (why := _refused(payg, line))}
    assert wrong == {}


def _refused(payg: Any, line: str) -> str | None:
    """Return what the command line has against this, None where it knows all of it.

    Values may stand for others: a file that is not there, ACCOUNT.
    """
    arguments = shlex.split(line, comments=True)
    command, names = payg, ["payg"]
    while hasattr(command, "commands"):
        if not arguments or arguments[0].startswith("-"):
            return None  # a family of commands is named, or an option of all
        names.append(arguments.pop(0))
        if names[-1] not in command.commands:
            return f"no such command: {' '.join(names)}"
        command = command.commands[names[-1]]
    given = [argument for argument in arguments if argument != "--json"]
    try:
        if given:  # a name alone speaks of the command, and gives it nothing
            command.make_context(" ".join(names), given)
    except typer.Exit:
        return None  # --help
    except Exception as error:  # noqa: BLE001 - typer's own classes of errors are not public
        kind = type(error).__name__
        return None if kind in _OF_VALUES else f"{kind}: {getattr(error, 'message', error)}"
    return None


def test_the_check_finds_what_is_wrong(payg: Any) -> None:
    assert _refused(payg, "drain --timeout 60") is None
    assert "no such command" in str(_refused(payg, "drains"))
    assert "NoSuchOption" in str(_refused(payg, "drain --time 60"))
    assert "MissingParameter" in str(_refused(payg, "trace --account acct_1"))
