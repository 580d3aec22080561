"""A model of what a record costs, fitted to some of the measurements and held against the others. Pure.

CPU of a record in each process: ``record + message / events per message``, and in the debit and PostgreSQL a
share of what an account costs once a batch. Throughput follows: all processes share the machine's cores, and
none is faster than one core allows (each worker is one Python process).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from bench.end_to_end import Throughput
from bench.growth import Growth

#: A debit batch merges about so many records, and the queues of an account set are handled in so many lanes.
BATCH = 4_000
LANES = 2
#: A worker or a server that is to absorb bursts runs at this share of its cores.
TARGET_LOAD = 0.7


@dataclass(frozen=True, slots=True)
class Prediction:
    """A figure that the model did not see, and what it makes of it."""

    name: str
    unit: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """The relative error: 0.1 where the prediction is a tenth too high."""
        return self.predicted / self.measured - 1


@dataclass(frozen=True, slots=True)
class Need:
    """What a rate needs: processes by stage, cores of the servers, and bytes a second of write-ahead log."""

    records_per_s: int
    processes: Mapping[str, int]
    postgres_cores: float
    rabbitmq_cores: float
    wal_mb_per_s: float


def microseconds(run: Throughput) -> dict[str, float]:
    """Return the CPU microseconds of a record, by process."""
    return {name: seconds / run.records * 1e6 for name, seconds in run.cpu_s.items()}


def predict_throughput(
    name: str, batched: Throughput, single: Throughput, per_message: int, measured: Throughput
) -> Prediction:
    """Predict records/s at another number of events a message from the runs at 500 and at 1."""
    at_500, at_1 = sum(microseconds(batched).values()), sum(microseconds(single).values())
    message = (at_1 - at_500) / (1 - 1 / 500)
    cost = at_500 + message * (1 / per_message - 1 / 500)
    # How much of the cores a full pipeline keeps busy is the machine's; it is taken from the same run.
    busy_cores = batched.records_per_s * at_500 / 1e6
    return Prediction(name, "records/s", busy_cores * 1e6 / cost, measured.records_per_s)


def predict_growth(grown: Sequence[Growth]) -> list[Prediction]:
    """Predict the CPU at each number of accounts between the least and the most from those two."""
    least, most = grown[0], grown[-1]
    shares = [accounts_per_record(growth.there_already) for growth in (least, most)]
    account = (most.cpu_us - least.cpu_us) / (shares[1] - shares[0])
    record = least.cpu_us - account * shares[0]
    return [
        Prediction(
            f"debit stage, {growth.there_already:,} accounts",
            "CPU µs a record",
            record + account * accounts_per_record(growth.there_already),
            growth.cpu_us,
        )
        for growth in grown[1:-1]
    ]


def accounts_per_record(accounts: int) -> float:
    """Return how many different accounts a merged batch meets for each of its records."""
    in_a_lane = max(1.0, accounts / LANES)
    return in_a_lane * (1 - exp(-BATCH / in_a_lane)) / BATCH


def needs(run: Throughput, rates: Sequence[int]) -> list[Need]:
    """Return what each rate needs at the target load, from a run at 500 events a message."""
    cost = microseconds(run)
    servers = ("postgres", "rabbitmq", "clock")
    return [
        Need(
            rate,
            {
                name: max(1, -(-int(rate * cpu) // int(1e6 * TARGET_LOAD)))
                for name, cpu in cost.items()
                if name not in servers
            },
            rate * cost["postgres"] / 1e6 / TARGET_LOAD,
            rate * cost["rabbitmq"] / 1e6 / TARGET_LOAD,
            rate * run.wal_bytes / run.records / 1e6,
        )
        for rate in rates
    ]
