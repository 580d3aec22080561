"""Nothing that is secret is compared with == or in: how long that takes tells how much of it was right."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_TIERS = ("api", "shared", "workers", "payg_client")
_SECRET = re.compile(
    r"secret|token(?!s|_id)|admin_key|api_key(?!_id|s)|csrf|password|signature(?!\.key_id)", re.IGNORECASE
)
#: What looks like one, with why it is none.
NO_SECRET = {
    "shared/db/keys.py: api_keys.c.secret_hash == secret_hash": "a look-up by a hash that nobody can choose",
    "shared/db/console_sessions.py: _columns.token_hash == token_hash": "the same",
    "shared/db/sign_in_links.py: _columns.token_hash == token_hash": "the same",
    "shared/db/roles.py: table not in secrets": "names of tables",
    "shared/domain/events.py: bytes(open_brackets[-1:]) != (b'[' if token == b']' else b'{')": "a bracket",
    "shared/domain/signature.py: signature.algorithm != ALGORITHM": "a public name",
    "shared/domain/statement_check.py: bytes.fromhex(signature.public_key) not in trusted": "a public key",
}
_NOTHING = (ast.Constant, ast.Dict, ast.Tuple, ast.Set)


def _comparisons(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(
            isinstance(operator, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for operator in node.ops
        ):
            sides = [side for side in (node.left, *node.comparators) if not isinstance(side, _NOTHING)]
            if len(sides) > 1 and any(_SECRET.search(ast.unparse(side)) for side in sides):
                yield ast.unparse(node)


@pytest.mark.parametrize(
    "wrong", ["secret == wanted", "row['token'] != token", "key in settings.stripe_webhook_secrets"]
)
def test_such_a_comparison_would_be_found(wrong: str) -> None:
    assert list(_comparisons(f"if {wrong}: pass"))


def test_no_secret_is_compared_in_a_time_that_tells_of_it() -> None:
    found = {
        f"{file.relative_to(ROOT)}: {comparison}"
        for tier in _TIERS
        for file in (ROOT / tier).rglob("*.py")
        for comparison in _comparisons(file.read_text())
    }
    assert found == NO_SECRET.keys()
