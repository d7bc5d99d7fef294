"""What a run measured, as plain data: it goes to JSON as it is, and the checks read it."""

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Row:
    """One row: `rounds` are seconds for a picture, one of each round, in order."""

    key: str
    name: str
    kind: str
    threads: int
    rounds: list[float]
    group: str = ""
    note: str = ""
    pixels: int = 0
    x: float | None = None
    first_call_s: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Median seconds for a picture."""
        return statistics.median(self.rounds)

    @property
    def rate(self) -> float:
        """Median pictures a second."""
        return 1.0 / self.seconds

    @property
    def quartiles(self) -> tuple[float, float]:
        """Lower and upper quartile of pictures a second."""
        if len(self.rounds) == 1:
            return self.rate, self.rate
        low, _, high = statistics.quantiles(
            [1.0 / seconds for seconds in self.rounds], n=4, method="inclusive"
        )
        return low, high

    def times(self, other: "Row") -> float:
        """Return how many times the time of `other` this took: the median over the rounds."""
        return statistics.median(
            own / their for own, their in zip(self.rounds, other.rounds, strict=True)
        )


@dataclass
class Absent:
    """A row that is not there, and why; `key` is empty where a whole library is missing."""

    name: str
    reason: str
    key: str = ""


@dataclass
class TableResult:
    """The rows of one table, and the lines that stand for those that are missing."""

    title: str
    rows: list[Row] = field(default_factory=list)
    absent: list[Absent] = field(default_factory=list)
    floor: str = ""

    def find(self, key: str, threads: int = 1) -> Row | None:
        """Return a row, or None if it is not there."""
        for row in self.rows:
            if (row.key, row.threads) == (key, threads):
                return row
        return None

    def why_absent(self, key: str) -> str:
        """Say why a row is not there."""
        reasons = [absent.reason for absent in self.absent if absent.key == key]
        return reasons[0] if reasons else "not measured"

    def floor_of(self, row: Row) -> Row | None:
        """Return the floor for a row: with its number of threads, or with one."""
        return self.find(self.floor, row.threads) or self.find(self.floor)

    def times_the_floor(self, row: Row) -> float | None:
        """Return how many floors a row takes; None without one for pictures of its size."""
        floor = self.floor_of(row)
        if floor is None or (row.pixels and row.pixels != floor.pixels):
            return None
        return row.times(floor)


@dataclass
class Check:
    """One figure that was to be reached: `met` is None where it could not be measured."""

    point: int
    what: str
    target: str
    measured: str
    met: bool | None


@dataclass
class Result:
    """All of a run."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    tables: dict[str, TableResult] = field(default_factory=dict)
    probes: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, with each row's median, quartiles and ratio to its floor."""
        values = asdict(self)
        for name, table in self.tables.items():
            for row, written in zip(table.rows, values["tables"][name]["rows"], strict=True):
                written["images_per_second"] = row.rate
                written["quartiles"] = list(row.quartiles)
                written["times_the_floor"] = table.times_the_floor(row)
        return values
