"""The jobs behind `python -m evals.physics`: run, compare, measure the tracker, derive the contact threshold."""

import io
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from evals import cases, metrics, results
from evals.physics import FULL, FULL_LIBRARY, QUICK, QUICK_LIBRARY
from evals.runner import Examiner, Progress, Settings
from evals.scoring import METRICS
from evals.verdict import Table, number, span, verdict
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path

COLUMNS = ("ade", "fde", "velocity", "presence_both", "identity_kept", "contact")
ROOMY = 150
"""Columns of a terminal from which on intervals are printed beside means."""


def run(options: dict[str, Any], given: set[str], command: list[str]) -> None:
    """Examines, writes results.json and report.html, prints the verdict and the tables."""
    settings = _settings(options, given)
    columns = _known_metrics(options["metrics"] or COLUMNS)
    if options["export"] is not None:
        _export(settings, options["export"], given)
        return
    if settings.lpips:
        from evals.lpips_column import network

        network()
    if not settings.models and not settings.predictions and not settings.code and not options["rivals_only"]:
        raise VDTError("There is nothing to examine.")
    from vdt_mlx import blas

    if settings.models and not blas.load():
        click.echo(f"Note: {blas.ADVICE}", err=True)
    examiner = Examiner(settings, allow_trained=options["allow_trained"])
    out = _out_folder(options["out"], options["resume"])
    try:
        with _Bar(sum(job.stop - job.start for job in examiner.jobs)) as bar:
            body = examiner.run(out, resume=options["resume"], progress=bar)
    except KeyboardInterrupt:
        if out.is_dir():
            click.echo(f"What is done is kept: the same command with --resume --out {out} goes on.", err=True)
        raise
    if body is None:
        return
    body["command"] = command
    body["verdict"] = verdict(body)
    paths = write(examiner, body, out, command)
    if options["as_json"]:
        unions = list(body["unions"]) or [group["name"] for group in body["suite"]["groups"]]
        rows = [row for row in body["rows"] if row["scenario"] in unions]
        found = {
            "outputs": paths,
            "fingerprint": body["suite"]["fingerprint"],
            "verdict": body["verdict"],
            "rows": rows,
        }
        click.echo(json.dumps({**found, "seconds": body["seconds"]}, allow_nan=False))
        return
    show(body, columns)
    for what, path in paths.items():
        click.echo(f"{what}: {path}")


def write(examiner: Examiner, body: dict[str, Any], out: Path, command: list[str]) -> dict[str, str]:
    """results.json and report.html in `out`; returns where they are."""
    from evals import gallery, report

    results.write(body, out / "results.json")
    page = report.render(body, gallery.pictures(examiner, body, out / "work"), command)
    with atomic_path(out / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")
    return {"results": str(out / "results.json"), "report": str(out / "report.html")}


def _settings(options: dict[str, Any], given: set[str]) -> Settings:
    full = options["extent"] == "full"
    if "clips" in given and "extent" in given:
        raise VDTError("--clips says how many clips; --quick or --full beside it would do nothing.")
    models = options["models"]
    others = options["predictions"] or options["code"]
    if options["rivals_only"] and (models or others):
        raise VDTError("--rivals-only examines no model; --model, --predictions or --code beside it would do nothing.")
    if not models and not others and not options["rivals_only"] and options["export"] is None:
        models = ("physics",)
    if not models:
        inert = given & {"samples", "sampler", "steps", "seed", "dtype", "autoencoder", "allow_trained"}
        if inert:
            names = ", ".join("--" + name.replace("_", "-") for name in sorted(inert))
            raise VDTError(f"{names} would do nothing without a --model.")
    if options["steps"] is not None and options["steps"] < 1:
        raise VDTError(f"--steps {options['steps']} does not fit: at least 1.")
    return Settings(
        scenarios=options["scenarios"],
        clips=options["clips"] if options["clips"] is not None else FULL if full else QUICK,
        given=options["given"],
        models=models,
        predictions=tuple(str(folder) for folder in options["predictions"]),
        code=options["code"],
        samples=options["samples"],
        sampler=options["sampler"],
        steps=options["steps"],
        seed=options["seed"],
        dtype=options["dtype"],
        autoencoder=options["autoencoder"],
        suite_seed=options["suite_seed"],
        library=options["library"] if options["library"] is not None else FULL_LIBRARY if full else QUICK_LIBRARY,
        lpips=options["lpips"],
        size=options["size"],
    )


def _export(settings: Settings, folder: Path, given: set[str]) -> None:
    from evals import predictors

    inert = given - {"export", "scenarios", "extent", "clips", "given", "suite_seed", "size"}
    if inert:
        names = ", ".join("--" + name.replace("_", "-") for name in sorted(inert))
        raise VDTError(f"--export only writes given frames; {names} would do nothing.")
    if len(settings.given) > 1:
        raise VDTError("--export writes one number of given frames; choose one with --given.")
    examiner = Examiner(settings, sources=[])
    predictors.export([case for job in examiner.jobs for case in examiner.cases(job)], folder)
    click.echo(f"{sum(job.stop - job.start for job in examiner.jobs)} clips: {folder}")


def _out_folder(out: Path | None, resume: bool) -> Path:
    if out is None:
        if "MLX_RANK" in os.environ:
            raise VDTError("Under mlx.launch give --out, so that all processes write to one folder.")
        base = Path("vdt-out")
        number = 1
        while (base / f"physics-{number}").exists():
            number += 1
        out = base / f"physics-{max(number - 1, 1) if resume else number}"
    if out.exists() and not out.is_dir():
        raise VDTError(f"--out {out} is a file; give a folder.")
    if resume and not (out / "work").is_dir():
        raise VDTError(f"There is no run in {out} to --resume.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VDTError(f"--out {out} cannot be written to ({error.strerror or error}).") from None
    if not os.access(out, os.W_OK):
        raise VDTError(f"--out {out} cannot be written to.")
    return out


class _Bar(Progress):
    """Clips done, on standard error, on a terminal only."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("clips"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("examining", total=total)

    def __enter__(self) -> "_Bar":
        self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()

    def tell(self, step: str) -> None:
        self.bar.update(self.task, description=step)

    def advance(self, clips: int) -> None:
        self.bar.advance(self.task, clips)


# ---- printing


def _known_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in METRICS:
            from difflib import get_close_matches

            close = get_close_matches(name, METRICS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(METRICS)}."
            raise VDTError(f"Unknown metric {name!r}; {hint}")
    return tuple(names)


def _console() -> Any:
    from rich.console import Console

    wide = sys.stdout.isatty()
    return Console(file=sys.stdout, width=None if wide else 180, highlight=False)


def show(body: dict[str, Any], columns: tuple[str, ...]) -> None:
    """The verdict, a table a union, and a line a scenario."""
    from rich.table import Table as RichTable

    from evals.report import SYMBOLS, best_in_column

    console = _console()
    labels = {m["name"]: m for m in body["metrics"]}
    unions = {name: entry["title"] for name, entry in body["unions"].items()}
    unions = unions or {group["name"]: group["title"] for group in body["suite"]["groups"]}
    console.print()
    for line in body["verdict"]:
        style = {"good": "green", "bad": "red", "plain": "default"}[line["state"]]
        console.print(f"[{style}]{SYMBOLS[line['state']]}[/] {line['text']}")
    for given in body["settings"]["given"]:
        table = Table(body, given)
        for name, title in unions.items():
            shown = [c for c in columns if any(key[1:] == (name, c) for key in table.rows)]
            if not shown:
                continue
            grid = RichTable(
                title=f"{title}, {given} frames given", title_justify="left", show_edge=False, pad_edge=False
            )
            grid.add_column("", no_wrap=True)
            for column in shown:
                arrow = {"lower": " ↓", "higher": " ↑", "": ""}[labels[column]["better"]]
                lines = textwrap.wrap(labels[column]["label"] + arrow, 10)
                if labels[column]["unit"]:
                    lines.append(labels[column]["unit"])
                grid.add_column("\n".join(lines), justify="right", no_wrap=True)
            best = {column: best_in_column(body, table, name, column) for column in shown}
            for predictor in body["predictors"]:
                rows = [table.row(predictor["name"], name, column) for column in shown]
                if any(rows):
                    cells = [
                        _text(row, column, predictor["name"] in best[column], console.width >= ROOMY)
                        for row, column in zip(rows, shown, strict=True)
                    ]
                    label = predictor["title"]
                    grid.add_row(f"[bold]{label}[/]" if predictor["kind"] == "model" else label, *cells)
            console.print()
            console.print(grid)
    _by_scenario(console, body)
    for entry in body["bad"][:20]:
        console.print(f"could not be scored: {entry['clip']} of {entry['predictor']} {entry['reason']}")
    if len(body["bad"]) > 20:
        console.print(f"... and {len(body['bad']) - 20} more, all in results.json")
    total = sum(len(clips) for clips in body["suite"]["clips"].values())
    console.print(f"\n{total} clips, fingerprint {body['suite']['fingerprint']}, {body['seconds']:.0f} s")


def _text(row: dict[str, Any] | None, metric: str, best: bool, roomy: bool) -> str:
    if row is None:
        return "–"
    mean = number(row["mean"], metric)
    if not roomy:
        return f"[bold]{mean}[/]" if best else mean
    within = span(row, metric).removesuffix(" %").replace(" to ", ", ")
    return f"{f'[bold]{mean}[/]' if best else mean} [dim]\\[{within}][/]"


def _by_scenario(console: Any, body: dict[str, Any]) -> None:
    from rich.table import Table as RichTable

    model = body.get("model")
    groups = body["suite"]["groups"]
    if model is None or len(groups) < 2:
        return
    table = Table(body)
    others = ("copy_last", "constant_velocity", "constant_acceleration", "nearest", "simulator")
    titles = {p["name"]: p["title"] for p in body["predictors"]}
    grid = RichTable(
        title="ADE (px) by scenario, and contact accuracy", title_justify="left", show_edge=False, pad_edge=False
    )
    grid.add_column("", no_wrap=True)
    for name in (model, *others):
        grid.add_column("\n".join(textwrap.wrap(titles[name], 12)), justify="right", no_wrap=True)
    grid.add_column("contact", justify="right", no_wrap=True)
    for group in groups:
        row = [number(table.mean(name, group["name"], "ade")) for name in (model, *others)]
        grid.add_row(group["title"], *row, number(table.mean(model, group["name"], "contact"), "contact"))
    console.print()
    console.print(grid)


# ---- compare


def compare(
    first: Path, second: Path, wanted: tuple[str, ...], scenarios: tuple[str, ...] | None, as_json: bool
) -> None:
    from rich.table import Table as RichTable

    wanted = _known_metrics(wanted)
    one, two = results.read(first), results.read(second)
    try:
        found = results.compare(one, two)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise VDTError(f"{first} or {second} is damaged ({type(error).__name__}: {error}).") from None
    names = list(dict.fromkeys(entry["scenario"] for entry in found))
    for name in scenarios or ():
        if name not in names:
            raise VDTError(f"Unknown scenario {name!r}: both results have {', '.join(names)}.")
    if as_json:
        settings = {
            key: [one["settings"].get(key), two["settings"].get(key)]
            for key in sorted({*one["settings"], *two["settings"]})
            if one["settings"].get(key) != two["settings"].get(key)
        }
        click.echo(json.dumps({"first": str(first), "second": str(second), "settings": settings, "differences": found}))
        return
    console = _console()
    _say_differing(console, one, two)
    shown = [n for n in names if n in (scenarios or one["unions"])] or names
    grid = RichTable(
        title="second minus first, on the same clips", title_justify="left", show_edge=False, pad_edge=False
    )
    for column in ("predictor", "scenario", "metric"):
        grid.add_column(column)
    for column in ("first", "second", "difference", "95 % interval", "clips"):
        grid.add_column(column, justify="right")
    changed = 0
    for entry in found:
        if entry["scenario"] not in shown or entry["metric"] not in wanted or entry["difference"] is None:
            continue
        if entry["difference"] == 0 and entry["low"] == 0 and entry["high"] == 0:
            continue
        changed += 1
        metric = METRICS[entry["metric"]]
        better = (entry["difference"] < 0) == (metric.better == "lower")
        style = ("green" if better else "red") if entry["settled"] and metric.better else "default"
        name = (
            f"{entry['predictor']}, {entry['given']} given" if len(one["settings"]["given"]) > 1 else entry["predictor"]
        )
        grid.add_row(
            name,
            entry["scenario"],
            metric.label,
            number(entry["first"], metric.name),
            number(entry["second"], metric.name),
            f"[{style}]{_signed(entry['difference'], metric.name)}[/]",
            f"{_signed(entry['low'], metric.name)} to {_signed(entry['high'], metric.name)}",
            str(entry["count"]),
        )
    if changed:
        console.print(grid)
        console.print("Coloured: the interval leaves out zero (green: the second is better).")
    else:
        console.print("Nothing differs on the clips that both have.")


def _signed(value: float, metric: str) -> str:
    return ("+" if value > 0 else "-" if value < 0 else "") + number(abs(value), metric)


def _say_differing(console: Any, one: dict[str, Any], two: dict[str, Any]) -> None:
    if one["suite"]["fingerprint"] != two["suite"]["fingerprint"]:
        console.print("The two were made on different sets of clips; only clips with the same names are compared.")
    for key in sorted({*one["settings"], *two["settings"]}):
        a, b = one["settings"].get(key), two["settings"].get(key)
        if a != b:
            console.print(f"{key}: {a} -> {b}")


# ---- the tracker, and the threshold


def degradations() -> dict[str, Any]:
    """name -> function of predicted frames (F, H, W, 3) uint8, for the tracker's table."""
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    def jpeg(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = []
        for frame in frames:
            data = io.BytesIO()
            Image.fromarray(frame).save(data, "JPEG", quality=75)
            out.append(np.asarray(Image.open(data).convert("RGB")))
        return np.stack(out)

    def noise(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        generator = np.random.default_rng(0)
        return np.clip(frames + generator.normal(0, 10, frames.shape), 0, 255).astype(np.uint8)

    return {
        "true frames": lambda f: f,
        "blur, 1 px": lambda f: gaussian_filter(f, (0, 1, 1, 0)),
        "noise, 10 of 255": noise,
        "JPEG, quality 75": jpeg,
        "5 % darker": lambda f: (f * 0.95).astype(np.uint8),
    }


def tracking(clips: int, scenarios: tuple[str, ...]) -> None:
    """Prints the tracker's error by degradation: pixels, presence, swaps, on the predicted frames."""
    from rich.table import Table as RichTable

    if clips < 1:
        raise VDTError(f"--clips {clips} does not fit: at least 1.")
    groups = cases.choose_groups(scenarios)
    grid = RichTable(title="The tracker against the truth, frames 9 to 16", title_justify="left", show_edge=False)
    grid.add_column("")
    for column in ("mean error, px", "95 %, px", "presence", "copies seen", "swaps"):
        grid.add_column(column, justify="right")
    batch = [cases.make_case(group, i, 8, 0) for group in groups for i in range(clips)]
    with _Bar(len(batch)) as bar:
        errors: dict[str, list[NDArray]] = {name: [] for name in degradations()}
        facts: dict[str, list[tuple[float, float, int]]] = {name: [] for name in degradations()}
        for case in batch:
            truth = case.truth
            for name, change in degradations().items():
                frames = np.concatenate([case.given_frames, change(case.frames[8:])])
                tracks = case.tracker.track(frames)
                error = metrics.displacement(truth.position, tracks.position, truth.visible)[8:]
                errors[name].append(error[np.isfinite(error)])
                facts[name].append(
                    (
                        metrics.presence(tracks.position[8:], truth.visible[8:]),
                        metrics.duplicates(np.where(truth.visible, tracks.copies, 0)[8:]),
                        metrics.identity_swaps(truth.position[8:], tracks.position[8:], truth.visible[8:]),
                    )
                )
            bar.advance(1)
    for name in errors:
        values = np.concatenate(errors[name])
        presence, copies, swaps = np.array(facts[name], float).T
        grid.add_row(
            name,
            f"{values.mean():.3f}",
            f"{np.quantile(values, 0.95):.3f}",
            f"{100 * np.nanmean(presence):.2f} %",
            f"{100 * np.nanmean(copies):.2f} %",
            f"{int(swaps.sum())}",
        )
    console = _console()
    console.print(grid)
    console.print(f"{len(batch)} clips of {len(groups)} groups")


def calibrate(clips: int, split: str) -> None:
    """Prints the gap threshold that separates contact from no contact best on true frames of a split."""
    import physics_sim

    scores, touches = [], []
    with _Bar(clips * len(physics_sim.SCENARIOS)) as bar:
        for scenario in physics_sim.SCENARIOS:
            (group,) = cases.choose_groups([f"{scenario}:{split}"])
            for index in range(clips):
                case = cases.make_case(group, index, 8, 0)
                truth = case.truth
                if truth.contact is not None and truth.patient is not None:
                    gap = truth.tracked.gap(truth.agent, truth.patient)
                    scores.append(metrics.contact_score(gap[truth.given - 1 :]))
                    touches.append(truth.contact)
                bar.advance(1)
    score, touch = np.array(scores), np.array(touches)
    low, high, accuracy = best_threshold(score, touch)
    click.echo(
        f"{len(score)} clips of the {split} split: gaps of {low:.2f} to {high:.2f} px answer "
        f"{100 * accuracy:.1f} % rightly; the middle is {(low + high) / 2:.2f} px."
    )


def best_threshold(score: NDArray, touch: NDArray) -> tuple[float, float, float]:
    """The widest run of thresholds (low, high) with the best accuracy of `score <= threshold`, and that accuracy."""
    grid = np.arange(-1.0, 4.0, 0.05)
    accuracy = np.array([((score <= value) == touch).mean() for value in grid])
    best = np.nonzero(accuracy >= accuracy.max() - 1e-12)[0]
    runs = np.split(best, np.nonzero(np.diff(best) > 1)[0] + 1)
    run = max(runs, key=len)
    return float(grid[run[0]]), float(grid[run[-1]]), float(accuracy.max())
