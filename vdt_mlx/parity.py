"""The parity ladder: each part of the port against recorded numbers, on this device, in every dtype.

The recorded numbers come from the official PyTorch release (network, sampler), from diffusers (autoencoders), and for
the parts within the network from a PyTorch twin that reproduces the official output to 1e-5.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np

from vdt_mlx import kernel_parity
from vdt_mlx.checkpoint import DTYPES, cast
from vdt_mlx.config import PRESETS, AutoencoderConfig, DiffusionConfig, VDTConfig
from vdt_mlx.diffusion.samplers import sample
from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.network.autoencoder import build_autoencoder
from vdt_mlx.network.flops import flops
from vdt_mlx.network.vdt import VDT

NETWORK = VDTConfig(hidden_size=64, depth=2, num_heads=4, num_frames=8, latent_size=(8, 8))

TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "bf16": 4e-2}
"""Largest difference, relative to the largest recorded value where that is above 1 (a sampling run's is 900); several
times what was measured on a CPU, whose half-precision products accumulate in fp32."""


@dataclass(frozen=True)
class Recorded:
    """What is compared with. Weights are in our layout; arrays have channels last."""

    network: Mapping[str, mx.array]
    arrays: Mapping[str, np.ndarray]
    autoencoders: Mapping[str, tuple[AutoencoderConfig, Mapping[str, mx.array], Mapping[str, np.ndarray]]]


@dataclass(frozen=True)
class Verdict:
    """One rung in one dtype."""

    rung: str
    dtype: str
    difference: float
    """Largest, relative to the largest recorded value where that is above 1."""
    tolerance: float
    seconds: float

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance  # NaN fails


@dataclass(frozen=True)
class Timing:
    """A measured time."""

    name: str
    seconds: float
    gflops_per_second: float | None = None


def climb(recorded: Recorded, on_rung: Callable[[Verdict], None] | None = None) -> list[Verdict]:
    """Runs the ladder; `on_rung` hears of each verdict as it comes."""
    verdicts = []
    for dtype in DTYPES:
        for name, rung in _rungs(recorded, dtype).items():
            started = time.perf_counter()
            difference = rung()
            verdicts.append(Verdict(name, dtype, difference, TOLERANCE[dtype], time.perf_counter() - started))
            if on_rung is not None:
                on_rung(verdicts[-1])
    return verdicts


def compare_kernels(on_rung: Callable[[Verdict], None] | None = None) -> list[Verdict]:
    """The checks of `kernel_parity` that this device has room for."""
    verdicts = []
    for check in kernel_parity.checks():
        for dtype in check.dtypes if kernel_parity.fits(check) else ():
            started = time.perf_counter()
            difference = kernel_parity.difference(check, dtype)
            allowed = check.leeway * kernel_parity.TOLERANCE[dtype]
            verdicts.append(Verdict(check.name, dtype, difference, allowed, time.perf_counter() - started))
            if on_rung is not None:
                on_rung(verdicts[-1])
    return verdicts


def _rungs(recorded: Recorded, dtype: str) -> dict[str, Callable[[], float]]:
    model = VDT(NETWORK)
    model.load_weights(list(cast(dict(recorded.network), dtype).items()))
    arrays = recorded.arrays
    wide = {name: mx.array(value) for name, value in arrays.items()}
    x, t, tokens, condition = (wide[name] for name in ("x", "t", "tokens", "condition"))
    half = DTYPES[dtype]

    def embedding() -> float:
        narrow = x.astype(half)
        pos, frame = model.pos_embed.astype(half), model.time_embed.astype(half)
        ours = model.x_embedder(narrow) + pos[:, None] + frame[:, :, None]
        table = model.y_embedder(None, len(t))
        return max(_apart(ours, tokens), _apart(model.t_embedder(t, half) + table, condition))

    def block() -> float:
        return _apart(model.blocks[0](tokens.astype(half), condition.astype(half)), wide["block"])

    def network() -> float:
        return _apart(model(x, t), wide["y"])

    def sampler(task: str) -> float:
        noise = [mx.array(step) for step in arrays[f"{task}_noise"]]
        run = sample(
            model,
            Schedule(DiffusionConfig()),
            wide[f"{task}_init"],
            wide[f"{task}_raw"],
            wide[f"{task}_mask"],
            Sampling(sampler="ddpm", steps=len(noise)),
            step_noise=noise,
        )
        *_, last = run
        return _apart(last.latents, wide[f"{task}_sample"])

    def compiled() -> float:
        function: Callable[[mx.array, mx.array], mx.array] = mx.compile(model)
        return _apart(function(x, t), wide["y"])

    rungs: dict[str, Callable[[], float]] = {
        "embeddings": embedding,
        "block": block,
        "network": network,
        "network, compiled": compiled,
        "sampler, predict": lambda: sampler("predict"),
        "sampler, spatial": lambda: sampler("spatial"),
    }
    if dtype == "fp32":  # the autoencoder stays in fp32 whatever the network computes in
        for kind, (config, weights, values) in recorded.autoencoders.items():
            rungs[f"autoencoder {kind}, encode"] = lambda c=config, w=weights, v=values: _encode(c, w, v)  # type: ignore[misc]
            rungs[f"autoencoder {kind}, decode"] = lambda c=config, w=weights, v=values: _decode(c, w, v)  # type: ignore[misc]
    return rungs


def _coder(config: AutoencoderConfig, weights: Mapping[str, mx.array]) -> Any:
    model = build_autoencoder(config)
    model.load_weights(list(weights.items()))
    return model


def _encode(config: AutoencoderConfig, weights: Mapping[str, mx.array], arrays: Mapping[str, np.ndarray]) -> float:
    ours = _coder(config, weights).encode(mx.array(arrays["image"]))
    return _apart(ours, mx.array(arrays["latent_mean" if config.kind == "kl" else "latents"]))


def _decode(config: AutoencoderConfig, weights: Mapping[str, mx.array], arrays: Mapping[str, np.ndarray]) -> float:
    return _apart(_coder(config, weights).decode(mx.array(arrays["z"])), mx.array(arrays["decoded"]))


def _apart(ours: mx.array, recorded: mx.array) -> float:
    scale = max(1.0, float(mx.abs(recorded).max()))
    return float(mx.abs(ours.astype(mx.float32) - recorded).max()) / scale


TIMED: dict[str, tuple[VDTConfig, int]] = {
    "physics, forward, batch 1": (PRESETS["physics"], 1),
    "VDT-S/2, forward, batch 1": (PRESETS["VDT-S/2"], 1),
    "VDT-L/2, one block, forward, batch 1": (replace(PRESETS["VDT-L/2"], depth=1), 1),
}


def timings(rounds: int = 3, dtypes: tuple[str, ...] = ("fp32", "fp16")) -> list[Timing]:
    """Medians of a few forward passes with random weights, and of a square matrix product."""
    found = []
    for dtype in dtypes:
        a = mx.random.normal((1024, 1024))
        if dtype == "fp32" or mx.default_device().type != mx.cpu:  # half-precision products are loops on a CPU
            a = a.astype(DTYPES[dtype])
            found.append(_timed(f"matrix product of 1024, {dtype}", lambda a=a: a @ a, 2 * 1024**3, rounds))  # type: ignore[misc]
        for name, (config, batch) in TIMED.items():
            model = VDT(config)
            model.set_dtype(DTYPES[dtype])
            x = mx.random.normal((batch, config.num_frames, *config.latent_size, config.in_channels))
            t = mx.full((batch,), 500.0)
            work = lambda model=model, x=x, t=t: model(x, t)  # noqa: E731
            found.append(_timed(f"{name}, {dtype}", work, flops(config, batch=batch), rounds))
    return found


def _timed(name: str, work: Callable[[], mx.array], count: float, rounds: int) -> Timing:
    mx.eval(work())
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        mx.eval(work())
        seconds.append(time.perf_counter() - started)
    middle = float(np.median(seconds))
    return Timing(name, middle, count / middle / 1e9)


def report(
    verdicts: list[Verdict],
    times: list[Timing],
    not_run: list[str],
    about: dict[str, Any],
    training: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The JSON to paste into an issue."""
    passed = all(verdict.passed for verdict in verdicts) and "failed" not in (training or {})
    return {
        "passed": passed,
        "machine": about,
        "verdicts": [{**asdict(verdict), "passed": verdict.passed} for verdict in verdicts],
        "timings": [asdict(timing) for timing in times],
        **({"training": training} if training is not None else {}),
        "not_run": not_run,
    }
