"""`python -m evals.speed`: how fast, in how many steps, in how much memory. Each claim is a command.

python -m evals.speed network        a forward pass and a training step, beside PyTorch and the device's products
python -m evals.speed samplers       trajectory and image error against network calls, for every sampler
python -m evals.speed quantization   what 8-bit, 4-bit and half-precision weights cost and save
python -m evals.speed rollout        drift by frame of clips longer than the network was trained for
python -m evals.speed growth         time and memory against frames, resolution and batch
python -m evals.speed memory         peak memory of a whole `vdt-mlx sample`, low-memory and packed or not
python -m evals.speed simulate       clips a second, beside a plain pymunk loop
python -m evals.speed convert        the converter, beside copying the file
python -m evals.speed play           the playground: time and memory over many dreams, frames a second of its page
"""

from pathlib import Path
from typing import Any

import click

from evals.options import Numbers
from vdt_mlx.commands.options import FlaggedGroup
from vdt_mlx.commands.paths import NameOrPath, UserPath

CALLS = (1, 2, 4, 8, 12, 20, 50)
NUMBERS = Numbers("4,8,20", least=1)


_out = click.option("--out", type=UserPath(), default=Path("speed-out"), help="Where results go.")
_rounds = click.option("--rounds", type=click.IntRange(1), default=10, help="Repetitions.")
_model = click.option("--model", type=NameOrPath(), default="physics", help="A registered name or a checkpoint folder.")
_clips = click.option("--clips", type=click.IntRange(1), default=32, help="Unseen clips, of all scenarios in turn.")
_batch = click.option("--batch", type=click.IntRange(1), default=16, help="Clips sampled at once.")


@click.group(cls=FlaggedGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def speed() -> None:
    """Measure speed, steps and memory on this machine."""
    from vdt_mlx.device import blas

    if not blas.load():
        click.echo(f"Note: {blas.ADVICE}", err=True)


@speed.command()
@click.argument("case", nargs=-1)
@_rounds
@click.option("--compile/--no-compile", "compiled", default=True, help="Time mx.compile too (slow to start on a CPU).")
@_out
def network(case: tuple[str, ...], rounds: int, compiled: bool, out: Path) -> None:
    """Time the network beside PyTorch: VDT-S/2, VDT-L/2 (4 blocks), physics, or those named."""
    from vdt_mlx.device import blas

    blas.evaluate_widely()  # as training does
    from evals.speed import network as speed_network
    from vdt_mlx.errors import VDTError

    unknown = [name for name in case if name not in speed_network.CASES]
    if unknown:
        raise VDTError(f"There is no case {unknown[0]!r}: use {', '.join(speed_network.CASES)}.")
    _finish("network", out, *speed_network.measure(case or tuple(speed_network.CASES), rounds, compiled))


@speed.command()
@_model
@_clips
@_batch
@click.option("--calls", type=NUMBERS, default=CALLS, help="Network calls to spend on a clip.")
@click.option("--reference", type=click.IntRange(1), default=250, help="Calls of the run to compare with.")
@_out
def samplers(model: str, clips: int, batch: int, calls: tuple[int, ...], reference: int, out: Path) -> None:
    """Error against network calls, and the fewest that cost at most 5 % in ADE and 2 % of what is kept and answered."""
    from evals.speed import quality as speed_quality

    _finish("samplers", out, *speed_quality.sampler_curve(model, clips, batch, calls, reference))


@speed.command()
@_model
@_clips
@_batch
@_out
def quantization(model: str, clips: int, batch: int, out: Path) -> None:
    """Trajectory error, size and time with fp32, fp16, bf16, 8-bit and 4-bit weights."""
    from evals.speed import quality as speed_quality

    _finish("quantization", out, *speed_quality.precisions(model, clips, batch))


@speed.command()
@_model
@_clips
@_batch
@click.option("--frames", type=click.IntRange(2), default=64, help="Length of the clips.")
@_out
def rollout(model: str, clips: int, batch: int, frames: int, out: Path) -> None:
    """Drift by frame when predicting for longer than the network was trained for."""
    from evals.speed import quality as speed_quality

    _finish("rollout", out, *speed_quality.drift(model, clips, batch, frames))


@speed.command()
@click.option("--preset", default="VDT-S/2", help="Which network.")
@click.option("--frames", type=NUMBERS, default=(8, 16, 32, 64), help="Frames, at the preset's size.")
@click.option("--pixels", type=NUMBERS, default=(64, 128, 192, 256), help="Pixels a side, at 16 frames.")
@click.option("--batches", type=NUMBERS, default=(1, 2, 4, 8), help="Clips, at 16 frames.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Repetitions.")
@_out
def growth(
    preset: str, frames: tuple[int, ...], pixels: tuple[int, ...], batches: tuple[int, ...], rounds: int, out: Path
) -> None:
    """Time and memory of a forward pass against frames, resolution and batch."""
    from evals.speed import growth as speed_growth

    _finish("growth", out, *speed_growth.growth(preset, frames, pixels, batches, rounds))


@speed.command()
@click.option("--preset", default="VDT-L/2", help="Which network, with random weights.")
@click.option("--bits", type=click.Choice(("32", "8", "4")), multiple=True, default=("4",), help="Of the weights.")
@click.option("--both", is_flag=True, help="Measure without --low-memory as well.")
@click.option("--steps", type=click.IntRange(1), default=1, help="Sampling steps.")
@click.option("--autoencoder", type=click.Choice(("kl", "tiny")), default="kl", help="Stable Diffusion's, or TAESD.")
@_out
def memory(preset: str, bits: tuple[str, ...], both: bool, steps: int, autoencoder: str, out: Path) -> None:
    """Peak memory of a whole `vdt-mlx sample` in a process of its own."""
    from evals.speed import growth as speed_growth

    widths = tuple(int(b) for b in bits)
    _finish("memory", out, *speed_growth.sampling_memory(preset, widths, both, steps, autoencoder))


@speed.command()
@click.option("--seconds", type=click.FloatRange(1), default=30.0, help="About how long to measure.")
@_out
def simulate(seconds: float, out: Path) -> None:
    """Simulated clips a second on one core, beside a plain loop of pymunk and Pillow."""
    from evals.speed import growth as speed_growth

    _finish("simulate", out, *speed_growth.simulation(seconds))


@speed.command()
@click.option("--preset", default="VDT-L/2", help="Size of the random checkpoint that is converted.")
@click.option("--dtype", type=click.Choice(("fp32", "fp16", "bf16")), default="fp16", help="What to convert to.")
@_out
def convert(preset: str, dtype: str, out: Path) -> None:
    """Time and peak memory of the converter, beside copying the file twice."""
    from evals.speed import growth as speed_growth

    _finish("convert", out, *speed_growth.conversion(preset, dtype))


@speed.command()
@_model
@click.option("--dreams", type=click.IntRange(1), default=200, help="Through the server, one after the other.")
@click.option("--pairs", type=click.IntRange(0), default=20, help="How many of them the library makes too.")
@click.option("--browser/--no-browser", default=True, help="Count the page's frames, where there is a Chromium.")
@_out
def play(model: str, dreams: int, pairs: int, browser: bool, out: Path) -> None:
    """The playground's time beside the bare library's, its memory over many dreams, and its page's frame rate."""
    try:
        from evals.speed import playground
    except ModuleNotFoundError as error:
        from vdt_mlx.errors import VDTError

        raise VDTError(f"The playground needs {error.name}: pip install 'vdt-mlx[play]'.") from None
    _finish("play", out, *playground.measure(model, dreams, pairs, browser))


def _finish(name: str, out: Path, tables: Any, body: dict[str, Any], charts: Any = ()) -> None:
    from evals.speed.output import finish, machine

    finish(name, out, tables, {"machine": machine(), **body}, charts)


def main() -> None:
    from vdt_mlx.cli import run

    run(speed, prog_name="python -m evals.speed")
