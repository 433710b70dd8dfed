"""`vdt-mlx sample`: what can be asked. What is done with it is in `sample_run`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from physics_sim.names import everything
from vdt_mlx.commands.options import Renaming, allow_tf32, completing
from vdt_mlx.commands.paths import NameOrPath, UserPath
from vdt_mlx.config import GIVEN_TASKS, TASKS
from vdt_mlx.diffusion.sampling import OPTIONS, SAMPLERS, SPACINGS, fitting, having
from vdt_mlx.errors import VDTError

FITS = ("crop", "pad", "stretch")
FORMATS = ("gif", "mp4", "png", "npz")
OWN = "the checkpoint's own by default"


class FormatList(click.ParamType):
    """A comma-separated list of output formats."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        chosen = tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))
        unknown = [part for part in chosen if part not in FORMATS]
        if unknown or not chosen:
            self.fail(f"{value!r} is not a list of {', '.join(FORMATS)}", param, ctx)
        return chosen


def _with(option: str) -> str:
    """The samplers that have an option, in words."""
    return " and ".join(having(option))


def _listed(schedule: str) -> str:
    """The samplers that work on a schedule, in words."""
    return ", ".join(fitting(schedule))


@click.command(cls=Renaming, context_settings={"show_default": True})
@click.option("--task", type=click.Choice(TASKS), default="predict", help="Which frames are given.")
@click.option("--given", type=int, help=f"Number of given (context) frames ({', '.join(GIVEN_TASKS)}).")
@click.option("--mask", type=UserPath(), help="Your own mask instead: PNG or .npy, white or 1 = generate.")
@click.option(
    "--model", type=NameOrPath(), default="physics", help="A registered name, a checkpoint folder, or a hub repository."
)
@click.option(
    "--sampler",
    help=f"{_listed('flow')} for models with the flow schedule, as the shipped one; {_listed('linear')} for the linear "
    f"one; {OWN}.",
    shell_complete=completing(lambda: SAMPLERS),
)
@click.option("--steps", type=int, help=f"Sampling steps; {OWN}.")
@click.option("--eta", type=float, help=f"Noise that {_with('eta')} draw anew, 0 to 1; {OWN}.")
@click.option(
    "--antithetic/--no-antithetic",
    default=None,
    help=f"Whether {_with('antithetic')} ask the network twice a step, about opposite noise; {OWN}.",
)
@click.option(
    "--flip-averaging/--no-flip-averaging",
    "mirror",
    default=None,
    help=f"Whether {_with('mirror')} also ask about the clip with left and right exchanged; {OWN}.",
)
@click.option(
    "--spacing", type=click.Choice(SPACINGS), help="Which timesteps are visited; by default the sampler's usual ones."
)
@click.option("--chunk", type=int, help=f"Frames that predict settles at a time; {OWN}.")
@click.option("--label", help="The class to generate, of a model that was trained with labels.")
@click.option("--guidance", type=float, help="How far to lead to --label; 1 and more. 1 by default, without guidance.")
@click.option(
    "--diverse/--best-guess",
    default=None,
    help="Samples that differ as the possible clips do, or each the best guess; by default by the number of samples.",
)
@click.option("--seed", type=int, default=0, help="Seed of the first sample's noise.")
@click.option("--samples", type=int, default=1, help="Samples of the same clip, with seeds counting upwards.")
@click.option(
    "--scenario", default="collide", help="Scenario of the simulated clip.", shell_complete=completing(everything)
)
@click.option("--scene-seed", type=int, default=0, help="Which simulated clip (of the validation split).")
@click.option("--scene", type=UserPath(), help="A scene that was saved on the page of `vdt-mlx play` (JSON).")
@click.option(
    "--input",
    "input_path",
    type=UserPath(),
    help="Your own clip: GIF, video, folder of images, npz or FILE.hdf5#00000/17.",
)
@click.option("--start", type=int, default=0, help="First frame taken from --input.")
@click.option("--stride", type=int, default=1, help="Take every n-th frame of --input.")
@click.option(
    "--fit",
    type=click.Choice(FITS),
    default="crop",
    help="How frames of --input of another shape are fitted: their middle, with black bars, or pulled.",
)
@click.option("--colours", help="What to follow in --input, for the pair error: name=#rrggbb,...")
@click.option("--map", type=UserPath(), help="Or a PNG of its first frame: agent red (or 1), patient yellow (or 2).")
@click.option(
    "--dtype",
    type=click.Choice(("fp32", "fp16", "bf16")),
    default="fp32",
    help="What the network computes in.",
)
@click.option(
    "--quantize", type=click.Choice(("8", "4")), help="Pack the network's weights into 8 or 4 bits as they are loaded."
)
@click.option(
    "--compile/--no-compile",
    default=None,
    help="Compile the network with mx.compile; by default on a GPU (`python -m evals.speed network` compares).",
)
@click.option("--low-memory", is_flag=True, help="Hold the autoencoder only while it works, one frame at a time.")
@click.option("--frames", type=int, help="Predict on to this many frames, window after window.")
@click.option("--autoencoder", type=click.Choice(("kl", "tiny")), help="Which of the checkpoint's autoencoders.")
@click.option("--out", type=UserPath(), help="Output folder.  [default: vdt-out/TASK-CLIP-SEED]")
@click.option("--force", is_flag=True, help="Replace a sample that stands in --out, instead of writing to OUT-2.")
@click.option("--format", "formats", type=FormatList(), default="gif", help="Any of gif,mp4,png,npz.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--replay", type=UserPath(), help="Make the clip of this sample.json again.")
@allow_tf32
@click.pass_context
def sample(
    ctx: click.Context, out: Path | None, force: bool, as_json: bool, replay: Path | None, **options: Any
) -> None:
    """Give the model some frames of a clip and let it generate the rest.

    By default: eight frames of a simulated collision are given and the next eight are generated. Written to --out: an
    animation (truth beside prediction, given frames marked), a contact sheet, and sample.json with settings and scores.
    """
    given = {name for name in ctx.params if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE}
    from vdt_mlx.commands.replay import recorded
    from vdt_mlx.commands.sample_settings import SampleSettings, read_settings

    before = None
    if replay is not None:
        extra = given - {"replay", "out", "force", "as_json", "formats"}
        if extra:
            raise VDTError(f"--replay takes its settings from the file; {_flag(extra)} would do nothing.")
        settings, before = read_settings(replay), recorded(replay)
        if "formats" in given:
            settings = replace(settings, formats=options["formats"])
    else:
        _refuse_inert(given, options)
        options["input"] = options.pop("input_path")
        options["quantize"] = int(options["quantize"]) if options["quantize"] else None
        paths = {
            name: str(options[name]) if options[name] is not None else None
            for name in ("input", "mask", "scene", "map")
        }
        settings = SampleSettings(**{**options, **paths})
    from vdt_mlx.commands import sample_run

    sample_run.run(settings, out, as_json, force, before)


def _refuse_inert(given: set[str], options: dict[str, Any]) -> None:
    """A flag that would do nothing is refused."""
    task = options["task"]
    inert = []
    if options["mask"] is not None:
        inert.append(("--mask is the task", given & {"task", "given"}))
    elif task == "unconditional":
        inert.append(("Nothing is given for unconditional", given & {"input_path", "scene", "scenario", "scene_seed"}))
    if options["mask"] is not None or task != "predict":
        inert.append(("Only --task predict goes on for longer", given & {"frames"}))
        inert.append(("Only --task predict goes by chunks", given & {"chunk"}))
    if options["input_path"] is None:
        inert.append(("Only an --input has frames to choose", given & {"start", "stride", "fit"}))
        inert.append(("A simulated clip's objects are known", given & {"colours", "map"}))
    else:
        inert.append(("With --input nothing is simulated", given & {"scene", "scenario", "scene_seed"}))
    if {"colours", "map"} <= given:
        inert.append(("--map tells the colours", {"colours"}))
    if options["scene"] is not None:
        inert.append(("--scene is the clip", given & {"scenario", "scene_seed"}))
    if options["sampler"] in SAMPLERS:
        for option, what in OPTIONS.items():
            if option not in SAMPLERS[options["sampler"]].options:
                inert.append((f"Only the samplers {_with(option)} have {what}", given & {option}))
    for reason, flags in inert:
        if flags:
            raise VDTError(f"{reason}: {_flag(flags)} would do nothing.")


def _flag(names: set[str]) -> str:
    spelled = {"input_path": "--input", "as_json": "--json", "formats": "--format", "mirror": "--flip-averaging"}
    return ", ".join(sorted(spelled.get(name, "--" + name.replace("_", "-")) for name in names))
