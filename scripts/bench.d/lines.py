"""The lines of the performance goal: what each must be, what it aims at, where its figure comes from, and whether it holds.

A line says which of the collected figures it needs; one whose scenario this program does not have yet, or that failed, is
"not measured". To fill one: give SCENARIOS the words for `tidegate bench`, and LINES how to read its JSON.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# What `tidegate bench` is asked for: its arguments, and those of a quick run. A scenario fails alone.
SCENARIOS: dict[str, tuple[list[str], list[str]]] = {
    "established": (["--flows", "4k,64k,1M"], ["--mode", "nat", "--flows", "4k"]),
    "drops": (["--flows", "4k"], ["--flows", "4k", "--family", "v4"]),
    "new": (["--mode", "nat", "--family", "v4", "--flows", "1M"], ["--mode", "nat", "--family", "v4", "--flows", "64k"]),
    "connections": (["--family", "v4", "--flows", "1M"], ["--family", "v4", "--flows", "16k"]),
    "memory": (["--flows", "1M"], ["--family", "v4", "--flows", "1M"]),
    "flood": (["--family", "v4", "--flows", "4k"], ["--family", "v4", "--flows", "4k"]),
    "ageing": (["--family", "v4", "--flows", "1M"], ["--family", "v4", "--flows", "4k"]),
    "workers": (["--family", "v4", "--flows", "4k"], ["--family", "v4", "--flows", "4k"]),
    "latency": ([], []),
    "idle": ([], []),
    "publication": ([], []),
    "start": ([], []),
}
TIMEOUT = 600.0


def run_scenario(program: Path, name: str, arguments: list[str], rounds: int, seconds: float) -> tuple[dict | None, str]:
    """The report of one scenario, or why there is none."""
    command = [str(program), "bench", name, *arguments, "--rounds", str(rounds), "--seconds", str(seconds), "-o", "json"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
        if run.returncode == 0:
            return json.loads(run.stdout), ""
    except subprocess.TimeoutExpired:
        return None, f"took longer than {TIMEOUT:.0f} s"
    except json.JSONDecodeError as error:
        return None, f"printed no JSON: {error}"
    said = run.stderr.strip().splitlines() or [f"ended with {run.returncode}"]
    return None, next((line for line in said if line.startswith("error")), said[-1])


Report = dict
Reading = Callable[[Report], float | None]


@dataclass
class Line:
    number: int
    what: str
    unit: str
    must: float | None
    aim: float | None
    read: Reading
    more_is_better: bool = False

    def holds(self, measured: float | None, bound: float | None) -> bool | None:
        if measured is None or bound is None:
            return None
        return measured >= bound if self.more_is_better else measured <= bound

    def judged(self, report: Report) -> dict:
        try:
            measured = self.read(report)
        except (KeyError, IndexError, TypeError):
            measured = None  # the figure is not in the report
        return {
            "line": self.number,
            "figure": self.what,
            "unit": self.unit,
            "must": self.must,
            "aim": self.aim,
            "more_is_better": self.more_is_better,
            "measured": measured,
            "holds": self.holds(measured, self.must),
            "aim_reached": self.holds(measured, self.aim),
        }


def figures(report: Report, scenario: str, **wanted: object) -> list[dict]:
    return [
        figure
        for figure in report["figures"]
        if figure["scenario"] == scenario and all(figure.get(key) == value for key, value in wanted.items())
    ]


def of(scenario: str, *path: str, **wanted: object) -> Reading:
    """A value of the first figure of a scenario."""

    def read(report: Report) -> float | None:
        found = figures(report, scenario, **wanted)
        value = found[0] if found else None
        for key in path:
            value = None if value is None else value[key]
        return value

    return read


def cycles(scenario: str, **wanted: object) -> Reading:
    return of(scenario, "cycles", "median", **wanted)


def greatest(scenario: str, read: Callable[[dict], float | None]) -> Reading:
    """The greatest value over all figures of a scenario; none when one of them has none, since that may be the greatest."""

    def greatest_of(report: Report) -> float | None:
        return greatest_or_none([read(figure) for figure in figures(report, scenario)])

    return greatest_of


def above(name: str) -> Reading:
    return lambda report: report["programs"][name]["above_io"]["median"]


def speed(name: str, peer: str) -> Reading:
    """Packets a second, as a part of the peer's."""
    return lambda report: report["programs"][name]["speed_of"][peer]["median"]


def greatest_or_none(values: list[float | None]) -> float | None:
    return None if not values or None in values else max(values)


def bound(figure: dict) -> float | None:
    return greatest_or_none([one["ratio_bound"] for one in figure["comparisons"]])


def growth(figure: dict) -> float | None:
    ratio = bound(figure)
    return None if ratio is None else 100 * (ratio - 1)


def none_evicted(report: Report) -> float | None:
    """`tidegate bench flood` fails, and gives no figure, when one established flow was evicted."""
    return 0 if figures(report, "flood") else None


def proof(report: Report) -> float | None:
    """None unless all looks were taken: instructions alone prove nothing."""
    return report["proof"]["a_packet"] if "system_calls" in report["proof"] else None


def start(virtual_servers: int, *path: str, unit: float) -> Reading:
    """Of the start of a gateway with so many virtual servers."""

    def read(report: Report) -> float | None:
        found = [one for one in report["starts"] if one["virtual_servers"] == virtual_servers]
        value = found[0] if found else None
        for key in path:
            value = None if value is None else value[key]
        return None if value is None else value * unit

    return read


# What is decided by `admit` and what it asks, the only pass that looks at virtual servers and addresses.
ADMISSION = ("protocol_unsupported", "destination_martian", "destination_group", "no_virtual_server")


def dearest_drop(of_admission: bool) -> Reading:
    """As a part of what forwarding costs."""

    def read(report: Report) -> float | None:
        drops = [one for one in figures(report, "drops") if (one["drop"] in ADMISSION) == of_admission]
        return greatest_or_none([one["ratio_to_forwarding"] for one in drops])

    return read


def counting(report: Report) -> float | None:
    """What of an established packet's instructions is spent on counters, in per cent."""
    stages = report["instructions"]["nat IPv4"]
    return 100 * stages["counters"] / stages["all"]


FLOWS = {"4k": 4096, "64k": 65_536, "1M": 1 << 20}
CYCLES, LESS = "cycles above I/O", "of forwarding"
V4, V6 = {"family": "v4"}, {"family": "v6"}
LINES = [
    *(
        Line(1, f"nat IPv4, {name} established flows", CYCLES, must, aim, cycles("established", mode="nat", flows=FLOWS[name], **V4))
        for name, must, aim in (("4k", 65, 45), ("64k", 75, 52), ("1M", 90, 60))
    ),
    Line(1, "nat IPv4, 4k flows, with DPDK, above testpmd io", CYCLES, 65, 45, above("nat")),
    Line(2, "nat IPv6, 4k", CYCLES, 90, 65, cycles("established", mode="nat", flows=4096, **V6)),
    Line(3, "dsr IPv4, 4k", CYCLES, 50, 30, cycles("established", mode="dsr", flows=4096, **V4)),
    Line(3, "full_nat IPv4, 4k", CYCLES, 75, 55, cycles("established", mode="full_nat", flows=4096, **V4)),
    Line(3, "dsr IPv4, 4k, with DPDK, above testpmd io", CYCLES, 50, 30, above("dsr")),
    Line(3, "full_nat IPv4, 4k, with DPDK, above testpmd io", CYCLES, 75, 55, above("full_nat")),
    Line(4, "nat's speed, of testpmd 5tswap", "ratio", 0.72, 0.85, speed("nat", "5tswap"), more_is_better=True),
    Line(4, "nat's speed, of testpmd macswap", "ratio", 0.50, 0.59, speed("nat", "macswap"), more_is_better=True),
    Line(5, "a new flow, nat IPv4", CYCLES, 200, 110, cycles("new", mode="nat", **V4)),
    Line(5, "new flows, nat IPv4", "M/s", 9, 13, of("new", "millions_per_second", mode="nat", **V4), more_is_better=True),
    Line(6, "whole TCP connections, nat IPv4", "M/s", 1.4, 1.9, of("connections", "millions_per_second", **V4), more_is_better=True),
    Line(7, "a drop for another MAC address", LESS, 0.5, 0.3, of("drops", "ratio_to_forwarding", drop="destination_mac_not_ours", **V4)),
    Line(7, "the dearest drop before admission", LESS, 0.5, 0.3, dearest_drop(of_admission=False)),
    Line(7, "the dearest drop in admission", LESS, None, None, dearest_drop(of_admission=True)),
    Line(8, "bytes a flow, IPv4", "bytes", 128, 96, of("memory", "bytes_per_flow", **V4)),
    Line(8, "bytes a flow, IPv6", "bytes", 192, 144, of("memory", "bytes_per_flow", **V6)),
    Line(9, "established packets in a flood of new flows, 95 % bound", "% more", 8, 3, greatest("flood", growth)),
    Line(9, "established flows that a flood evicts", "flows", 0, 0, none_evicted),
    Line(10, "65,536 slots for 1,000 backends", "ms", 3, 1.5, lambda report: report["publication"]["build_ms"]["median"]),
    Line(10, "a change seen by a busy worker, p50", "µs", 10, 3, lambda report: report["publication"]["seen"]["all"]["p50_us"]),
    Line(10, "a change seen by a busy worker, p99", "µs", 1000, 100, lambda report: report["publication"]["seen"]["all"]["p99_us"]),
    Line(10, "reading the snapshot", "cycles a burst", 4, 4, lambda report: report["publication"]["reader_cycles"]["median"]),
    Line(11, "ageing", "cycles a packet", 2, 1, greatest("ageing", lambda one: one["ageing"]["cycles_a_packet"]["median"])),
    Line(11, "histograms and counters", "% of instructions", 8, 4, counting),
    Line(12, "two workers against one, 95 % bound", "ratio", 1.08, 1.03, greatest("workers", bound)),
    Line(13, "nat against the C loop, cycles above io", "ratio", 1.05, 1.0, lambda report: report["programs"]["nat"]["above_io_of_c_loop"]["median"]),
    Line(14, "atomics, locks, allocations, system calls", "a packet", 0, 0, proof),
    Line(15, "start with 1,000 backends", "s", 1, 0.3, start(1, "all_ms", unit=1e-3)),
    Line(15, "start with 10,000 virtual servers over 1,000 pools", "s", 5, 2, start(10_000, "all_ms", unit=1e-3)),
    Line(15, "tables of the latter", "MB", 300, 300, start(10_000, "resident_bytes", unit=1e-6)),
]


def judge(report: Report) -> list[dict]:
    return [line.judged(report) for line in LINES]


def shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}" if abs(value) < 10 else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def said(line: dict) -> str:
    if line["must"] is None and line["measured"] is not None:
        return ""
    if line["holds"] is None:
        return "not measured"
    return "no" if not line["holds"] else "yes, and the aim" if line["aim_reached"] else "yes"


def bound_of(line: dict, key: str) -> str:
    return "" if line[key] is None else f"{'≥' if line['more_is_better'] else '≤'} {line[key]:g}"


HEAD = ("#", "figure", "unit", "must", "aim", "measured", "holds")


def rows(lines: list[dict]) -> list[tuple[str, ...]]:
    return [
        (str(line["line"]), line["figure"], line["unit"], bound_of(line, "must"), bound_of(line, "aim"), shown(line["measured"]), said(line))
        for line in lines
    ]


def markdown(lines: list[dict]) -> str:
    cells = [HEAD, ("---",) * len(HEAD), *rows(lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def text(lines: list[dict]) -> str:
    cells = [HEAD, *rows(lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)
