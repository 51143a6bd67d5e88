"""What a running DPDK program costs a packet: the CPU time of its polling thread over the packets it received."""

import json
import socket
import time
from pathlib import Path


class Failed(Exception):
    """What could not be measured, and why."""


def threads(process: int) -> dict[int, int]:
    """CPU time of each thread, in nanoseconds."""
    times = {}
    for task in Path(f"/proc/{process}/task").iterdir():
        try:
            times[int(task.name)] = int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue  # it ended between the listing and the reading
    return times


class Telemetry:
    """DPDK's own counters, the same way for every program."""

    def __init__(self, prefix: str):
        self.path = f"/var/run/dpdk/{prefix}/dpdk_telemetry.v2"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def connect(self, alive, limit: float = 30) -> None:
        deadline = time.monotonic() + limit
        while True:
            try:
                self.socket.connect(self.path)
                break
            except OSError as error:
                if not alive() or time.monotonic() > deadline:
                    raise Failed(f"no telemetry at {self.path}: {error}") from None
                time.sleep(0.05)
        self.socket.settimeout(10)
        self.socket.recv(16384)  # its greeting

    def received(self) -> int:
        """Packets that port 0 received."""
        self.socket.send(b"/ethdev/stats,0")
        answer = json.loads(self.socket.recv(16384))["/ethdev/stats"]
        return 0 if answer is None else answer["ipackets"]

    def close(self) -> None:
        self.socket.close()


def nanoseconds_a_packet(process: int, telemetry: Telemetry, warm_up: float, window: float) -> float:
    deadline = time.monotonic() + 30
    while telemetry.received() == 0:
        if time.monotonic() > deadline:
            raise Failed("no packet was received within 30 s")
        time.sleep(0.05)
    time.sleep(warm_up)
    times_before, packets_before = threads(process), telemetry.received()
    time.sleep(window)
    packets_after, times_after = telemetry.received(), threads(process)
    # The thread that polls is the one that used the most.
    used = max(after - times_before.get(thread, 0) for thread, after in times_after.items())
    packets = packets_after - packets_before
    if packets == 0:
        raise Failed("no packet was received during the measurement")
    return used / packets
