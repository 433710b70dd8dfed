"""`python -m evals.leaderboard`: a submission is a card and results files of four seeds, and this checks it.

python -m evals.leaderboard card SUBMISSION                             write a card to fill in
python -m evals.leaderboard check SUBMISSION                            say what is missing
python -m evals.leaderboard build SUBMISSION... --out docs/leaderboard.md
"""

import json
from pathlib import Path

import click

from evals.leaderboard.rules import CARD, FIELDS, RULES
from vdt_mlx.commands.options import FlaggedGroup
from vdt_mlx.commands.paths import UserPath
from vdt_mlx.errors import VDTError


@click.group(cls=FlaggedGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def leaderboard() -> None:
    """Check submissions, and write the page of all of them from their results files."""


@leaderboard.command()
@click.argument("folder", type=UserPath())
def card(folder: Path) -> None:
    """Write a card to fill in into FOLDER."""
    from vdt_mlx.files import atomic_path

    path = folder / CARD
    if path.exists():
        raise VDTError(f"{path} is there already.")
    if not folder.is_dir():
        raise VDTError(f"There is no submission folder {folder}.")
    try:
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(FIELDS, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise VDTError(f"{path} cannot be written ({error.strerror or error}).") from None
    click.echo(f"{path}: fill it in, then python -m evals.leaderboard check {folder}")


@leaderboard.command()
@click.argument("folder", type=UserPath())
def check(folder: Path) -> None:
    """Say whether FOLDER is a submission, and each thing that it lacks. Simulates the suite's clips: about a minute."""
    from evals.leaderboard.submission import read

    one = read(folder, RULES, _fingerprint([folder]))
    if one.faults:
        raise VDTError("\n".join([*one.faults, f"{folder} is not a submission yet: {len(one.faults)} things to mend."]))
    seeds = ", ".join(map(str, sorted(one.seeds.values())))
    click.echo(f"{one.name}: a card, {len(one.bodies)} results files (seeds {seeds}), nothing is missing.")
    click.echo(f"Next: python -m evals.leaderboard build {folder} --out docs/leaderboard.md")


@leaderboard.command()
@click.argument("folders", nargs=-1, type=UserPath())
@click.option("--out", type=UserPath(), default="docs/leaderboard.md", help="The page.")
def build(folders: tuple[Path, ...], out: Path) -> None:
    """Write the page of the submissions FOLDERS; without any, one that says that there is none."""
    from evals.leaderboard.page import render
    from evals.leaderboard.submission import read
    from vdt_mlx.files import atomic_path

    fingerprint = _fingerprint(folders)
    found = [read(folder, RULES, fingerprint) for folder in folders]
    faults = [f"{one.folder}: {fault}" for one in found for fault in one.faults]
    names = [one.name for one in found]
    faults += [f"Two submissions are called {name!r}." for name in sorted(set(names)) if names.count(name) > 1]
    if faults:
        raise VDTError("\n".join(faults))
    if not out.parent.is_dir():
        raise VDTError(f"There is no folder {out.parent} for {out.name}.")
    try:
        with atomic_path(out) as partial:
            partial.write_text(render(found, RULES, fingerprint), encoding="utf-8")
    except OSError as error:
        raise VDTError(f"{out} cannot be written ({error.strerror or error}).") from None
    click.echo(f"{len(found)} submissions: {out}")


def _fingerprint(folders: tuple[Path, ...] | list[Path]) -> str:
    """That of the official clips, simulated here; folders that are none are refused before that."""
    from vdt_mlx.progress import Bar

    for folder in folders:
        if not folder.is_dir():
            raise VDTError(f"There is no submission folder {folder}.")
    with Bar(len(RULES.groups()) * RULES.clips, "clips", "simulating the suite") as bar:
        return RULES.fingerprint(bar)


def main() -> None:
    from vdt_mlx.cli import run

    run(leaderboard, prog_name="python -m evals.leaderboard")
