"""Run the stand-in for Stripe by hand: `python -m sandbox.stripe --port 12111 --state stripe.sqlite3`."""

import argparse
from pathlib import Path

import uvicorn

from sandbox.servers.network import LOOPBACK
from sandbox.stripe.connection import CuttableProtocol
from sandbox.stripe.routes import application


def main() -> None:
    """Serve on loopback until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.stripe", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="SQLite file; made when it is not there")
    options = parser.parse_args()
    uvicorn.run(
        application(options.state),
        host=LOOPBACK,
        port=options.port,
        http=CuttableProtocol,
        lifespan="on",
        log_level="warning",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,  # no client asks on a connection that was just closed
    )


if __name__ == "__main__":
    main()
