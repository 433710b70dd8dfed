"""How time and memory grow, what a whole sampling takes at most, and the speed of the simulator and the converter."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from evals.speed.output import Chart, Table, alternate, progress, quartiles
from vdt_mlx.checkpoint import flat_parameters, pack, save_checkpoint
from vdt_mlx.config import PRESETS, AutoencoderConfig, CheckpointConfig, VDTConfig
from vdt_mlx.device.memory import peak_of
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import build_autoencoder
from vdt_mlx.network.flops import flops
from vdt_mlx.network.vdt import VDT
from vdt_mlx.reading import parse_json

PIXELS_A_CELL = 8


def preset(name: str) -> VDTConfig:
    if name not in PRESETS:
        raise VDTError(f"Unknown preset {name!r}: use one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def growth(
    name: str, frames: Sequence[int], pixels: Sequence[int], batches: Sequence[int], rounds: int
) -> tuple[list[Table], dict[str, Any], list[Chart]]:
    """A forward pass with one thing growing at a time; everything else as the preset was trained."""
    config = preset(name)
    step = PIXELS_A_CELL * config.patch_size
    wrong = [side for side in pixels if side % step]
    if wrong:
        raise VDTError(f"{wrong[0]} pixels a side do not divide by {step}.")
    model = VDT(config)
    mx.eval(model.parameters())
    height, width = config.latent_size
    sweeps = {
        "frames": [(1, count, height, width) for count in frames],
        "pixels": [(1, config.num_frames, side // PIXELS_A_CELL, side // PIXELS_A_CELL) for side in pixels],
        "batch": [(count, config.num_frames, height, width) for count in batches],
    }
    values = {"frames": frames, "pixels": pixels, "batch": batches}
    columns = ["growing", "value", "tokens", "ms", "us a token", "GFLOP/s", "MiB", "KiB a token"]
    table = Table(f"{name}: a forward pass, fp32, {rounds} rounds", columns)
    rows: list[dict[str, Any]] = []
    for growing, shapes in sweeps.items():
        for value, shape in progress(list(zip(values[growing], shapes, strict=True)), growing):
            row = {"growing": growing, "value": value, **_forward(model, shape, rounds)}
            rows.append(row)
            table.rows.append(
                [
                    growing,
                    value,
                    row["tokens"],
                    1e3 * row["seconds"],
                    1e6 * row["seconds"] / row["tokens"],
                    row["gflops"] / row["seconds"],
                    row["bytes"] / 2**20,
                    row["bytes"] / 2**10 / row["tokens"],
                ]
            )
    slopes = Table("Exponents: time and memory ~ tokens ^ exponent (1 is linear)", ["growing", "time", "memory"])
    exponents = {}
    for growing in sweeps:
        found = [row for row in rows if row["growing"] == growing]
        exponents[growing] = {key: _exponent(found, key) for key in ("seconds", "bytes")}
        slopes.rows.append([growing, exponents[growing]["seconds"], exponents[growing]["bytes"]])
    charts = [
        Chart(f"{name}: {title}", "tokens", title, _lines(rows, key, scale), log_x=True, log_y=True)
        for title, key, scale in (("ms a forward pass", "seconds", 1e3), ("MiB beyond the weights", "bytes", 2**-20))
    ]
    return [table, slopes], {"preset": name, "rounds": rounds, "rows": rows, "exponents": exponents}, charts


def _forward(model: VDT, shape: tuple[int, int, int, int], rounds: int) -> dict[str, Any]:
    config = model.config
    batch, count, height, width = shape
    x = mx.random.normal((batch, count, height, width, config.in_channels))
    t = mx.full((batch,), 500.0)
    mx.eval(x, t)
    seconds = quartiles(alternate({"run": lambda: mx.eval(model(x, t))}, rounds)["run"])[0]
    mx.clear_cache()
    held = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(model(x, t))
    return {
        "shape": shape,
        "tokens": batch * count * (height // config.patch_size) * (width // config.patch_size),
        "seconds": seconds,
        "gflops": flops(config, count, (height, width), batch) / 1e9,
        "bytes": mx.get_peak_memory() - held,
    }


def _exponent(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    if len(rows) < 2:
        return None
    tokens, values = (np.log([row[k] for row in rows]) for k in ("tokens", key))
    return float(np.polyfit(tokens, values, 1)[0])


def _lines(rows: Sequence[dict[str, Any]], key: str, scale: float) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row["growing"], []).append((row["tokens"], row[key] * scale))
    return lines


# Peak memory of a whole run ----------------------------------------------------------------------------------------

TAESD = AutoencoderConfig(kind="tiny", block_out_channels=(64, 64, 64, 64), scaling_factor=1.0)


def sampling_memory(
    name: str, bits: Sequence[int], both: bool, steps: int, autoencoder: str
) -> tuple[list[Table], dict[str, Any]]:
    """Runs `vdt-mlx sample` on a checkpoint with random weights, in a process of its own, and reads its peak."""
    config = preset(name)
    side = config.latent_size[0] * PIXELS_A_CELL
    title = f"{name}, {side} px, {config.num_frames} frames, {steps} steps, autoencoder {autoencoder}, random weights"
    table = Table(title, ["weights", "low memory", "checkpoint MB", "peak MiB", "seconds"])
    rows = []
    for width in bits:
        with tempfile.TemporaryDirectory(prefix="vdt-memory-") as temporary:
            folder = Path(temporary) / "model"
            size = write_random(folder, config, width, autoencoder)
            for low in (False, True) if both else (True,):
                seconds, peak = _sample(folder, Path(temporary) / "out", steps, low)
                row = {"bits": width, "low_memory": low, "checkpoint": size, "peak": peak, "seconds": seconds}
                rows.append(row)
                label = "fp16" if width == 32 else f"{width}-bit"
                table.rows.append([label, "yes" if low else "no", size / 1e6, peak / 2**20, seconds])
    return [table], {"preset": name, "steps": steps, "autoencoder": autoencoder, "rows": rows}


def write_random(folder: Path, config: VDTConfig, bits: int, autoencoder: str) -> int:
    """A checkpoint of random weights, packed layer by layer; returns its size in bytes."""
    part = replace(AutoencoderConfig() if autoencoder == "kl" else TAESD, latent_channels=config.in_channels)
    model = VDT(config)
    model.set_dtype(mx.float16)
    quantization = None
    if bits < 32:
        pack(model, bits)
        quantization = {"bits": bits, "group_size": _group(model)}
    coder = build_autoencoder(part)
    coder.set_dtype(mx.float16)
    whole = CheckpointConfig(vdt=config, autoencoder=part, quantization=quantization)
    save_checkpoint(folder, whole, flat_parameters(model), flat_parameters(coder))
    return sum(path.stat().st_size for path in folder.iterdir())


def _group(model: VDT) -> int:
    import mlx.nn as nn

    return next(m.group_size for _, m in model.named_modules() if isinstance(m, nn.QuantizedLinear))


def _sample(folder: Path, out: Path, steps: int, low: bool) -> tuple[float, int]:
    """Seconds, and the largest resident size of the process in bytes."""
    import time

    command = [sys.executable, "-m", "vdt_mlx", "sample", "--model", str(folder), "--out", str(out), "--json"]
    command += ["--steps", str(steps), *(["--low-memory"] if low else [])]
    with tempfile.TemporaryFile() as captured:
        started = time.perf_counter()
        peak = peak_of(command, captured)
        seconds = time.perf_counter() - started
        captured.seek(0)
        if peak is None or "metrics" not in parse_json(captured.read() or b"{}", nan=True):
            raise VDTError("The sampling that was to be measured failed (its own message is above).")
    return seconds, peak


# The simulator and the converter -----------------------------------------------------------------------------------


def simulation(seconds: float) -> tuple[list[Table], dict[str, Any]]:
    """Clips a second, as `evals.speed.simulator` measures them."""
    from evals.speed.simulator import measure

    found = measure(seconds)
    columns = ["", "clips/s", "clips/s, wall clock", "plain loop", "plain, rough", "ratio"]
    keys = (
        "clips_per_second",
        "wall_clips_per_second",
        "plain_clips_per_second",
        "plain_rough_clips_per_second",
        "ratio",
    )
    table = Table(f"Simulated clips of {found['size']} px on one core", columns)
    for group in ("scenarios", "laws"):
        for name, row in [*found[group].items(), (f"{group}, mean", found[f"{group}_mean"])]:
            table.rows.append([name, *(row[key] for key in keys)])
    return [table], found


def conversion(name: str, dtype: str) -> tuple[list[Table], dict[str, Any]]:
    """The converter beside two plain copies, as `evals.speed.converter` measures it."""
    from evals.speed.converter import measure_convert

    found = measure_convert(preset=name, dtype=dtype)
    table = Table(f"Converting {name} to {dtype}", ["GB", "two copies s", "convert s", "ratio", "peak MiB"])
    table.rows.append(
        [
            found["bytes"] / 1e9,
            found["seconds_copy"],
            found["seconds_convert"],
            found["ratio"],
            found["peak_rss"] / 2**20,
        ]
    )
    return [table], found
