"""The channels that settings ask for."""

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.gateways.public_http import PublicHttp
from shared.operations.delivery.deliveries import DeliveryChannel
from shared.operations.delivery.delivery_loop import Deliveries
from shared.operations.delivery.mail_channel import configured_mail
from shared.operations.delivery.webhook_channel import WebhookChannel
from shared.settings import Settings


def configured_deliveries(engine: AsyncEngine, settings: Settings) -> Deliveries:
    """Return the deliveries of a process; close them when it stops."""
    channels: list[DeliveryChannel] = [
        WebhookChannel(engine, PublicHttp(loopback=settings.webhook_loopback), utc_now),
    ]
    if mail := configured_mail(engine, settings):
        channels.append(mail)
    return Deliveries(engine, channels, utc_now, settings.alerts_per_hour)
