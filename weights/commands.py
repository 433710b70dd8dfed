"""The command lines `vdt-mlx convert`, `export`, `info` and `models`. What they do is in the modules beside."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vdt_mlx.commands.options import Flagged, in_flags
from vdt_mlx.commands.paths import NameOrPath, UserPath
from vdt_mlx.reading import parse_json

if TYPE_CHECKING:
    from weights.stream import Progress


class Size(click.ParamType):
    """HEIGHTxWIDTH, in latent cells."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        parts = value.lower().split("x")
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() and 0 < int(part) < 10**5 for part in parts):
            self.fail(f"{value!r} is not a height and a width, like 16x32", param, ctx)
        return int(parts[0]), int(parts[1])


@click.command(cls=Flagged)
@click.argument("source", type=UserPath())
@click.argument("dest", type=UserPath())
@click.option("--num-heads", type=int, help="Attention heads, where the sizes fit no preset.")
@click.option("--latent-size", type=Size(), help="Height and width of the latents, where they are not square.")
@click.option("--which", help="Part of a training checkpoint: ema, model, ...  [default: ema if there is one]")
@click.option(
    "--dtype",
    type=click.Choice(("fp32", "fp16", "bf16")),
    help="Precision that the network is stored in; the source's by default. Autoencoders keep theirs.",
)
@click.option("--quantize", type=click.Choice(("8", "4")), help="Bits of the linear layers' weights.")
@click.option(
    "--autoencoder",
    "autoencoders",
    type=UserPath(),
    multiple=True,
    help="Stable Diffusion's autoencoder (diffusers folder or file, or CompVis), or TAESD; twice for one of each.",
)
@click.option("--norm-groups", type=int, help="Groups of the autoencoder's GroupNorm, where nothing tells.")
@click.option("--scaling-factor", type=float, help="Of the autoencoder's latents, where it is not the usual one.")
@click.option("--allow-nonfinite", is_flag=True, help="Take NaN and infinite weights as they are.")
@click.option("--force", is_flag=True, help="Replace DEST if it is a checkpoint folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def convert(source: Path, dest: Path, autoencoders: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Bring PyTorch, diffusers or CompVis weights into MLX.

    SOURCE is a VDT checkpoint (.pt, .pth, .bin, .ckpt, .safetensors) under the official names, or a checkpoint folder
    of this project; DEST is the folder to make. No PyTorch is needed, and nothing in SOURCE is ever run.
    """
    from weights.convert import convert as run

    bits = options.pop("quantize")
    with progress_bar("Converting", checksum=True) as progress:
        done = run(
            source,
            dest,
            autoencoders=autoencoders,
            quantize=None if bits is None else int(bits),
            progress=progress,
            **options,
        )
    vdt = done.config.vdt
    if as_json:
        body = parse_json(done.config.to_json())
        said = {"folder": str(done.folder), "bytes": done.nbytes, "notes": list(done.notes), "config": body}
        click.echo(json.dumps(said))
        return
    for note in done.notes:
        click.echo(in_flags(note, convert))
    height, width = vdt.latent_size
    click.echo(
        f"{done.folder}: {done.tensors} tensors, {done.nbytes / 2**20:,.1f} MB; hidden size {vdt.hidden_size}, depth "
        f"{vdt.depth}, {vdt.num_heads} heads, {vdt.num_frames} frames, latents {height}x{width}."
    )
    if done.config.autoencoder is None:
        click.echo("It holds no autoencoder, which sampling needs: give one with --autoencoder.")
    else:
        click.echo(f"Next: vdt-mlx sample --model {done.folder}")


@click.command(cls=Flagged)
@click.argument("model", type=NameOrPath())
@click.argument("out", type=UserPath())
@click.option("--autoencoder", type=UserPath(), help="File for the autoencoder, in diffusers' names.")
@click.option("--tiny-autoencoder", type=UserPath(), help="File for the TAESD beside it.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def export(model: str, out: Path, **options: Any) -> None:
    """Write a checkpoint under the official names and layout.

    MODEL is a folder, a registered name or a hub repository; OUT ends in .pt (a state dict for torch.load) or
    .safetensors. `vdt-mlx convert OUT FOLDER` gives the same weights again, bit for bit.
    """
    from weights.export import export as run
    from weights.registry import resolve

    folder = resolve(model)
    with progress_bar("Exporting") as progress:
        config = run(folder, out, progress=progress, **options)
    was = " (unquantized)" if config.quantization else ""
    click.echo(f"{out}: {out.stat().st_size / 2**20:,.1f} MB{was}")
    for path in (options["autoencoder"], options["tiny_autoencoder"]):
        if path is not None:
            click.echo(f"{path}: {path.stat().st_size / 2**20:,.1f} MB")


@click.command(cls=Flagged)
@click.argument("what", type=NameOrPath())
@click.option("--revision", help="Commit, tag or branch of a hub repository.")
@click.option("--which", help="Part of a training checkpoint of others, as in convert.")
@click.option("--verbose", is_flag=True, help="Everything: the network part by part, every file, the whole training.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def info(what: str, revision: str | None, which: str | None, verbose: bool, as_json: bool) -> None:
    """Say what a checkpoint, a training run or a data set is.

    WHAT is a folder of one of these, a file in it, a registered name, a hub repository (org/name), or a file that
    `vdt-mlx convert` could take.
    """
    from weights.info import about
    from weights.info_text import lines

    described = about(what, revision, which)
    if as_json:
        click.echo(json.dumps(described))
    else:
        for line in lines(described, verbose):
            click.echo(in_flags(line, info))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def models(as_json: bool) -> None:
    """List the checkpoints that have names, and where to get others."""
    from weights.registry import EXTERNAL, REGISTRY, cached

    hub = [{"name": name, "revision": commit, "folder": str(folder)} for name, commit, folder in cached()]
    if as_json:
        named = [
            {"name": e.name, "available": e.available, "licence": e.licence, "description": e.description}
            for e in REGISTRY.values()
        ]
        others = [{"name": e.name, "where": e.where, "licence": e.licence, "use": e.description} for e in EXTERNAL]
        click.echo(json.dumps({"models": named, "hub_cache": hub, "elsewhere": others}))
        return
    click.echo("Comes with vdt-mlx:")
    for entry in REGISTRY.values():
        missing = "" if entry.available else "  (not in this installation)"
        click.echo(f"  {entry.name}{missing}\n      {entry.description}; licence: {entry.licence}")
    if hub:
        click.echo("In the local hub cache:")
        for item in hub:
            click.echo(f"  {item['name']}@{item['revision'][:12]}")
    click.echo("Published by others, to be brought in with `vdt-mlx convert`:")
    for other in EXTERNAL:
        click.echo(f"  {other.name}\n      {other.description}\n      {other.where}\n      licence: {other.licence}")


@contextmanager
def progress_bar(title: str, checksum: bool = False) -> "Iterator[Progress | None]":
    """A bar of tensors and bytes on standard error, on a terminal only; yields what to call after each tensor."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description} {task.fields[tensors]}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, tensors="")

        def update(tensors: int, of: int, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, tensors=f"{tensors}/{of} tensors")
            if tensors == of and checksum:
                bar.update(task, description="Checksum of the source,")

        yield update
