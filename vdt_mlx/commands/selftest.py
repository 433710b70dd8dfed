"""`vdt-mlx selftest`: is this device right, and how fast is it?"""

import os
from pathlib import Path
from typing import Any

import click

from vdt_mlx.errors import VDTError

PACKAGED = Path(__file__).parents[1] / "golden"
"""Where the wheel puts the recorded numbers."""
CHECKOUT = Path(__file__).parents[2] / "tests" / "golden"


@click.command(context_settings={"show_default": True})
@click.option("--timings/--no-timings", default=True, help="Measure speed as well.")
@click.option("--device", type=click.Choice(("gpu", "cpu")), help="Instead of the one that MLX prefers.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("vdt-selftest.json"), help="The JSON to paste into an issue."
)
def selftest(timings: bool, device: str | None, out: Path) -> int:
    """Compare this device with recorded numbers, part by part and dtype by dtype, and time it.

    Ends with status 0 if every difference is within its tolerance, else 1.
    """
    if out.is_dir():
        raise VDTError(f"--out {out} is a folder; give a file.")
    # Before MLX starts: Metal may otherwise shorten the mantissas of fp32 products.
    os.environ.setdefault("MLX_ENABLE_TF32", "0")
    import json

    import mlx.core as mx

    from vdt_mlx import parity as ladder
    from vdt_mlx.files import atomic_path

    if device == "gpu" and not mx.is_available(mx.gpu):
        raise VDTError("MLX finds no GPU on this machine; use --device cpu.")
    if device is not None:
        mx.set_default_device(mx.gpu if device == "gpu" else mx.cpu)
    verdicts = ladder.climb(read_recorded())
    times = ladder.timings() if timings else []
    body = ladder.report(verdicts, times, _not_run(timings), _about())
    _show(body)
    with atomic_path(out) as partial:
        partial.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    click.echo(f"wrote {out}")
    return 0 if body["passed"] else 1


def read_recorded() -> Any:
    """The recorded numbers, from the package or from a checkout. Raises VDTError where neither has them."""
    import json

    import mlx.core as mx
    import numpy as np

    from vdt_mlx.config import AutoencoderConfig
    from vdt_mlx.parity import Recorded
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
        with np.load(folder / f"{name}.npz") as stored:
            return {key: np.moveaxis(v, -3, -1) if v.ndim >= least else v for key, v in stored.items()}

    coders = {}
    for kind in ("kl", "tiny"):
        said = json.loads((folder / f"autoencoder_{kind}" / "config.json").read_text())
        config = AutoencoderConfig(
            kind=kind,
            block_out_channels=said["block_out_channels"],
            norm_num_groups=said.get("norm_num_groups", 32),
            scaling_factor=said["scaling_factor"],
        )
        file = folder / f"autoencoder_{kind}" / "diffusion_pytorch_model.safetensors"
        coders[kind] = (config, weights(file), arrays(f"autoencoder_{kind}", 4))
    with np.load(folder / "ladder.npz") as parts:
        inner = dict(parts.items())
    return Recorded(weights(folder / "vdt_tiny.pt"), {**arrays("vdt_tiny", 5), **inner}, coders)


def _about() -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    import mlx.core as mx

    from vdt_mlx.device import blas

    return {
        "device": str(mx.default_device()),
        "device_info": {key: str(value) for key, value in mx.device_info().items()},
        "platform": platform.platform(),
        "python": platform.python_version(),
        "vdt-mlx": version("vdt-mlx"),
        "mlx": version("mlx"),
        "openblas": platform.system() == "Linux" and blas.load(),
        "tf32": os.environ["MLX_ENABLE_TF32"] != "0",
    }


def _not_run(timings: bool) -> list[str]:
    import mlx.core as mx

    from weights.registry import REGISTRY

    left = ["the half-precision autoencoder: it always computes in fp32"]
    if mx.default_device().type == mx.cpu:
        left.append("anything on a GPU: " + ("--device cpu" if mx.is_available(mx.gpu) else "MLX finds none here"))
    if not timings:
        left.append("timings: --no-timings")
    else:
        left.append("bf16 timings")
    missing = [name for name, entry in REGISTRY.items() if not entry.available]
    left.append(
        f"the checkpoint {missing[0]}: it is not installed"
        if missing
        else "the quality of checkpoints: python -m evals.physics does that"
    )
    return left


def _show(body: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"\n{body['machine']['device']} on {body['machine']['platform']}", highlight=False)
    table = Table("part", "dtype", "difference", "allowed", "verdict")
    for verdict in body["verdicts"]:
        said = "[green]ok[/green]" if verdict["passed"] else "[red]WRONG[/red]"
        table.add_row(
            verdict["rung"], verdict["dtype"], f"{verdict['difference']:.1e}", f"{verdict['tolerance']:.0e}", said
        )
    console.print(table)
    if body["timings"]:
        table = Table("timing", "ms", "GFLOP/s")
        for timing in body["timings"]:
            table.add_row(timing["name"], f"{1e3 * timing['seconds']:.1f}", f"{timing['gflops_per_second']:.0f}")
        console.print(table)
    for line in body["not_run"]:
        console.print(f"not run: {line}", highlight=False)
