"""Prints the demo's table from what `tidegate … list -o json` said and from curl's timings.

usage: report.py MODE BACKENDS.json DROPS.json SECONDS.txt
"""

import json
import re
import sys

# The names of the members of Tidegate's JSON that this page shows, in one place.
ADDRESS, CONNECTIONS = "address", "flows_opened"
TO_BACKEND, TO_CLIENT = "bytes_in", "bytes_out"
REASON, PACKETS, MEANING = "reason", "packets", "description"


def size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def by_machine(rows: list[dict]) -> dict[str, list[int]]:
    """Connections, bytes in, bytes out of each machine: its IPv4, IPv6, HTTP and echo rows together."""
    machines: dict[str, list[int]] = {}
    for row in rows:
        host_number = re.search(r"(\d+)\]?:\d+$", row[ADDRESS]).group(1)
        total = machines.setdefault(f"backend{int(host_number) - 10}", [0, 0, 0])
        for position, member in enumerate((CONNECTIONS, TO_BACKEND, TO_CLIENT)):
            total[position] += row.get(member, 0)
    return machines


def print_backends(mode: str, rows: list[dict]) -> None:
    machines = by_machine(rows)
    all_connections = sum(total[0] for total in machines.values()) or 1
    print(f"  {'backend':<10}{'connections':>12}{'share':>8}{'to backend':>13}{'to client':>13}")
    for name, (connections, to_backend, to_client) in sorted(machines.items()):
        share = 100 * connections / all_connections
        back = "direct" if mode == "dsr" else size(to_client)
        print(f"  {name:<10}{connections:>12}{share:>7.1f}%{size(to_backend):>13}{back:>13}")


def print_drops(rows: list[dict]) -> None:
    dropped = sorted((row for row in rows if row[PACKETS]), key=lambda row: -row[PACKETS])
    if not dropped:
        print("  dropped: nothing")
        return
    print(f"  {'dropped because':<22}{'packets':>8}")
    for row in dropped:
        print(f"  {row[REASON]:<22}{row[PACKETS]:>8}  {row[MEANING]}")


def print_latency(seconds: list[float]) -> None:
    seconds.sort()
    marks = ((50, "p50"), (90, "p90"), (99, "p99"), (100, "max"))
    shown = (f"{name} {1000 * seconds[(len(seconds) - 1) * mark // 100]:.1f} ms" for mark, name in marks)
    print(f"  {len(seconds)} requests, from connect to last byte: {', '.join(shown)}")


def main() -> None:
    mode, backends, drops, seconds = sys.argv[1:]
    with open(backends) as file:
        print_backends(mode, json.load(file))
    print()
    with open(drops) as file:
        print_drops(json.load(file))
    print()
    with open(seconds) as file:
        print_latency([float(line) for line in file])


main()
