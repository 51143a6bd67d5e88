"""Plots of a report, as SVG: horizontal bars with their least and greatest values, and marks for what must and should be."""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import lines
import programs

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 860, 230, 70, 18, 10, 58
COLOURS = {"tidegate": "#1f6f8b", "c_loop": "#b0682e", "testpmd": "#8a8f98"}
STAGES = ("#1f6f8b", "#4f9da6", "#b0682e", "#d9a05b", "#7a8b5c", "#8a8f98", "#5b5f97")


@dataclass
class Bar:
    label: str
    parts: list[tuple[float, str]]  # lengths and colours, side by side
    least: float | None = None
    greatest: float | None = None
    must: float | None = None
    aim: float | None = None

    def end(self) -> float:
        return max(sum(length for length, _ in self.parts), *(one or 0 for one in (self.greatest, self.must, self.aim)))


@dataclass
class Plot:
    title: str
    unit: str
    bars: list[Bar]
    legend: list[tuple[str, str]] = field(default_factory=list)

    def svg(self) -> str:
        height = TOP + len(self.bars) * (BAR + GAP) + 34
        scale = (WIDTH - LEFT - RIGHT) / max(bar.end() for bar in self.bars)
        step = tick(max(bar.end() for bar in self.bars))
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
            f"<title>{escape(self.title)}</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            f'<text x="12" y="22" font-size="15" font-weight="bold">{escape(self.title)}</text>',
        ]
        x = 12.0
        for name, colour in [*self.legend, *marks(self.bars)]:
            out.append(f'<rect x="{x:.0f}" y="33" width="10" height="10" fill="{colour}"/>')
            out.append(f'<text x="{x + 14:.0f}" y="42">{escape(name)}</text>')
            x += 30 + 7.2 * len(name)
        value, bottom = 0.0, height - 28
        while value * scale <= WIDTH - LEFT - RIGHT + 1:
            at = LEFT + value * scale
            out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 6}" y2="{bottom}" stroke="#dddddd"/>')
            out.append(f'<text x="{at:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#555555">{value:g}</text>')
            value += step
        out.append(f'<text x="{WIDTH - 8}" y="{bottom + 14}" text-anchor="end" fill="#555555">{escape(self.unit)}</text>')
        for number, bar in enumerate(self.bars):
            out += drawn(bar, TOP + number * (BAR + GAP), scale)
        return "\n".join([*out, "</svg>"]) + "\n"


def marks(bars: list[Bar]) -> list[tuple[str, str]]:
    found = [("must", "#c0392b")] if any(bar.must is not None for bar in bars) else []
    return found + ([("aim", "#2e8b57")] if any(bar.aim is not None for bar in bars) else [])


def drawn(bar: Bar, y: float, scale: float) -> list[str]:
    out = [f'<text x="{LEFT - 8}" y="{y + BAR - 5}" text-anchor="end">{escape(bar.label)}</text>']
    x = float(LEFT)
    for length, colour in bar.parts:
        out.append(f'<rect x="{x:.1f}" y="{y}" width="{max(length, 0) * scale:.1f}" height="{BAR}" fill="{colour}"/>')
        x += max(length, 0) * scale
    middle = y + BAR / 2
    if bar.least is not None and bar.greatest is not None:
        low, high = (LEFT + max(one, 0) * scale for one in (bar.least, bar.greatest))
        out.append(f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" stroke="#222222" fill="none"/>')
        x = max(x, high)
    for value, colour in ((bar.must, "#c0392b"), (bar.aim, "#2e8b57")):
        if value is not None:
            at = LEFT + value * scale
            out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y - 3}" y2="{y + BAR + 3}" stroke="{colour}" stroke-width="2.5"/>')
            x = max(x, at) if abs(at - x) < 40 else x
    out.append(f'<text x="{x + 6:.1f}" y="{y + BAR - 5}">{shown(sum(length for length, _ in bar.parts))}</text>')
    return out


def shown(value: float) -> str:
    """Three digits, and all of them where there are more before the point."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def tick(greatest: float) -> float:
    """A round step: 1, 2 or 5 by a power of ten, ten of them at most."""
    step = 10.0 ** -3
    while greatest / step > 10:
        step *= 2.5 if f"{step:e}".startswith("2") else 2
    return step


def colour(name: str) -> str:
    return COLOURS["testpmd"] if name in programs.TESTPMD else COLOURS["c_loop"] if name == programs.C_LOOP else COLOURS["tidegate"]


def of_programs(report: dict) -> Plot | None:
    bars = [
        Bar(programs.label(name), [(one["above_io"]["median"], colour(name))], one["above_io"]["min"], one["above_io"]["max"], *goal(report, above=name))
        for name, one in report.get("programs", {}).items()
        if name != programs.FLOOR
    ]
    return Plot("4,096 connections, 60-byte TCP frames, with DPDK", "cycles a packet above testpmd io", bars) if bars else None


def of_speed(report: dict) -> Plot | None:
    bars = []
    for name, one in report.get("programs", {}).items():
        ratio = one["speed_of"][programs.PEER]
        goals = (0.72, 0.85) if name == "nat" else (None, None)
        bars.append(Bar(programs.label(name), [(ratio["median"], colour(name))], ratio["min"], ratio["max"], *goals))
    return Plot(f"Packets a second, as a part of testpmd {programs.PEER}'s", "ratio", bars) if bars else None


def goal(report: dict, above: str | None = None, what: str | None = None) -> tuple[float | None, float | None]:
    """What must be and what is aimed at, by a program's name or a line's beginning."""
    wanted = f"{above} IPv4, 4k flows, with" if above == "nat" else f"{above} IPv4, 4k, with" if above else what
    found = next((line for line in report["lines"] if line["figure"].startswith(wanted)), None)
    return (found["must"], found["aim"]) if found else (None, None)


def of_flows(report: dict) -> Plot | None:
    bars = []
    for figure in lines.figures(report, "established"):
        flows = next((name for name, count in lines.FLOWS.items() if count == figure["flows"]), str(figure["flows"]))
        family = figure["family"].replace("v", "IPv")
        label, spread = f"{figure['mode']} {family}, {flows}", figure["cycles"]
        shade = STAGES[0] if figure["family"] == "v4" else STAGES[1]
        bars.append(Bar(label, [(spread["median"], shade)], spread["min"], spread["max"], *goal(report, what=label)))
    return Plot("Established flows, without devices", "cycles a packet above I/O", bars) if bars else None


def of_stages(report: dict) -> Plot | None:
    cases = {case: stages for case, stages in report.get("instructions", {}).items() if case != "housekeeping"}
    if not cases:
        return None
    names = list(dict.fromkeys(stage for stages in cases.values() for stage in stages if stage not in ("all", "counters")))
    shades = dict(zip(names, STAGES))
    bars = []
    for case, stages in cases.items():
        parts = [(cost, shades.get(stage, "#cccccc")) for stage, cost in stages.items() if stage not in ("all", "counters")]
        rest = stages.get("all", 0) - sum(cost for cost, _ in parts)
        bars.append(Bar(case, [*parts, (rest, "#cccccc")]))
    return Plot("Where the instructions go", "instructions a packet", bars, [*shades.items(), ("between", "#cccccc")])


PLOTS = {"programs": of_programs, "speed": of_speed, "flows": of_flows, "stages": of_stages}


def write(report: dict, directory: Path) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in PLOTS.items():
        if plot := draw(report):
            file = directory / f"{name}.svg"
            file.write_text(plot.svg())
            written.append(file)
    return written
