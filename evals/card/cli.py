"""The command line of `python -m evals.card`."""

import shlex
from pathlib import Path
from typing import Any

import click

from vdt_mlx.commands.options import Flagged
from vdt_mlx.commands.paths import UserPath
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path

BEGIN, END = "<!-- examined: begin -->", "<!-- examined: end -->"
CARD = "README.md"


@click.command(cls=Flagged, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("results", type=UserPath())
@click.argument("checkpoint", type=UserPath())
def card(results: Path, checkpoint: Path) -> None:
    """Put what an examination (the folder RESULTS) found on the model card of the folder CHECKPOINT.

    Numbers with their intervals beside what was asked for, and pictures: clips from best to worst, the responses to
    the probes, several futures of one clip. What the card said of an earlier examination is replaced; the rest stays.
    """
    from evals.card import pictures
    from evals.card.measures import measures
    from evals.physics.results import read
    from evals.physics.settings import Settings
    from evals.physics.sources import suite_of
    from evals.physics.units import jobs_of
    from evals.predictors.checkpoint import Checkpoint
    from vdt_mlx.from_values import from_dict

    body = read(results / "results.json")
    _check(body, results, checkpoint)
    rows = measures(body)
    if not rows:
        raise VDTError(f"{results} measured nothing that a card shows: examine without --scenario and --sections.")
    folder = checkpoint / "card"
    folder.mkdir(exist_ok=True)
    settings = from_dict(Settings, body["settings"], str(results))
    suite = suite_of(settings)
    shown = pictures.clips(suite, jobs_of(settings, suite), body, results / "work", folder / "clips.png")
    responses = pictures.probes(body, folder / "probes.png")
    pictures.futures(Checkpoint(str(checkpoint)), folder / "futures.png")
    text = section(body, [row.cells() for row in rows], shown, responses)
    path = checkpoint / CARD
    old = path.read_text(encoding="utf-8") if path.is_file() else f"# {checkpoint.name}\n"
    with atomic_path(path) as partial:
        partial.write_text(replaced(old, text), encoding="utf-8")
    met = sum(row.met for row in rows)
    click.echo(f"{met} of {len(rows)} goals are met.\ncard:     {path}\npictures: {folder}")


def _check(body: dict[str, Any], results: Path, checkpoint: Path) -> None:
    """Raises VDTError unless the examination is one of this checkpoint."""
    from vdt_mlx.config import VDT_FILE
    from vdt_mlx.files import sha256

    model = next((p for p in body["predictors"] if p["name"] == body.get("model")), None)
    if model is None:
        raise VDTError(f"{results} examined no model, so it says nothing about {checkpoint}.")
    weights = checkpoint / VDT_FILE
    if not weights.is_file():
        raise VDTError(f"{checkpoint} is no checkpoint folder: it has no {VDT_FILE}.")
    if model["details"].get("sha256") != sha256(weights):
        raise VDTError(f"{results} examined other weights than those in {checkpoint}.")


def section(body: dict[str, Any], rows: list[list[str]], shown: list[str], responses: bool) -> str:
    """The section of the card, in Markdown."""
    command, suite = shlex.join(body.get("command", [])), body["suite"]
    machine = body.get("machine", "a machine that was not named")
    lines = [
        "## Did it learn the physics?",
        "",
        f"`{command}`: the frozen test suite (fingerprint `{suite['fingerprint'][:16]}`, world "
        f"{body['settings'].get('world', 1)}), {body['settings']['clips']} clips a scenario and law, on {machine}. "
        "Intervals are 95 %. The goals were set before anything was trained.",
        "",
        "| | this checkpoint | goal | met |",
        "|---|---|---|---|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
        "",
        "![Six clips, truth above prediction](card/clips.png)",
        "",
        f"Truth above prediction, the given frames first: {'; '.join(shown)}.",
        "",
    ]
    if responses:
        lines += ["![Predicted against true effect of each probe](card/probes.png)", ""]
    lines += ["![Several futures of one clip](card/futures.png)", ""]
    return "\n".join([BEGIN, *lines, END])


def replaced(old: str, text: str) -> str:
    """A card with its section replaced; a new one goes before the limits, or to the end."""
    if BEGIN in old and END in old:
        head, _, rest = old.partition(BEGIN)
        return head + text + rest.partition(END)[2]
    head, limits, rest = old.partition("\n## Limits")
    return f"{head.rstrip()}\n\n{text}\n{limits}{rest}"


def main() -> None:
    from vdt_mlx.cli import run

    run(card, prog_name="python -m evals.card")
