"""`vdt-mlx features`: what a layer of a model makes of clips, as an npz, for readouts and for looking inside."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from vdt_mlx.commands.options import Flagged, allow_tf32
from vdt_mlx.commands.paths import NameOrPath, UserPath
from vdt_mlx.errors import VDTError

BATCH = 8
"""Clips that the network is asked about at a time."""
MOST_NAMED = 5
"""Bad clips that are named; the others are counted."""
OF_NETWORK = ("timestep", "given", "blind", "seed")


@click.command(cls=Flagged, context_settings={"show_default": True})
@click.argument("inputs", nargs=-1, type=UserPath(), metavar="INPUT...")
@click.option(
    "--model", type=NameOrPath(), default="physics", help="A registered name, a checkpoint folder, or a hub repository."
)
@click.option(
    "--part",
    type=click.Choice(("network", "autoencoder")),
    default="network",
    help="Whose features: the diffusion network's or the autoencoder's.",
)
@click.option(
    "--block", help="Which block, by name.  [default: the network's middle block, or the autoencoder's latents]"
)
@click.option("--list-blocks", is_flag=True, help="List the blocks, with the shape for one clip, and stop.")
@click.option("--timestep", type=float, help="How noisy: 0 (clean) to 1000 (noise).  [default: 250]")
@click.option("--given", type=int, help="First frames that stay clean, 0 to all.  [default: half of them]")
@click.option("--blind", is_flag=True, help="Hide the other frames: pure noise, at the noisiest timestep.")
@click.option(
    "--pool",
    type=click.Choice(("frame", "clip", "none")),
    default="frame",
    help="Means: a vector a frame, a vector a clip, or all places.",
)
@click.option("--seed", type=int, default=0, help="Of the noise, which is the same for every clip.")
@click.option("--start", type=int, default=0, help="First frame taken.")
@click.option("--stride", type=int, default=1, help="Take every n-th frame.")
@click.option(
    "--fit", type=click.Choice(("crop", "pad", "stretch")), default="crop", help="How frames of another shape fit."
)
@click.option(
    "--dtype", type=click.Choice(("fp32", "fp16", "bf16")), default="fp32", help="What the network computes in."
)
@click.option("--autoencoder", type=click.Choice(("kl", "tiny")), help="Which of the checkpoint's autoencoders.")
@click.option("--clips", type=click.IntRange(1), help="At most so many clips.  [default: all]")
@click.option("--out", type=UserPath(), help="An npz file.  [default: vdt-out/features-INPUT.npz]")
@click.option("--force", is_flag=True, help="Replace --out, instead of writing to OUT-2.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@allow_tf32
@click.pass_context
def features(
    ctx: click.Context,
    inputs: tuple[Path, ...],
    list_blocks: bool,
    out: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write what a block of a model makes of clips.

    INPUT is a clip (video, GIF, npz, folder of frames), a folder of clips, a data set that `vdt-mlx simulate` wrote, or
    a file of PhyWorld. Of each clip the network gets the first frames clean and the others with the noise of a
    timestep; nothing is generated. The npz holds `features` (clips, frames, D), `names` and `settings`.
    """
    given = {name for name in ctx.params if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE}
    _refuse_inert(given, options["part"], list_blocks, inputs)
    target = None if list_blocks else _free(out if out is not None else _named_after(inputs), force)
    from vdt_mlx.commands.sample_output import writable
    from vdt_mlx.device import blas
    from vdt_mlx.pipeline import Pipeline

    if not blas.load():
        click.echo(f"Note: {blas.ADVICE}", err=True)
    pipeline = Pipeline.from_pretrained(options["model"], options["dtype"], options["autoencoder"])
    if target is None:
        return _list(pipeline, options["part"], as_json)
    with writable(target.parent):
        body = _make(pipeline, inputs, options, target)
    if as_json:
        return click.echo(json.dumps(body))
    _report(body, target)
    return None


def _refuse_inert(given: set[str], part: str, list_blocks: bool, inputs: tuple[Path, ...]) -> None:
    """A flag that would do nothing is refused."""
    if list_blocks:
        extra = given - {"list_blocks", "model", "part", "as_json", "dtype", "autoencoder"}
        if extra:
            raise VDTError(f"--list-blocks looks at no clip: {_flags(extra)} would do nothing.")
        return
    if not inputs:
        raise VDTError("Say which clips: vdt-mlx features CLIP.mp4, or a folder of clips, or a data set.")
    if part == "autoencoder" and given & set(OF_NETWORK):
        extra = given & set(OF_NETWORK)
        raise VDTError(f"The autoencoder sees clean frames one by one: {_flags(extra)} would do nothing.")
    if {"blind", "timestep"} <= given:
        raise VDTError("--blind takes the noisiest timestep: --timestep would do nothing.")
    if "force" in given and "out" not in given:
        raise VDTError("--force replaces the file that --out names; without --out it would do nothing.")


def _flags(names: set[str]) -> str:
    spelled = {"inputs": "INPUT", "as_json": "--json"}
    return ", ".join(sorted(spelled.get(name, "--" + name.replace("_", "-")) for name in names))


def _list(pipeline: Any, part: str, as_json: bool) -> None:
    from vdt_mlx.features import blocks

    found = blocks(pipeline, part)
    if as_json:
        return click.echo(json.dumps(found))
    width = max(map(len, found))
    for name, shape in found.items():
        click.echo(f"{name:{width}}  {' x '.join(map(str, shape[1:]))}")
    where = "--part autoencoder " if part == "autoencoder" else ""
    return click.echo(f"Next: vdt-mlx features CLIP.mp4 {where}--block {list(found)[-1]}")


def _named_after(inputs: tuple[Path, ...]) -> Path:
    return Path("vdt-out") / f"features-{inputs[0].resolve().stem or 'clips'}.npz"


def _free(out: Path, force: bool) -> Path:
    """`out`, or `out-2`, `out-3`, ... where a file stands that is not to be replaced."""
    if out.suffix.lower() != ".npz":
        raise VDTError(f"--out {out} is no npz: features are written as one.")
    if out.is_dir():
        raise VDTError(f"--out {out} is a folder; give a file.")
    if force or not out.exists():
        return out
    number = 2
    while (other := out.with_name(f"{out.stem}-{number}{out.suffix}")).exists():
        number += 1
    return other


def _make(pipeline: Any, inputs: tuple[Path, ...], options: dict[str, Any], target: Path) -> dict[str, Any]:
    """Computes and writes; returns what is told of it."""
    import numpy as np

    from vdt_mlx.commands import features_input as source
    from vdt_mlx.device.about import describe
    from vdt_mlx.features import Asked, Features, compute, settings_of
    from vdt_mlx.progress import Bar

    names = ("part", "block", "timestep", "given", "blind", "pool", "seed")
    asked = Asked(**{name: options[name] for name in names}).resolved(pipeline, pipeline.frames)
    cut = source.Cut(pipeline.frames, pipeline.size, options["start"], options["stride"], options["fit"])
    if cut.start < 0 or cut.stride < 1:
        raise VDTError(f"--start {cut.start} and --stride {cut.stride} do not fit: 0 or later, and 1 or more.")
    total, most = source.count(inputs), options["clips"]
    bad: list[str] = []
    rows: list[Any] = []
    found_names: list[str] = []
    with Bar(min(total, most or total), "clips", f"features of {asked.block}") as bar:

        def on_bad(sentence: str) -> None:
            bad.append(sentence)
            bar.advance()

        found = source.clips(inputs, cut, on_bad)
        for clip_names, frames in source.batches(islice(found, most), BATCH):
            rows.append(compute(pipeline, frames, asked))
            found_names += clip_names
            bar.advance(len(clip_names))
    _tell_bad(bad)
    if not rows:
        raise VDTError(f"None of the {len(bad)} clips can be used; the first: {bad[0]}")
    settings = {**settings_of(asked), "model": options["model"], "dtype": options["dtype"]}
    settings |= {"autoencoder": options["autoencoder"], "inputs": [str(path) for path in inputs]}
    settings |= {"start": cut.start, "stride": cut.stride, "fit": cut.fit, "frames": cut.frames, **describe()}
    made = Features(np.concatenate(rows), settings, tuple(found_names))
    made.save(target)
    shape = list(made.values.shape)
    return {"features": str(target), "shape": shape, "clips": len(found_names), "bad": bad, "settings": settings}


def _tell_bad(bad: list[str]) -> None:
    from vdt_mlx.progress import printable

    for sentence in bad[:MOST_NAMED]:
        click.echo(f"Left out: {printable(sentence)}", err=True)
    if len(bad) > MOST_NAMED:
        click.echo(f"Left out: {len(bad) - MOST_NAMED} more.", err=True)


def _report(body: dict[str, Any], target: Path) -> None:
    settings = body["settings"]
    what = f"{settings['block']} of the {settings['part']}"
    if settings["part"] == "network":
        seen = "the other frames hidden" if settings["blind"] else f"timestep {settings['timestep']:g}"
        what += f", {settings['given']} given frames, {seen}"
    left_out = f", {len(body['bad'])} left out" if body["bad"] else ""
    click.echo(f"block:    {what}")
    click.echo(f"clips:    {body['clips']}{left_out}")
    click.echo(f"shape:    {' x '.join(map(str, body['shape']))} (float32)")
    click.echo(f"features: {target}")
    click.echo(f'Next: numpy.load({str(target)!r})["features"], with its "names" and "settings".')
