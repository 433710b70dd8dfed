"""The job behind `python -m evals.physics`: from its options to settings, a run, and the files that it writes."""

import json
import os
from pathlib import Path
from typing import Any

import click

from evals.physics import results
from evals.physics.cli import FULL, FULL_LIBRARY, QUICK, QUICK_LIBRARY
from evals.physics.examiner import Examiner, Settings
from evals.physics.verdict import verdict
from evals.report.terminal import Bar, known_metrics, show
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path

COLUMNS = ("ade", "fde", "velocity", "presence_both", "identity_kept", "contact")


def run(options: dict[str, Any], given: set[str], command: list[str]) -> None:
    """Examines, writes results.json and report.html, prints the verdict and the tables."""
    settings = _settings(options, given)
    columns = known_metrics(options["metrics"] or COLUMNS)
    if options["export"] is not None:
        _export(settings, options["export"], given)
        return
    if settings.lpips:
        from evals.scoring.lpips import network

        network()
    if not settings.models and not settings.predictions and not settings.code and not options["rivals_only"]:
        raise VDTError("There is nothing to examine.")
    from vdt_mlx.device import blas

    if settings.models and not blas.load():
        click.echo(f"Note: {blas.ADVICE}", err=True)
    examiner = Examiner(settings, allow_trained=options["allow_trained"])
    out = _out_folder(options["out"], options["resume"])
    try:
        with Bar(sum(job.stop - job.start for job in examiner.jobs)) as bar:
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
    from evals.physics import highlights as gallery
    from evals.report import page as report

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
    from evals.predictors import frames as predictors

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
