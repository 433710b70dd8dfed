"""The job behind `python -m evals.physics`: a run, and the files that it writes."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from evals.physics import highlights, results, sections
from evals.physics.examiner import Examiner
from evals.physics.settings import Settings
from evals.physics.verdict import verdict
from evals.phyworld import told
from evals.predictors import frames
from evals.report import page, table
from evals.report.out import check_folder, usual_folder
from evals.report.table import Part
from evals.report.terminal import console_for_results, say_path, show
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_update
from vdt_mlx.progress import Bar


def run(
    settings: Settings,
    *,
    out: Path | None = None,
    resume: bool = False,
    allow_trained: bool = False,
    columns: Sequence[str] = (),
    as_json: bool = False,
    command: Sequence[str] = (),
) -> None:
    """Examines, writes results.json and report.html, prints the verdict and the tables."""
    if settings.lpips:
        from evals.scoring.lpips import network

        network()
    from vdt_mlx.device import blas

    if settings.models and not blas.load():
        click.echo(f"Note: {blas.ADVICE}", err=True)
    folder = out_folder(out, resume)
    examiner = Examiner(settings, allow_trained=allow_trained)
    try:
        with Bar(examiner.parts, "parts", "examining") as bar:
            body = examiner.run(folder, resume=resume, progress=bar)
    except KeyboardInterrupt:
        if (folder / "work").is_dir():
            click.echo(f"What is done is kept: the same command with --resume --out {folder} goes on.", err=True)
        raise
    if body is None:
        return
    body["command"] = list(command)
    body["verdict"] = [*(told.verdict(body) or verdict(body)), *sections.verdicts(body)]
    paths = write(examiner, body, folder, command)
    if as_json:
        click.echo(json.dumps(_short(body, paths), allow_nan=False))
        return
    show(body, columns or table.columns(body), _parts(body))
    console = console_for_results()
    for what, path in paths.items():
        say_path(console, what, path)


def write(examiner: Examiner, body: dict[str, Any], out: Path, command: Sequence[str]) -> dict[str, str]:
    """results.json and report.html in `out`, both or neither; returns where they are."""
    chosen = highlights.pictures(examiner.suite, examiner.jobs, body, out / "work")
    text = page.render(body, chosen, command, _parts(body))
    with atomic_update(out, ("results.json", "report.html")) as partial:
        results.write(body, partial / "results.json")
        (partial / "report.html").write_text(text, encoding="utf-8")
    return {"results": str(out / "results.json"), "report": str(out / "report.html")}


def _parts(body: dict[str, Any]) -> list[Part]:
    """What stands beside the rows: PhyWorld's table, and what sections add."""
    return [*told.parts(body), *sections.shown(body)]


def export(settings: Settings, folder: Path) -> None:
    """Writes the given frames of the suite into `folder`."""
    if len(settings.given) > 1:
        raise VDTError("`export` writes one number of given frames; choose one with `given`.")
    examiner = Examiner(settings, sources=[])
    frames.export([case for job in examiner.jobs for case in job.cases(examiner.suite)], folder)
    click.echo(f"{sum(job.stop - job.start for job in examiner.jobs)} clips: {folder}")


def _short(body: dict[str, Any], paths: dict[str, str]) -> dict[str, Any]:
    """What --json prints."""
    unions = list(body["unions"]) or [group["name"] for group in body["suite"]["groups"]]
    return {
        "outputs": paths,
        "fingerprint": body["suite"]["fingerprint"],
        "verdict": body["verdict"],
        "rows": [row for row in body["rows"] if row["scenario"] in unions],
        "seconds": body["seconds"],
    }


def out_folder(out: Path | None, resume: bool) -> Path:
    """Where a run goes; raises VDTError, before any work, if it cannot go there. Nothing is made yet."""
    if out is None:
        if "MLX_RANK" in os.environ:
            raise VDTError("Under mlx.launch give `out`, so that all processes write to one folder.")
        out = usual_folder("physics", last=resume)
    check_folder(out)
    if resume and not (out / "work").is_dir():
        raise VDTError(f"There is no run in {out} to `resume`.")
    return out
