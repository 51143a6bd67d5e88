#!/usr/bin/python3
"""Draws docs/performance/elephants-*.svg: how evenly methods spread elephants, from `cargo bench --bench elephants -- --json`.

usage: scripts/bench.d/elephants.py [FILE]     FILE: what that wrote; without it, it is run
"""

import json
import subprocess
import sys
from pathlib import Path

import plots

ROOT = Path(__file__).resolve().parents[2]
COLOURS = {"maglev": "#8a8f98", "least_connections": "#4f9da6", "HAProxy leastconn": "#b0682e", "adaptive": "#1f6f8b"}
COMMAND = ["cargo", "bench", "--quiet", "--bench", "elephants", "--", "--json"]


def rows() -> list[dict]:
    if len(sys.argv) > 1:
        return json.loads(Path(sys.argv[1]).read_text())
    return json.loads(subprocess.run(COMMAND, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)


def scene(row: dict) -> str:
    backends = "one at 10 %" if row["slow"] else "all sound"
    return f"{backends}, {'new connections' if row['transfers'] == 1 else 'kept for ' + str(row['transfers'])}"


def plot(title: str, unit: str, found: list[dict], key: str, must: float, most: float) -> plots.Plot:
    """Bars by scene and method; what is beyond `most` is cut and written out in the label."""
    bars = []
    for row in found:
        value = row[key]
        beyond = f" ({value:.1f})" if value > most else ""
        label = f"{scene(row)}{beyond}"
        bars.append(plots.Bar(label, [(min(value, most), COLOURS[row["method"]])], must=must))
    return plots.Plot(title, unit, bars, list(COLOURS.items()))


def main() -> None:
    found, directory = rows(), ROOT / "docs/performance"
    goodput = plot("Elephants: goodput", "of the possible", found, "goodput", 0.95, 1.0)
    load = plot("Elephants: connections by capacity, the most by the mean", "ratio, cut at 3", found, "connections", 1.10, 3.0)
    for name, drawn in (("elephants-goodput", goodput), ("elephants-load", load)):
        file = directory / f"{name}.svg"
        file.write_text(drawn.svg())
        print(f"wrote {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
