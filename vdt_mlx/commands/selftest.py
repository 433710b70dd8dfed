"""`vdt-mlx selftest`: is this device right, and how fast is it?"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from vdt_mlx.commands.options import allow_tf32
from vdt_mlx.commands.paths import UserPath
from vdt_mlx.commands.selftest_train import Duration, in_a_process
from vdt_mlx.errors import VDTError

PACKAGED = Path(__file__).parents[1] / "golden"
"""Where the wheel puts the recorded numbers."""
CHECKOUT = Path(__file__).parents[2] / "tests" / "golden"


@click.command(context_settings={"show_default": True})
@click.option("--timings/--no-timings", default=True, help="Measure speed as well.")
@click.option("--train", "training", type=Duration(), help="Train for so long as well (2m, 90s): clips a second.")
@click.option("--device", type=click.Choice(("gpu", "cpu")), help="Instead of the one that MLX prefers.")
@click.option(
    "--out",
    type=UserPath(),
    default=Path("vdt-out/selftest.json"),
    help="The JSON to paste into an issue.",
)
@allow_tf32
def selftest(timings: bool, training: float | None, device: str | None, out: Path) -> int:
    """Compare this device with recorded numbers and with the CPU, part by part and dtype by dtype, and time it.

    Ends with status 0 if every difference is within its tolerance, else 1.
    """
    out = out.expanduser()
    if out.is_dir():
        raise VDTError(f"--out {out} is a folder; give a file.")
    import json

    from vdt_mlx import parity as ladder
    from vdt_mlx.device import choice
    from vdt_mlx.files import atomic_path

    if device is not None:
        choice.choose(device)
    with _progress() as on_rung:
        verdicts = ladder.climb(read_recorded(), on_rung) + ladder.compare_kernels(on_rung)
        on_rung("timings" if timings else "")
        times = ladder.timings() if timings else []
    trained = in_a_process(training, device) if training is not None else None
    body = ladder.report(verdicts, times, _not_run(timings, training is not None), _about(), trained)
    _show(body)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as partial:
        partial.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    click.echo(f"Wrote {out}: paste it into an issue, or fill in a line of docs/macs.md.")
    return 0 if body["passed"] else 1


def read_recorded() -> Any:
    """The recorded numbers, from the package or from a checkout. Raises VDTError where neither has them."""

    import mlx.core as mx
    import numpy as np

    from vdt_mlx.config import AutoencoderConfig
    from vdt_mlx.parity import Recorded
    from vdt_mlx.reading import read_json, read_npz
    from weights.formats.source import open_source
    from weights.formats.tensors import to_float32

    folder = next((path for path in (PACKAGED, CHECKOUT) if (path / "vdt_tiny.pt").is_file()), None)
    if folder is None:
        raise VDTError(f"The recorded numbers are missing from this installation ({PACKAGED}); install it again.")

    def weights(path: Path) -> dict[str, mx.array]:
        with open_source(path) as source:
            found = {name: to_float32(np.array(t.array()), t.dtype) for name, t in source.tensors.items()}
        return {name: mx.array(v.transpose(0, 2, 3, 1) if v.ndim == 4 else v) for name, v in found.items()}

    def arrays(name: str, least: int) -> dict[str, np.ndarray]:
        """Channels last, where an array has at least so many axes."""
        stored = read_npz(folder / f"{name}.npz", what="file of recorded numbers")
        return {key: np.moveaxis(v, -3, -1) if v.ndim >= least else v for key, v in stored.items()}

    coders = {}
    for kind in ("kl", "tiny"):
        said = read_json(folder / f"autoencoder_{kind}" / "config.json", "configuration")
        config = AutoencoderConfig(
            kind=kind,
            block_out_channels=said["block_out_channels"],
            norm_num_groups=said.get("norm_num_groups", 32),
            scaling_factor=said["scaling_factor"],
        )
        file = folder / f"autoencoder_{kind}" / "diffusion_pytorch_model.safetensors"
        coders[kind] = (config, weights(file), arrays(f"autoencoder_{kind}", 4))
    inner = read_npz(folder / "ladder.npz", what="file of recorded numbers")
    return Recorded(weights(folder / "vdt_tiny.pt"), {**arrays("vdt_tiny", 5), **inner}, coders)


def _about() -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    from vdt_mlx.device.about import describe, device_info

    return {
        **describe(),
        "device_info": {key: str(value) for key, value in device_info().items()},
        "python": platform.python_version(),
        "vdt-mlx": version("vdt-mlx"),
        "differs": differing_settings(os.environ),
    }


USUAL = {"MLX_ENABLE_TF32": "0", "MLX_DISABLE_COMPILE": None, "VDT_BLAS": None, "VDT_DEVICE": None}
"""What decides numbers or speed, and how it is where nobody set it."""


def differing_settings(environment: Mapping[str, str]) -> list[str]:
    """Settings of this process that other commands do not have unless somebody sets them, as NAME=value."""
    names = sorted({*USUAL, *(name for name in environment if name.startswith(("MLX_", "METAL_", "AGX_", "VDT_")))})
    ours = {"MLX_BFS_MAX_WIDTH", "VDT_TEST_DEVICE"}  # set by training, and by the tests
    return [
        f"{name}={environment[name]}"
        for name in names
        if name in environment and name not in ours and environment[name] != USUAL.get(name)
    ]


def _not_run(timings: bool, trained: bool) -> list[str]:
    import mlx.core as mx

    from vdt_mlx import kernel_parity
    from weights.registry import REGISTRY

    left = ["the half-precision autoencoder: it always computes in fp32"]
    if mx.default_device().type == mx.cpu:
        left.append("anything on a GPU: " + ("--device cpu" if mx.is_available(mx.gpu) else "MLX finds none here"))
    for check in kernel_parity.checks():
        if not kernel_parity.fits(check):
            left.append(f"{check.name}: it takes a GPU with {check.needs_bytes >> 30} GiB")
    left.append("bf16 timings" if timings else "timings: --no-timings")
    if not trained:
        left.append("training: --train 2m does it")
    missing = [name for name, entry in REGISTRY.items() if not entry.available]
    left.append(
        f"the checkpoint {missing[0]}: it is not installed"
        if missing
        else "the quality of checkpoints: python -m evals.physics does that"
    )
    return left


@contextmanager
def _progress() -> Iterator[Callable[[Any], None]]:
    """The part that is being compared, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("comparing ...") as status:
        yield lambda verdict: status.update(f"after {verdict if isinstance(verdict, str) else verdict.rung} ...")


def _show(body: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine = body["machine"]
    named = f"{machine['chip']} ({machine['device']}), {machine['platform']}, MLX {machine['mlx']}"
    console.print(f"\n{named}", highlight=False)
    precision = "TF32 is allowed" if machine["tf32"] else "full fp32, as every command computes it"
    console.print(f"{precision}{''.join(f'; differs: {line}' for line in machine['differs'])}", highlight=False)
    columns = list(dict.fromkeys(verdict["dtype"] for verdict in body["verdicts"]))
    table = Table("part", *columns, box=box.SIMPLE)
    for part in dict.fromkeys(verdict["rung"] for verdict in body["verdicts"]):
        cells = {v["dtype"]: v for v in body["verdicts"] if v["rung"] == part}
        table.add_row(part, *(_cell(cells.get(dtype)) for dtype in columns))
    console.print(table)
    for verdict in body["verdicts"]:
        if not verdict["passed"]:
            console.print(
                f"[red]WRONG[/red]: {verdict['rung']} in {verdict['dtype']} is off by {verdict['difference']:.1e} of "
                f"the largest value; {verdict['tolerance']:.0e} is allowed.",
                highlight=False,
            )
    if body["timings"]:
        table = Table("timing", "ms", "GFLOP/s", box=box.SIMPLE)
        for timing in body["timings"]:
            table.add_row(timing["name"], f"{1e3 * timing['seconds']:.1f}", f"{timing['gflops_per_second']:.0f}")
        console.print(table)
    if "training" in body:
        console.print(_training_line(body["training"]), highlight=False)
    for line in body["not_run"]:
        console.print(f"not run: {line}", highlight=False)


def _cell(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return ""
    return f"{verdict['difference']:.0e} " + ("[green]ok[/green]" if verdict["passed"] else "[red]WRONG[/red]")


def _training_line(trained: dict[str, Any]) -> str:
    if "failed" in trained:
        return f"[red]training ended[/red]: {trained['failed']}"
    return (
        f"training: {trained['clips_per_second']} clips a second, peak memory {trained['peak_memory_gib']} GiB; "
        f"the shipped checkpoint's runs would take {trained['hours_to_shipped']} hours"
    )
