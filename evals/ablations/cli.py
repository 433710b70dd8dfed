"""The command line of `python -m evals.ablations`."""

import time
from pathlib import Path

import click

from evals.ablations.plan import SHIPPED, Plan, Run, read_plan
from vdt_mlx.commands.options import Flagged
from vdt_mlx.commands.paths import UserPath
from vdt_mlx.errors import VDTError


@click.command(cls=Flagged, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--table", "path", type=UserPath(), default=SHIPPED, help="The table of runs, a TOML file.")
@click.option("--out", type=UserPath(), default=Path("runs/ablations"), help="Folder of all runs.")
@click.option("--only", multiple=True, metavar="NAME", help="An arm or a comparison; repeatable.")
@click.option(
    "--seed", "seeds", multiple=True, type=click.IntRange(min=0), help="Only runs with this seed; repeatable."
)
@click.option("--list", "listed", is_flag=True, help="Show the runs and what is done; train nothing.")
@click.option("--report", is_flag=True, help="Only draw and write what the finished runs say.")
@click.option("--page", type=UserPath(), help="Where the page goes.  [default: OUT/ablations.md]")
def ablations(
    path: Path,
    out: Path,
    only: tuple[str, ...],
    seeds: tuple[int, ...],
    listed: bool,
    report: bool,
    page: Path | None,
) -> None:
    """Train small models that differ in one thing each, and compare them.

    The shipped table has the paper's comparisons. Stop it whenever you like: the same command goes on where it was.
    Commands for different seeds may run side by side in one --out.
    """
    plan = read_plan(path)
    runs = _chosen(plan, only, seeds)
    from evals.ablations.run import check_identity, is_done

    if out.exists() and not out.is_dir():
        raise VDTError(f"--out {out} is a file; give a folder.")
    for run in runs:
        check_identity(plan, run, out)
    if listed:
        if report or page is not None:
            raise VDTError("--list only shows the runs; --report and --page beside it would do nothing.")
        for run in runs:
            changes = ", ".join(f"{key} = {value}" for key, value in run.changes) or "nothing changed"
            click.echo(f"{'done' if is_done(plan, run, out) else 'to do':6} {run.name:20} {changes}")
        return
    if not report:
        _work(plan, runs, out)
    _report(plan, out, page)


def _chosen(plan: Plan, only: tuple[str, ...], seeds: tuple[int, ...]) -> list[Run]:
    """The runs of these arms and comparisons with these seeds; all without any."""
    most = max(run.seed for run in plan.runs())
    for seed in seeds:
        if seed > most:
            raise VDTError(f"--seed {seed}: the table has seeds 0 to {most}.")
    runs = [run for run in plan.runs() if run.seed in seeds or not seeds]
    if not only:
        return runs
    comparisons = {comparison.name: set(comparison.arms) for comparison in plan.comparisons}
    names: set[str] = set()
    for name in only:
        if name not in comparisons and name not in plan.arms:
            known = ", ".join([*comparisons, *plan.arms])
            raise VDTError(f"--only {name}: there is no such arm or comparison (there are {known}).")
        names |= comparisons.get(name, {name})
    return [run for run in runs if run.arm in names]


def _work(plan: Plan, runs: list[Run], out: Path) -> None:
    from evals.ablations.run import is_done, score, train

    waiting = [run for run in runs if not is_done(plan, run, out)]
    click.echo(f"{len(runs) - len(waiting)} of {len(runs)} runs are done.", err=True)
    began = time.monotonic()
    for place, run in enumerate(waiting):
        left = ""
        if place:
            minutes = (time.monotonic() - began) / place * (len(waiting) - place) / 60
            left = f", about {minutes:.0f} min left"
        click.echo(f"[{place + 1}/{len(waiting)}] {run.name}{left}", err=True)
        train(plan, run, out)
        click.echo(f"[{place + 1}/{len(waiting)}] {run.name}: scoring", err=True)
        score(plan, run, out)


def _report(plan: Plan, out: Path, page: Path | None) -> None:
    from evals.ablations.analysis import load
    from evals.ablations.figures import draw_all
    from evals.ablations.page import COLUMNS, against_centre, markdown, rows
    from evals.ablations.reference import reference
    from vdt_mlx.files import atomic_path

    arms = load(plan, out)
    if not arms:
        raise VDTError(f"No run in {out} is finished, so there is nothing to report.")
    still = reference(plan, out)
    for comparison in plan.comparisons:
        if sum(name in arms for name in comparison.arms) > 1:
            _table(comparison.title, list(COLUMNS), rows(plan, comparison, arms, still))
            for sentence in against_centre(plan, comparison, arms):
                click.echo(sentence)
            click.echo()
    target = page or out / "ablations.md"
    pictures = target.parent / target.stem
    draw_all(plan, arms, still, pictures)
    with atomic_path(target) as partial:
        text = markdown(plan, arms, still, Path(pictures.name), "python -m evals.ablations")
        partial.write_text(text, encoding="utf-8")
    click.echo(f"page:     {target}\npictures: {pictures}")
    missing = len(plan.runs()) - sum(arm.seeds for arm in arms.values())
    if missing:
        click.echo(f"{missing} runs are still to do: the same command without --report goes on.")


def _table(title: str, columns: list[str], cells: list[list[str]]) -> None:
    """A table on a terminal; on a narrow one every arm's values stand below each other, so that none is cut."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    widths = [max(len(row[i]) for row in [columns, *cells]) for i in range(len(columns))]
    if sum(widths) + 3 * len(widths) <= console.width:
        table = Table(*columns, title=title, title_justify="left")
        for row in cells:
            table.add_row(*row)
        console.print(table, markup=False)
        return
    click.echo(title)
    for row in cells:
        click.echo(f"  {row[0]}")
        for name, value in zip(columns[1:], row[1:], strict=True):
            if value:
                click.echo(f"    {name:12} {value}")


def main() -> None:
    from vdt_mlx.cli import run

    run(ablations, prog_name="python -m evals.ablations")
