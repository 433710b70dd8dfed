"""What every measurement prints and leaves: a table on the terminal, a JSON file, and a chart as SVG."""

import html
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from vdt_mlx.files import atomic_path

T = TypeVar("T")

COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#7d3c98", "#515a5a", "#d35400", "#117a65")


@dataclass
class Table:
    """Rows of mixed values under named columns."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Any]] = field(default_factory=list)

    def show(self) -> None:
        import rich.table
        from rich.console import Console

        table = rich.table.Table()
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="left" if index == 0 else "right")
        for row in self.rows:
            table.add_row(*(cell(value) for value in row))
        console = Console(width=None if os.isatty(1) else 140)
        console.print(f"\n[bold]{self.title}[/bold]", highlight=False)
        console.print(table)


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


@dataclass
class Chart:
    """Lines over a shared x axis; both axes can be logarithmic."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    log_x: bool = False
    log_y: bool = False
    level: tuple[str, float] | None = None
    """A horizontal line to compare with, and its name."""

    def svg(self) -> str:
        width, height, left, right, top, bottom = 760, 420, 64, 190, 40, 48
        points = [point for line in self.lines.values() for point in line]
        if self.level is not None:
            points = [*points, (points[0][0], self.level[1])]
        across = _Axis([x for x, _ in points], self.log_x, left, width - right)
        up = _Axis([y for _, y in points] + ([] if self.log_y else [0.0]), self.log_y, height - bottom, top)
        middle = (left + width - right) / 2
        parts = [
            f'<text x="{left}" y="22" font-size="15" font-weight="bold">{html.escape(self.title)}</text>',
            f'<text x="{middle}" y="{height - 8}" text-anchor="middle">{html.escape(self.x)}</text>',
            f'<text transform="translate(14 {(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">'
            f"{html.escape(self.y)}</text>",
        ]
        for value in up.marks():
            y = up.at(value)
            parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        written = -math.inf
        for value in sorted({x for x, _ in points}):
            place = across.at(value)
            if place - written >= 24:
                parts.append(f'<text x="{place:.1f}" y="{height - bottom + 18}" text-anchor="middle">{value:g}</text>')
                written = place
        if self.level is not None:
            y = up.at(self.level[1])
            parts.append(
                f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#555" '
                f'stroke-dasharray="5 4"/>'
                f'<text x="{width - right + 8}" y="{y + 4:.1f}">{html.escape(self.level[0])}</text>'
            )
        for index, (name, line) in enumerate(self.lines.items()):
            colour = COLOURS[index % len(COLOURS)]
            path = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in sorted(line))
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="3" fill="{colour}"/>' for x, y in line]
            y = top + 60 + 18 * index
            parts.append(f'<rect x="{width - right + 8}" y="{y - 8}" width="12" height="4" fill="{colour}"/>')
            parts.append(f'<text x="{width - right + 26}" y="{y}">{html.escape(name)}</text>')
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
        )


class _Axis:
    """Values to pixels."""

    def __init__(self, values: Sequence[float], log: bool, start: float, end: float):
        self.log, self.start, self.end = log, start, end
        self.low, self.high = min(values), max(values)
        if self.low == self.high:
            self.low, self.high = self.low * 0.9, self.high * 1.1 or 1.0

    def at(self, value: float) -> float:
        low, high = (math.log(v) if self.log else v for v in (self.low, self.high))
        share = ((math.log(value) if self.log else value) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def marks(self) -> list[float]:
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [k * 10.0**p for p in powers for k in (1, 2, 5) if self.low <= k * 10.0**p <= self.high]
            return found or [self.low, self.high]
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(k for k in (1, 2, 5, 10) if (self.high - self.low) / (k * step) <= 6)
        return [round(k * step, 10) for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def machine() -> dict[str, Any]:
    """Where a measurement was made."""
    from vdt_mlx.device.about import describe
    from vdt_mlx.device.cpu_streams import available_cores
    from vdt_mlx.low_memory import machine_bytes

    memory = machine_bytes()
    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gib": round(memory / 2**30, 1) if memory else None,
        **describe(),
        "python": platform.python_version(),
    }
    for package in ("vdt-mlx", "mlx", "numpy", "torch"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = None
    if hasattr(os, "getloadavg"):
        facts["load_average"] = round(os.getloadavg()[0], 2)
    return facts


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def finish(name: str, out: Path, tables: Sequence[Table], body: dict[str, Any], charts: Sequence[Chart] = ()) -> None:
    """Prints the tables and writes NAME.json and a NAME.svg for each chart into `out`."""
    import click

    for table in tables:
        table.show()
    written = [out / f"{name}.json"]
    with atomic_path(written[0]) as partial:
        partial.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    for index, chart in enumerate(charts):
        written.append(out / f"{name}{f'-{index + 1}' if len(charts) > 1 else ''}.svg")
        with atomic_path(written[-1]) as partial:
            partial.write_text(chart.svg(), encoding="utf-8")
    click.echo("wrote " + ", ".join(str(path) for path in written))


def progress(items: Sequence[T], title: str) -> Iterable[T]:
    """The items, with a bar on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, title, console=Console(stderr=True), transient=True)


def alternate(work: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each piece of work, in turns, so that what disturbs the machine disturbs all of them; warmed up.

    A piece of work that returns a float has taken its own time.
    """
    for run in work.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            start = time.perf_counter()
            own = run()
            seconds[name].append(own if isinstance(own, float) else time.perf_counter() - start)
    return seconds


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    import numpy as np

    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(middle), float(low), float(high)
