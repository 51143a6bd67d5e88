"""What happens in a scene, and what it is judged by."""

import random
from dataclasses import asdict, dataclass

BACKENDS = 16
CONCURRENT = 64
# The part of its capacity that a slow backend takes.
SLOW = 0.1
# The smallest transfer by the bytes that a sound backend takes in a second, and how many times that the greatest has.
SMALLEST = 1_048_576 / 1.25e9
GREATEST = 10_240
# Programs with a connection pool each, and seconds that a connection may be idle.
PROGRAMS = 16
IDLE = 30.0
VIP = "198.51.100.10"
PORT = 9000


class Failed(Exception):
    """What went wrong, and what to do about it."""


def address(number: int) -> str:
    """Of a backend."""
    return f"10.10.2.{11 + number}"


@dataclass(frozen=True)
class Scene:
    slow: bool
    transfers: int
    capacity: int
    warm_up: float
    seconds: float

    def capacities(self) -> list[float]:
        """Bytes a second, by backend."""
        first = SLOW if self.slow else 1.0
        return [self.capacity * (first if number == 0 else 1.0) for number in range(BACKENDS)]

    def asdict(self) -> dict:
        return asdict(self)


class Sizes:
    """Sizes after Zipf's law: the one of rank k is k times as rare as the smallest."""

    def __init__(self, capacity: int, seed: int):
        self.smallest = SMALLEST * capacity
        self.random = random.Random(seed)
        self.ranks = range(1, GREATEST + 1)
        total, self.sums = 0.0, []
        for rank in self.ranks:
            total += 1 / rank
            self.sums.append(total)

    def one(self) -> int:
        rank = self.random.choices(self.ranks, cum_weights=self.sums)[0]
        return max(1, int(rank * self.smallest))


def judge(scene: Scene, seen: dict) -> dict:
    """Goodput of the possible, and how evenly backends had connections, from what the backends have seen."""
    capacities = scene.capacities()
    goodput = sum(seen["bytes"]) / (sum(capacities) * seen["seconds"])
    mean = sum(seen["connection_seconds"]) / sum(capacities)
    loads = [one / capacity / mean for one, capacity in zip(seen["connection_seconds"], capacities)]
    return {"goodput": goodput, "connections": max(loads), "first": loads[0], "completed": seen["completed"]}
