"""Send the deliveries that are due, to receivers on this machine. Usage: send_deliveries.py DATABASE_URL"""

import asyncio
import sys

from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.gateways.public_http import PublicHttp
from shared.operations.delivery.delivery_loop import Deliveries
from shared.operations.delivery.webhook_channel import WebhookChannel


async def _main() -> None:
    engine = create_engine(sys.argv[1])
    channel = WebhookChannel(engine, PublicHttp(loopback=True), utc_now)
    await Deliveries(engine, [channel], utc_now, 0).send_due()


if __name__ == "__main__":
    asyncio.run(_main())
