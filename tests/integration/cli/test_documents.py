"""What documents tell people to type is there: each command with its options, each import of an example."""

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest
import typer.main

from cli.main import command_line

_ROOT = Path(__file__).parents[3]
_DOCUMENTS = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]
_COMMAND = re.compile(r"^ {4}(?:\.venv/bin/)?payg (.+)$|`payg ([a-z][^`]*)`", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def root() -> click.Command:
    return typer.main.get_command(command_line())


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: path.name)
def test_each_command_is_there_with_its_options(document: Path, root: click.Command) -> None:
    typed = [line or quoted for line, quoted in _COMMAND.findall(document.read_text())]
    assert [line for line in typed if not _is_there(root, shlex.split(line, comments=True))] == []


def _is_there(command: click.Command, words: list[str]) -> bool:
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]  # type: ignore[attr-defined]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - options - {"--json"}
    return not unknown and not hasattr(command, "commands")


def test_each_import_of_an_example_is_there() -> None:
    examples = [ast.parse(code) for path in _DOCUMENTS for code in _PYTHON.findall(path.read_text())]
    imports = [node for tree in examples for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert len(imports) >= 3
    for node in imports:
        module = import_module(str(node.module))
        assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], node.module
