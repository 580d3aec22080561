"""Run the example gateway by hand: `python -m sandbox.gateway --key sk-…`, with a key of `--service`."""

import argparse
import os
from contextlib import ExitStack

import uvicorn

from payg_client import PaygClient
from sandbox.gateway.forwarding import create_gateway
from sandbox.gateway.model_server import create_model_server
from sandbox.gateway.served import served
from sandbox.servers.network import LOOPBACK


def main() -> None:
    """Serve on loopback until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.gateway", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--payg", default="http://127.0.0.1:8080", help="where payg's HTTP tier is")
    parser.add_argument(
        "--key",
        default=os.environ.get("PAYG_SERVICE_KEY"),
        help="this gateway's key, made with `payg key create --service`; or set PAYG_SERVICE_KEY",
    )
    parser.add_argument("--model-server", help="an OpenAI-compatible server; without, a toy is started")
    options = parser.parse_args()
    if not options.key:
        parser.error("--key is missing: make one with `payg key create --service`")
    with ExitStack() as running:
        model_server = options.model_server or running.enter_context(served(create_model_server()))
        client = PaygClient(options.payg, options.key, source="example-gateway")
        uvicorn.run(
            create_gateway(client, model_server), host=LOOPBACK, port=options.port, log_level="warning"
        )


if __name__ == "__main__":
    main()
