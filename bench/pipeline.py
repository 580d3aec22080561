"""The worker processes under measurement: started, and held back until the queue is full."""

import asyncio
import os
import signal
from collections.abc import Sequence
from time import monotonic
from types import TracebackType
from typing import Self

import aio_pika
from sqlalchemy import text

from bench.cpu import cpu_seconds
from bench.rig import Rig, connected
from sandbox.supervisor import Supervisor
from shared.messaging.connect import open_transport
from shared.messaging.topology import USAGE_EXCHANGE, USAGE_ROUTING_KEY, Stage

STAGES = (Stage.INTAKE, Stage.PRICING, Stage.DEBIT, Stage.THRESHOLDS, Stage.NOTIFICATIONS)
_IN_FLIGHT = 200
_START_TIMEOUT_S = 60.0
_REPORTING = text("SELECT count(DISTINCT stage) FROM processes WHERE in_flight >= 0")


class Pipeline:
    """Some stages, by default one process of each, and the clock, on a database of their own."""

    def __init__(
        self, rig: Rig, database_url: str, stages: Sequence[Stage] = STAGES, *, copies: int = 1
    ) -> None:
        self.database_url = database_url
        self.broker_url = rig.rabbitmq.url
        self._rig = rig
        self._stages = stages
        commands = {str(stage): f"payg worker {stage}" for stage in stages} | {"clock": "payg clock"}
        env = {"PAYG_DATABASE_URL": database_url, "PAYG_BROKER_URL": self.broker_url}
        scale = {str(stage): copies for stage in stages}
        self._supervisor = Supervisor(commands, env, scale=scale, logs=rig.place / "logs")

    def __enter__(self) -> Self:
        self._supervisor.start()
        try:
            asyncio.run(self._until_all_report())
        except BaseException:
            self._supervisor.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stage in self._stages:
            self.resume(stage)
        self._supervisor.stop()

    def pause(self, stage: Stage) -> None:
        """Hold a stage back; what the broker sends it waits."""
        self._signal(stage, signal.SIGSTOP)

    def resume(self, stage: Stage) -> None:
        self._signal(stage, signal.SIGCONT)

    def pids(self) -> dict[str, int]:
        """Return the worker processes by name."""
        return self._supervisor.pids()

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds that each worker and each server has used so far."""
        return {name: cpu_seconds([pid]) for name, pid in self.pids().items()} | self._rig.server_cpu()

    def _signal(self, stage: Stage, number: signal.Signals) -> None:
        for pid in self._supervisor.pids(str(stage)).values():
            os.kill(pid, number)

    async def _until_all_report(self) -> None:
        deadline = monotonic() + _START_TIMEOUT_S
        async with connected(self.database_url) as engine:
            while True:
                async with engine.connect() as connection:
                    if (await connection.execute(_REPORTING)).scalar_one() >= len(self._stages):
                        return
                if monotonic() > deadline:
                    raise TimeoutError(f"the workers did not start; see {self._rig.place / 'logs'}")
                await asyncio.sleep(0.1)


async def prefill(broker_url: str, bodies: Sequence[bytes]) -> None:
    """Publish messages of usage, each confirmed."""
    async with open_transport(broker_url):
        pass  # declares what is not there
    connection = await aio_pika.connect(broker_url)
    async with connection, connection.channel() as channel:
        exchange = await channel.get_exchange(USAGE_EXCHANGE, ensure=False)
        for start in range(0, len(bodies), _IN_FLIGHT):
            await asyncio.gather(
                *(
                    exchange.publish(aio_pika.Message(body, delivery_mode=2), USAGE_ROUTING_KEY)
                    for body in bodies[start : start + _IN_FLIGHT]
                )
            )
