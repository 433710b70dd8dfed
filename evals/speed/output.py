"""What every measurement prints and leaves: a table on the terminal, a JSON file, and charts as PNG and SVG."""

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from evals.report.terminal import console_for_results, say_path, show_table
from vdt_mlx.files import atomic_path
from vdt_mlx.media.figures import save_figure
from vdt_mlx.progress import Bar

T = TypeVar("T")

MARKERS = "osD^vP"


@dataclass
class Table:
    """Rows of mixed values under named columns."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Any]] = field(default_factory=list)

    def show(self) -> None:
        """Prints it, as wide as the terminal has room for."""
        columns = [str(column) for column in self.columns]
        rows = [[cell(value) for value in row] for row in self.rows]
        show_table(console_for_results(), self.title, columns, rows)


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

    def save(self, paths: Iterable[Path]) -> None:
        """Draws the chart into each path, .png or .svg."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.6, 4.2), dpi=144, layout="constrained")
        axes = figure.add_subplot()
        for index, (name, line) in enumerate(self.lines.items()):
            xs, ys = zip(*sorted(line), strict=True)
            style = {"color": self._colour(index), "marker": MARKERS[index % len(MARKERS)], "markersize": 4}
            axes.plot(xs, ys, linewidth=1.6, label=name, **style)
        if self.level is not None:
            name, value = self.level
            axes.axhline(value, color="0.35", linestyle="--", linewidth=1.2, label=name)
        axes.set(title=self.title, xlabel=self.x, ylabel=self.y)
        self._scale(axes)
        axes.grid(True, color="0.88", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
        save_figure(figure, paths)

    def _colour(self, index: int) -> Any:
        """One of its own for every line, however many there are."""
        from matplotlib import colormaps

        if len(self.lines) <= 10:
            return colormaps["tab10"](index)
        return colormaps["turbo"](0.05 + 0.9 * index / (len(self.lines) - 1))

    def _scale(self, axes: Any) -> None:
        """Axes from zero up, or logarithmic with plain numbers at the places that were measured."""
        from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

        if self.log_y:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        else:
            axes.set_ylim(bottom=0)
        if self.log_x:
            axes.set_xscale("log")
            places = sorted({x for line in self.lines.values() for x, _ in line})
            apart = [x for i, x in enumerate(places) if i == 0 or x >= 1.25 * places[i - 1]]
            axes.xaxis.set_major_locator(FixedLocator(apart))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def machine() -> dict[str, Any]:
    """Where a measurement was made."""
    from vdt_mlx.device.about import describe
    from vdt_mlx.device.cpu_streams import available_cores
    from vdt_mlx.device.memory import machine_bytes

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
    """Prints the tables and writes NAME.json, and NAME.png and NAME.svg for each chart, into `out`."""
    for table in tables:
        table.show()
    written = [out / f"{name}.json"]
    with atomic_path(written[0]) as partial:
        partial.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    for index, chart in enumerate(charts):
        stem = f"{name}-{index + 1}" if len(charts) > 1 else name
        pictures = [out / f"{stem}.{kind}" for kind in ("png", "svg")]
        chart.save(pictures)
        written += pictures
    console = console_for_results()
    console.print()
    say_path(console, "wrote", ", ".join(str(path) for path in written))


def progress(items: Sequence[T], title: str) -> Iterator[T]:
    """The items, with a bar, or a line now and then, on standard error."""
    with Bar(len(items), "parts", title) as bar:
        for item in items:
            yield item
            bar.advance()


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
