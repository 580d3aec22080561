"""A real Redis whose clock is ours, and which does not hear, does not answer, or forgets everything."""

from datetime import datetime
from typing import Any

import redis

from shared.gateways.redis_gate import GateUnavailableError, RedisGate
from simulation.scheduler import Scheduler

_LOST_PERCENT = 2
#: How long an answer really takes is no part of the run.
_PATIENCE_S = 300.0
_CLOCK, _ASKS = "simulated:clock", "redis.call('TIME')"
_TIME = """
local function simulated_time()
  local ms = tonumber(redis.call('GET', 'simulated:clock'))
  return {math.floor(ms / 1000), ms % 1000 * 1000}
end
"""


class SimulatedRedis(RedisGate):
    """The gate's scripts; every call takes its turn."""

    def __init__(self, url: str) -> None:
        super().__init__(url, _PATIENCE_S)
        # As in the database, what is asked for the time answers with that of the run.
        self._scripts = {
            name: self._redis.register_script(_TIME + str(script.script).replace(_ASKS, "simulated_time()"))
            for name, script in self._scripts.items()
        }
        #: What is done beside the run.
        self._admin = redis.Redis.from_url(url)
        for script in self._scripts.values():
            self._admin.script_load(script.script)  # or whoever comes first asks twice
        self._scheduler: Scheduler | None = None
        self.emptied = False

    async def close(self) -> None:
        self._admin.close()
        await super().close()

    def start(self, scheduler: Scheduler) -> None:
        """Forget everything, for a run in which this scheduler says whose turn it is."""
        self._scheduler = scheduler
        self._admin.flushdb()
        self.emptied = False

    def set_clock(self, now: datetime) -> None:
        """Make it that time."""
        self._now = now
        self._admin.set(_CLOCK, int(now.timestamp() * 1000))

    def lose_all(self) -> None:
        """Forget what it knew."""
        self._admin.flushdb()
        self.emptied = True
        self.set_clock(self._now)

    async def _guard(self, call: Any) -> Any:  # noqa: ANN401 - as its parent has it
        scheduler = self._scheduler
        if scheduler is None or scheduler.running is None:
            return await call
        try:
            await scheduler.point("asking Redis")
            heard = not scheduler.fault(_LOST_PERCENT, "Redis does not hear")
        except BaseException:
            call.close()
            raise
        if not heard:
            call.close()
            raise GateUnavailableError("Redis does not hear")
        answer = await call
        if scheduler.fault(_LOST_PERCENT, "Redis's answer is lost"):
            raise GateUnavailableError("Redis does not answer")
        return answer
