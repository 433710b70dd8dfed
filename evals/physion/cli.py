"""The command line of `python -m evals.physion`."""

import sys
from pathlib import Path
from typing import Any

import click

from evals.options import Names, Numbers
from vdt_mlx.commands.options import Flagged, allow_tf32
from vdt_mlx.commands.paths import NameOrPath, UserPath


@click.command(cls=Flagged, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=UserPath(), required=True, help="Folder of PhysionTest-Core, or one scenario's of it.")
@click.option(
    "--model", type=NameOrPath(), default="physics", help="A registered name, a checkpoint folder, or a hub repository."
)
@click.option("--labels", type=UserPath(), help="The label file.  [default: labels.csv in --data]")
@click.option("--readout", type=UserPath(), help="Folder of labelled clips to fit on.  [default: folds of --data]")
@click.option("--scenario", "scenarios", type=Names(), default="all", help="Which scenarios.")
@click.option(
    "--films",
    type=click.Choice(("redyellow", "plain")),
    default="redyellow",
    help="Which films the model gets: mp4s-redyellow/ or mp4s/.",
)
@click.option("--stride", type=int, default=9, help="Take every n-th frame of a film.")
@click.option("--given", type=int, help="Given frames.  [default: 5 at stride 9, 15 at stride 3]")
@click.option("--frames", type=int, help="Frames of a clip.  [default: 16 at stride 9, 50 at stride 3]")
@click.option("--clips", type=click.IntRange(1), help="At most so many clips a scenario.  [default: all]")
@click.option(
    "--seeds", type=Numbers("0,1,2"), default="0,1,2", help="Of generation, noise and folds; all are reported."
)
@click.option(
    "--part",
    type=click.Choice(("network", "autoencoder")),
    default="network",
    help="Whose features: the diffusion network's or the autoencoder's.",
)
@click.option("--block", help="Which block (vdt-mlx features --list-blocks).  [default: the middle one, or latents]")
@click.option("--timestep", type=float, help="Of the features of later frames.  [default: 250]")
@click.option("--sampler", help="The checkpoint's own by default.")
@click.option("--steps", type=int, help="The checkpoint's own by default.")
@click.option(
    "--dtype", type=click.Choice(("fp32", "fp16", "bf16")), default="fp32", help="What the network computes in."
)
@click.option("--autoencoder", type=click.Choice(("kl", "tiny")), help="Which of the checkpoint's autoencoders.")
@click.option(
    "--fit", type=click.Choice(("crop", "pad", "stretch")), default="crop", help="How frames of another shape fit."
)
@click.option("--out", type=UserPath(), help="Output folder.  [default: vdt-out/physion-N]")
@click.option("--resume", is_flag=True, help="Go on with the stopped run in --out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@allow_tf32
def physion(out: Path | None, resume: bool, as_json: bool, **options: Any) -> None:
    """Score a model on Physion's question: will the red object touch the yellow one?

    The model sees the first frames of a film and generates the rest; a logistic regression reads the answer from its
    features, scenario by scenario: of the given frames, of given and generated ones, of given and true ones. Writes
    results.json and a picture.
    """
    from evals.physion import run as job
    from evals.physion.settings import Settings, usual

    given, frames = usual(options["stride"], options["given"], options["frames"])
    paths = {name: None if options[name] is None else str(options[name]) for name in ("data", "labels", "readout")}
    settings = Settings(**{**options, **paths, "given": given, "frames": frames})
    job.run(settings, out, as_json, ["python", "-m", "evals.physion", *sys.argv[1:]], resume)


def main() -> None:
    from vdt_mlx.cli import run

    run(physion, prog_name="python -m evals.physion")
