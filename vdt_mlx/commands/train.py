"""`vdt-mlx train`: autoencoder, vdt, recipe, config, plot, score, pack."""

import click

from vdt_mlx.commands.options import FlaggedGroup, allow_tf32, completing
from vdt_mlx.commands.paths import CheckpointPath, UserPath


def _names() -> tuple[str, ...]:
    """Of the shipped configurations."""
    from vdt_mlx.training.config import config_names

    return tuple(config_names())


@click.group(cls=FlaggedGroup)
def train() -> None:
    """Train an autoencoder or a VDT on this machine, draw its curves, score it."""


def _options(function):
    decorators = [
        click.option(
            "--config",
            help="physics (the default), vdt-s, vdt-l, or a TOML file; a resumed run has its own.",
            shell_complete=completing(_names),
        ),
        click.option("--out", required=True, type=UserPath(), help="Folder of the run."),
        click.option(
            "--fit",
            type=click.Choice(("crop", "pad", "stretch")),
            help="How own videos of another shape are fitted (data.fit).",
        ),
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Changes a setting: loop.batch=8."),
        click.option("--resume", is_flag=True, help="Goes on from the last saved state of --out, exactly."),
        click.option("--init", type=CheckpointPath(), help="Starts from the weights of a checkpoint or another run."),
        click.option("--steps", type=click.IntRange(min=1), help="Steps in all (loop.steps)."),
        click.option("--hours", type=click.FloatRange(min=0), help="Stops, saved, after so many hours."),
        click.option(
            "--from-step",
            "at",
            type=click.IntRange(min=1),
            help="With --resume: goes back to the saved state of a step.",
        ),
        click.option(
            "--restarts",
            type=click.IntRange(min=0),
            default=0,
            help="How often to start a run again that dies.",
        ),
        click.option("--tensorboard", is_flag=True, help="Write the log for TensorBoard too (OUT/tensorboard)."),
        click.option("--caffeinate/--no-caffeinate", default=True, help="Keep a Mac awake (the default)."),
        allow_tf32,
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def _with_fit(changes, fit):
    return changes if fit is None else (*changes, f"data.fit={fit}")


def _tell_end(out, result, following):
    """Where a run that ended left what, at which step, with which score, and what to do next."""
    if not result["step"]:
        return
    scores = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in result["scores"].items())
    told = f"; held-out clips: {scores}" if scores else ""
    click.echo(f"Wrote {out}/checkpoint: {result['step']} steps{told}. Next: {following}")


@train.command()
@_options
def autoencoder(config, out, fit, changes, restarts, caffeinate, **asked):
    """Train the image autoencoder that latents come from."""
    if restarts:
        _supervise("autoencoder", out, restarts)
    from vdt_mlx.device import blas, watchdog
    from vdt_mlx.training.start import train_autoencoder
    from vdt_mlx.training.supervise import awake

    watchdog.relax()
    blas.evaluate_widely()
    with awake(caffeinate):
        result = train_autoencoder(config, out, _with_fit(changes, fit), **asked)
    _tell_end(out, result, f"vdt-mlx train vdt --autoencoder {out}/checkpoint --out ...")


@train.command()
@_options
@click.option("--autoencoder", type=CheckpointPath(), help="Checkpoint with the autoencoder (default: --init's).")
def vdt(config, out, fit, changes, restarts, caffeinate, **asked):
    """Train a VDT on latents."""
    if restarts:
        _supervise("vdt", out, restarts)
    from vdt_mlx.device import blas, watchdog
    from vdt_mlx.training.start import train_vdt
    from vdt_mlx.training.supervise import awake

    watchdog.relax()
    blas.evaluate_widely()
    with awake(caffeinate):
        result = train_vdt(config, out, _with_fit(changes, fit), **asked)
    _tell_end(out, result, f"vdt-mlx sample --model {out}/checkpoint")


def _supervise(kind, out, restarts):
    """Runs this same command in a process of its own, resumed wherever it dies, and exits as it does."""
    import sys
    import time
    from pathlib import Path

    from vdt_mlx.training.supervise import again, supervised

    began = time.monotonic()

    def command():
        words = again(sys.argv[1:], (Path(out) / "run.json").is_file(), (time.monotonic() - began) / 3600)
        return [sys.executable, "-m", "vdt_mlx", *words]

    sys.exit(supervised(command, restarts))


@train.command()
@click.argument("name")
@click.option("--out", required=True, type=UserPath(), help="Folder of all stages and of the checkpoint.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Of training in all, instead of NAME's own.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Changes a setting of all stages.")
@click.option("--resume", is_flag=True, help="Goes on from the last saved state of --out, exactly.")
@click.option("--caffeinate/--no-caffeinate", default=True, help="Keep a Mac awake (the default).")
def recipe(name, out, hours, changes, resume, caffeinate):
    """From nothing to a packed checkpoint with its card: the stages of NAME (physics, or a TOML file).

    The checkpoint is written to OUT/checkpoint; each stage is a training run in OUT that `plot` and `score` read.
    """
    from vdt_mlx.device import blas, watchdog
    from vdt_mlx.training.recipe import run_recipe
    from vdt_mlx.training.supervise import awake

    watchdog.relax()
    blas.evaluate_widely()
    try:
        with awake(caffeinate):
            run_recipe(name, out, changes, resume=resume, hours=hours)
    except KeyboardInterrupt:
        click.echo(f"Stopped and saved. To go on: vdt-mlx train recipe {name} --out {out} --resume", err=True)
        raise
    click.echo(f"Wrote {out}/checkpoint. Next: vdt-mlx sample --model {out}/checkpoint")


@train.command()
@click.argument("folder", type=CheckpointPath())
@click.option("--split", default="test", show_default=True, help="Which of the simulator's splits.")
@click.option("--clips", default=64, show_default=True, type=click.IntRange(min=1), help="How many clips.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def score(folder, split, clips, as_json):
    """Centroid errors of a checkpoint FOLDER on unseen simulated clips, against repeating the last given frame."""
    import json

    from vdt_mlx.training.validate import score_folder

    result = score_folder(folder, split, clips)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    for name, row in {"all": result, **result["scenarios"]}.items():
        click.echo(
            f"{name:10} {row['clips']:4} clips  pair error {row['pair_error']:6.3f} px, {row['pair_error_final']:6.3f} "
            f"in the last frame; repeating the last given frame {row['copy_last_pair_error']:6.3f}; "
            f"{100 * row['presence']:5.1f} % of the objects there"
        )


@train.command()
@click.argument("name", default="physics", shell_complete=completing(_names))
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Changes a setting: loop.batch=8.")
@click.option("--describe", is_flag=True, help="Every key with its value, type and meaning.")
@click.option("--markdown", is_flag=True, help="All defaults, as a page of Markdown.")
def config(name, changes, describe, markdown):
    """Print a training configuration: NAME (physics, vdt-s, vdt-l, a recipe) or a TOML file, as TOML.

    What is printed can be saved, changed, and given to --config.
    """
    from vdt_mlx.training import describe as settings
    from vdt_mlx.training.config import config_names, load_config
    from vdt_mlx.training.recipe import RECIPES, recipe_names

    if markdown:
        click.echo(settings.as_markdown(), nl=False)
        return
    recipe_only = name in recipe_names() and name not in config_names()
    chosen = load_config(str(RECIPES / f"{name}.toml") if recipe_only else name, changes)
    click.echo(settings.as_text(chosen.to_dict()) if describe else settings.as_toml(chosen), nl=False)


@train.command()
@click.argument("folder", type=UserPath())
def plot(folder):
    """Draw the curves of the run in FOLDER into FOLDER/curves.svg and FOLDER/curves.png."""
    from pathlib import Path

    from vdt_mlx.training.plot import plot_run

    click.echo(f"Wrote {' and '.join(map(str, plot_run(Path(folder))))}")


@train.command()
@click.argument("folder", type=CheckpointPath())
@click.argument("target", type=UserPath())
@click.option("--split", default="test", show_default=True, help="Which of the simulator's splits to score on.")
@click.option("--clips", default=64, show_default=True, type=click.IntRange(min=1), help="How many clips to score.")
@click.option(
    "--autoencoder",
    type=CheckpointPath(),
    help="A checkpoint with its autoencoder, or a better decoder.",
)
def pack(folder, target, split, clips, autoencoder):
    """Make the checkpoint FOLDER of a run ready to ship: fp16 weights, scores and a model card in TARGET.

    Blocks of a tiny autoencoder that only add a constant on held-out frames are folded: no pixel of these changes.
    """
    from vdt_mlx.training.release import pack
    from vdt_mlx.training.validate import score_folder

    folded = pack(folder, target, lambda draft: score_folder(draft, split, clips), autoencoder)
    if folded:
        click.echo(f"Folded {len(folded)} blocks of the autoencoder that only add a constant: {', '.join(folded)}.")
    click.echo(f"Wrote {target}")
