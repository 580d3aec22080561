"""The documents say what is so: settings, routes, links, and code that can be run."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.server import create_app
from shared.settings import Settings
from shared.settings_page import settings_page

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_ROUTE = re.compile(r"^\| `([A-Z]+ /\S*)` \|", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")


def test_the_page_of_settings_is_that_of_the_class() -> None:
    current = (ROOT / "docs" / "settings.md").read_text() == settings_page()
    assert current, "run: payg settings --markdown > docs/settings.md"


def test_the_page_of_routes_has_all_of_them_and_no_other() -> None:
    app = create_app(Settings(database_url="postgresql://localhost/x", broker_url="amqp://localhost/"))
    routes = {f"{method.upper()} {path}" for path, ways in app.openapi()["paths"].items() for method in ways}
    listed = set(_ROUTE.findall((ROOT / "docs" / "http.md").read_text()))
    assert (routes - listed, listed - routes) == (set(), set()), "docs/http.md lists every route by hand"


def test_the_site_is_built_and_no_link_leads_nowhere(tmp_path: Path) -> None:
    mkdocs = Path(sys.executable).with_name("mkdocs")
    done = subprocess.run(
        [mkdocs, "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "runbooks.html").exists()


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    headings = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-")
        for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    nowhere = [
        (path, anchor)
        for path, anchor in _LINK.findall(text)
        if (path and not (ROOT / path).exists()) or (not path and anchor not in headings)
    ]
    assert nowhere == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_python_in_a_document_imports_is_there(document: Path) -> None:
    for code in _PYTHON.findall(document.read_text()):
        tree = compile(code, document.name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []
