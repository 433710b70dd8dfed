"""`python -m evals.physics`: give a model the start of clips it has never seen, and measure how it goes on with them.

python -m evals.physics                                     the shipped checkpoint, a few minutes
python -m evals.physics --full --model FOLDER --out DIR     100 clips a scenario
python -m evals.physics --export GIVEN                      write the given frames, for another system to continue
python -m evals.physics --predictions CLIPS                 score what it made
python -m evals.physics compare A/results.json B/results.json
"""

import sys
from pathlib import Path
from typing import Any

import click

from evals.options import Group, Names, Numbers
from evals.physics.settings import FULL, FULL_LIBRARY, QUICK, QUICK_LIBRARY, Settings
from physics_sim.worlds import WORLD_VERSION
from vdt_mlx.commands.options import allow_tf32
from vdt_mlx.commands.paths import NameOrPath, UserPath
from vdt_mlx.errors import VDTError


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.option(
    "--model",
    "models",
    multiple=True,
    type=NameOrPath(),
    help="A registered name, a folder or a hub repository; repeatable.  [default: physics]",
)
@click.option(
    "--predictions",
    multiple=True,
    type=UserPath(),
    help="A folder of clips made elsewhere; repeatable.",
)
@click.option("--code", multiple=True, help="A Python function given_frames -> frames, as module:function; repeatable.")
@click.option("--baselines-only", is_flag=True, help="No model: baselines and upper bounds alone.")
@click.option("--export", type=UserPath(), help="Write the given frames to this folder and stop.")
@click.option(
    "--suite",
    type=UserPath(),
    help="Your own labelled clips, or scenes of `vdt-mlx play`: a folder; or phyworld, with --data.",
)
@click.option("--data", type=UserPath(), help="With --suite phyworld: a file of PhyWorld's (HDF5).")
@click.option("--colours", help="With --suite: name=#rrggbb,... of objects whose labels say none.")
@click.option("--scenario", "scenarios", type=Names(), default="all", help="Scenarios and laws, NAME or NAME:SPLIT.")
@click.option("--quick", "extent", flag_value="quick", default=True, help=f"{QUICK} clips a scenario (the default).")
@click.option("--full", "extent", flag_value="full", help=f"{FULL} clips a scenario.")
@click.option("--clips", type=int, help="Clips a scenario.")
@click.option(
    "--given",
    type=Numbers(),
    default="8",
    help="Context frames; several numbers make a curve.  [--suite phyworld: 3]",
)
@click.option("--samples", type=int, default=1, help="Samples a clip.")
@click.option("--sampler", help="The checkpoint's own by default.")
@click.option("--steps", type=int, help="The checkpoint's own by default.")
@click.option("--seed", type=int, default=0, help="Of the samples' noise.")
@click.option("--dtype", type=click.Choice(("fp32", "fp16", "bf16")), default="fp32")
@click.option("--autoencoder", type=click.Choice(("kl", "tiny")), help="Which of the checkpoint's autoencoders.")
@click.option("--size", type=int, default=64, help="Side of the clips in pixels.")
@click.option(
    "--world", default=str(WORLD_VERSION), help="Version of the simulated world: 2, 1 (as first released), phyworld."
)
@click.option("--frames", type=int, help="Frames of a clip; the world's own number by default.")
@click.option("--suite-seed", type=int, default=0, help="0 is the official suite.")
@click.option(
    "--library",
    type=int,
    help=f"Training clips for the nearest one.  [default: {QUICK_LIBRARY}, --full {FULL_LIBRARY}]",
)
@click.option(
    "--sections", type=Names(), default="all", help="Parts beside the rows (probes, ...), by name; all, or none."
)
@click.option("--lpips", is_flag=True, help="Add LPIPS (needs the package lpips).")
@click.option("--metric", "metrics", type=Names(), help="Columns of the printed table.")
@click.option("--out", type=UserPath(), help="Output folder.  [default: vdt-out/physics-N]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--allow-trained", is_flag=True, help="Score a checkpoint on what it was trained on.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@allow_tf32
@click.pass_context
def physics(ctx: click.Context, **options: Any) -> None:
    """Measure how far from the physics a model's predictions are.

    The model gets the first frames of test clips; objects are tracked in what it generates; their paths, velocities,
    identities and contacts are scored against the simulator, beside baselines and upper bounds, with intervals. Writes
    results.json and report.html.
    """
    if ctx.invoked_subcommand is not None:
        return
    given = {name for name in ctx.params if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE}
    settings = _settings(options, given)
    from evals.physics import run as job
    from evals.report.table import KNOWN
    from evals.scoring.score import METRICS, known_metrics

    if options["export"] is not None:
        _refuse_inert(given - EXPORTING, "--export only writes given frames; {} would do nothing.")
        job.export(settings, options["export"])
        return
    job.run(
        settings,
        out=options["out"],
        resume=options["resume"],
        allow_trained=options["allow_trained"],
        columns=known_metrics(options["metrics"] or (), KNOWN if settings.data else METRICS),
        as_json=options["as_json"],
        command=["python", "-m", "evals.physics", *sys.argv[1:]],
    )


CHOOSING = {"scenarios", "extent", "clips", "given", "frames", "suite", "data", "colours"}
CHOOSING |= {"suite_seed", "size", "world"}
EXPORTING = CHOOSING | {"export"}
SIMULATED = {"world", "suite_seed", "size", "library", "sections"}
PHYWORLD = "phyworld"
SAMPLING = {"samples", "sampler", "steps", "seed", "dtype", "autoencoder", "allow_trained"}


def _settings(options: dict[str, Any], given: set[str]) -> Settings:
    """The settings that options say; `given` are the names of those on the command line."""
    full = options["extent"] == "full"
    if "clips" in given and "extent" in given:
        raise VDTError("--clips says how many clips; --quick or --full beside it would do nothing.")
    own, inert = _own_clips(options, given)
    if own:
        _refuse_inert(given & inert, "--suite examines your own clips; {} would do nothing beside it.")
    elif options["colours"] is not None:
        raise VDTError("--colours would do nothing without a --suite.")
    models, others = options["models"], options["predictions"] or options["code"]
    if options["baselines_only"] and (models or others):
        raise VDTError(
            "--baselines-only examines no model; --model, --predictions or --code beside it would do nothing."
        )
    if not models and not others and not options["baselines_only"] and options["export"] is None:
        models = ("physics",)
    if not models:
        _refuse_inert(given & SAMPLING, "{} would do nothing without a --model.")
    chosen = {name: options[name] for name in SAME if options[name] is not None}
    return Settings(
        clips=options["clips"] if options["clips"] is not None else FULL if full else QUICK,
        models=models,
        predictions=tuple(str(folder) for folder in options["predictions"]),
        library=options["library"] if options["library"] is not None else FULL_LIBRARY if full else QUICK_LIBRARY,
        **(chosen | own),
    )


SAME = (
    "scenarios",
    "given",
    "code",
    "samples",
    "sampler",
    "steps",
    "seed",
    "dtype",
    "autoencoder",
    "suite_seed",
    "lpips",
    "size",
    "sections",
    "world",
    "frames",
    "data",
    "colours",
)
"""Options that are a setting of the same name."""


def _own_clips(options: dict[str, Any], given: set[str]) -> tuple[dict[str, Any], set[str]]:
    """Settings of clips that are not the simulator's, and the options that would do nothing beside them."""
    suite, data = options["suite"], options["data"]
    if suite is not None and str(suite) == PHYWORLD and data is None and not suite.is_dir():
        raise VDTError("--suite phyworld needs --data FILE.hdf5: a file of PhyWorld's.")
    if data is not None:
        if suite is None or str(suite) != PHYWORLD:
            raise VDTError("--data would do nothing without --suite phyworld.")
        from evals.scoring.phyworld import FIRST

        own = {"suite": PHYWORLD, "data": str(data), "world": PHYWORLD, "sections": ()}
        return own | ({} if "given" in given else {"given": (FIRST,)}), SIMULATED - {"size", "library"} | {"colours"}
    return ({"suite": str(suite), "sections": ()} if suite is not None else {}), SIMULATED


def _refuse_inert(names: set[str], sentence: str) -> None:
    if names:
        listed = ", ".join("--" + name.replace("_", "-") for name in sorted(names))
        raise VDTError(sentence.format(listed))


@physics.command()
@click.argument("first", type=UserPath())
@click.argument("second", type=UserPath())
@click.option("--metric", "metrics", type=Names(), default="ade,velocity,presence_both,contact", help="Which metrics.")
@click.option("--scenario", "scenarios", type=Names(), help="Which scenarios.  [default: unions, then all]")
@click.option("--first", "one", help="A predictor of the first results, compared with that of --second.")
@click.option("--second", "two", help="A predictor of the second results.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with everything.")
def compare(
    first: Path,
    second: Path,
    metrics: tuple[str, ...],
    scenarios: tuple[str, ...] | None,
    one: str | None,
    two: str | None,
    as_json: bool,
) -> None:
    """Say what differs between two results, clip by clip, with paired intervals."""
    from evals.physics import compare as comparing

    comparing.show(first, second, metrics, scenarios, as_json, (one, two))


@physics.command()
@click.option("--clips", type=int, default=12, help="Clips a scenario.")
@click.option("--scenario", "scenarios", type=Names(), default="all", help="Which scenarios.")
def tracking(clips: int, scenarios: tuple[str, ...]) -> None:
    """Measure the tracker itself: on true frames, and after blur, noise and compression."""
    from evals.physics import calibrate as tracker_job

    tracker_job.tracking(clips, scenarios)


@physics.command()
@click.option("--clips", type=int, default=60, help="Clips a scenario.")
@click.option("--split", default="val", help="Never the test split.")
def calibrate(clips: int, split: str) -> None:
    """Derive the threshold of the contact question from true frames of a split that is not tested."""
    if split.startswith("test"):
        raise VDTError("The threshold is never tuned on the test split; use train or val.")
    from evals.physics import calibrate as tracker_job

    tracker_job.calibrate(clips, split)


def main() -> None:
    from vdt_mlx.cli import run

    run(physics, prog_name="python -m evals.physics")
