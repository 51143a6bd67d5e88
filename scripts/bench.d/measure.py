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

    def packets(self) -> tuple[int, int]:
        """Packets that port 0 received and sent."""
        self.socket.send(b"/ethdev/stats,0")
        answer = json.loads(self.socket.recv(16384))["/ethdev/stats"]
        return (0, 0) if answer is None else (answer["ipackets"], answer["opackets"])

    def received(self) -> int:
        """Packets that port 0 received."""
        return self.packets()[0]

    def wait(self, limit: float = 30) -> None:
        """Returns when there are some."""
        deadline = time.monotonic() + limit
        while self.received() == 0:
            if time.monotonic() > deadline:
                raise Failed(f"no packet was received within {limit} s")
            time.sleep(0.05)

    def close(self) -> None:
        self.socket.close()


def cost(process: int, telemetry: Telemetry, warm_up: float, window: float) -> float:
    """Nanoseconds a packet; all that came in must have gone out."""
    time.sleep(warm_up)
    times_before, (in_before, out_before) = threads(process), telemetry.packets()
    time.sleep(window)
    (in_after, out_after), times_after = telemetry.packets(), threads(process)
    # The thread that polls is the one that used the most.
    used = max(after - times_before.get(thread, 0) for thread, after in times_after.items())
    packets, sent = in_after - in_before, out_after - out_before
    if packets == 0:
        raise Failed("no packet was received during the measurement")
    if abs(packets - sent) > packets / 1000:
        raise Failed(f"{packets} packets were received and {sent} sent: that is not the same work")
    return used / packets
