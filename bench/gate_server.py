"""The HTTP tier as ``payg api`` runs it, with one route more: the baseline of the gate.

The baseline takes the same body under the same key, makes one round trip to Redis, and answers as much.
"""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from api.access import Asking
from api.routes.gate import Held, Request
from api.server import create_app, serve
from api.services import Services, services_of
from shared.clock import utc_now
from shared.gateways.redis_gate import connect
from shared.ids import new_id
from shared.settings import load_settings

BASELINE = "/bench/round-trip"
#: One read and one write: what any gate in Redis does at least.
READ_AND_WRITE = """
local found = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return found
"""

router = APIRouter()
_scripts: dict[str, Any] = {}


@router.post(BASELINE)
async def round_trip(
    asked: Request, key: Asking, services: Annotated[Services, Depends(services_of)]
) -> Held:
    """Read and write one field of Redis."""
    url = str(services.settings.redis_url)
    script = _scripts.get(url) or _scripts.setdefault(url, connect(url).register_script(READ_AND_WRITE))
    hold_id = new_id("hold")
    await script(keys=[f"bench:{key.account_id}"], args=[asked.model, hold_id])
    return Held(
        hold_id=hold_id,
        account_id=str(key.account_id),
        api_key_id=key.api_key_id,
        held_nanos=asked.input_tokens,
        expires_at=utc_now() + timedelta(minutes=10),
    )


def main() -> None:
    settings = load_settings()
    app = create_app(settings)
    app.include_router(router)
    serve(app, settings)


if __name__ == "__main__":
    main()
