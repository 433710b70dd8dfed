"""The network's speed beside the same network in PyTorch, and beside this device's matrix products."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten

from evals.speed.output import Table, alternate, progress, quartiles
from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.config import PRESETS, VDTConfig
from vdt_mlx.device.cpu_streams import available_cores, lanes
from vdt_mlx.device.kernels import on_cpu
from vdt_mlx.network.flops import flops
from vdt_mlx.network.vdt import VDT

PRODUCT = 2048
"""Rows of the square matrices whose product gives the device's rate."""


@dataclass(frozen=True)
class Case:
    """A network and what is asked of it."""

    title: str
    config: VDTConfig
    batch: int
    training: bool = True


CASES = {
    "VDT-S/2": Case("VDT-S/2, 128 px, 16 frames, batch 1", PRESETS["VDT-S/2"], 1),
    "VDT-L/2": Case(
        "VDT-L/2, 4 blocks, 256 px, 16 frames, batch 1", replace(PRESETS["VDT-L/2"], depth=4), 1, training=False
    ),
    "physics": Case("physics, 64 px, 16 frames, batch 16", PRESETS["physics"], 16),
}


def measure(names: tuple[str, ...], rounds: int, compiled: bool = True) -> tuple[list[Table], dict[str, Any]]:
    """Times the named cases, MLX and PyTorch in turns; PyTorch is left out where it is not installed."""
    results = []
    for name in progress(names, "timing"):
        case = CASES[name]
        for part in ("forward", "training step") if case.training else ("forward",):
            results.append({"case": name, "part": part, **_measure(case, part == "training step", rounds, compiled)})
    return [_table(results, rounds)], {"rounds": rounds, "compiled": compiled, "cases": results}


FORMS = {"mlx": "MLX ms", "compiled": "compiled ms", "lanes": "lanes ms", "torch": "PyTorch ms"}


def _table(results: list[dict[str, Any]], rounds: int) -> Table:
    """A row a result, with columns for the forms that were timed."""
    forms = [form for form in FORMS if any(form in result["seconds"] for result in results)]
    beside = "torch" in forms
    title = "Best of MLX beside PyTorch" if beside else "MLX alone (pip install torch, to see PyTorch beside it)"
    compared = ["ratio", "quartiles"] if beside else []
    columns = ["", *(FORMS[form] for form in forms), *compared, "GFLOP/s", "of a product's rate"]
    table = Table(f"{title}, fp32, {rounds} rounds in turns", columns)
    for result in results:
        ratio = result.get("ratio")
        table.rows.append(
            [
                f"{result['title']}: {result['part']}",
                *(1000 * result["seconds"][form] for form in forms),
                *([ratio["median"], f"{ratio['low']:.2f}-{ratio['high']:.2f}"] if ratio else []),
                result["gflops_per_second"],
                f"{result['share_of_rate']:.0%}",
            ]
        )
    return table


def _measure(case: Case, training: bool, rounds: int, compiled: bool) -> dict[str, Any]:
    model = VDT(case.config)
    # A fresh network has layers of zeros; let neither side profit from them.
    filled = [(k, v if k.endswith("_embed") else mx.random.normal(v.shape) * 0.02) for k, v in _named(model)]
    model.load_weights(filled)
    mx.eval(model.parameters())
    height, width = case.config.latent_size
    x = mx.random.normal((case.batch, case.config.num_frames, height, width, case.config.in_channels))
    t = mx.full((case.batch,), 500.0)
    work: dict[str, Callable[[], Any]] = (
        _step_work(model, x, t, compiled) if training else _forward_work(model, x, t, compiled)
    )
    if find_spec("torch") is not None:
        work["torch"] = _torch_work(model, np.array(x), training)
    a = mx.random.normal((PRODUCT, PRODUCT))
    mx.eval(a)
    # The fastest of three: what ran before may still keep its threads spinning, and this is what others are held to.
    work["product"] = lambda: min(_seconds(lambda: mx.eval(a @ a)) for _ in range(3))
    seconds = alternate(work, rounds)
    medians = {name: quartiles(values)[0] for name, values in seconds.items()}
    mine = min((name for name in medians if name in ("mlx", "compiled", "lanes")), key=medians.__getitem__)
    count = flops(case.config, batch=case.batch) * (3 if training else 1)
    rate = 2 * PRODUCT**3 / min(seconds["product"])  # what the device can do, not what other work left of it
    result: dict[str, Any] = {
        "title": case.title,
        "seconds": medians,
        "best": mine,
        "gflops": count / 1e9,
        "gflops_per_second": count / medians[mine] / 1e9,
        "product_gflops_per_second": rate / 1e9,
        "share_of_rate": count / medians[mine] / rate,
        "all_seconds": seconds,
    }
    if "torch" in seconds:
        middle, low, high = quartiles([a / b for a, b in zip(seconds[mine], seconds["torch"], strict=True)])
        result["ratio"] = {"median": middle, "low": low, "high": high}
    return result


def _named(model: VDT) -> list[tuple[str, mx.array]]:
    return list(flat_parameters(model).items())


def _forward_work(model: VDT, x: mx.array, t: mx.array, compiled: bool) -> dict[str, Callable[[], Any]]:
    work: dict[str, Callable[[], Any]] = {"mlx": lambda: mx.eval(model(x, t))}
    if compiled:
        network = mx.compile(lambda x, t: model(x, t))
        work["compiled"] = lambda: mx.eval(network(x, t))
    if on_cpu():

        def in_lanes() -> None:
            with lanes():
                mx.eval(model(x, t))

        work["lanes"] = in_lanes
    return work


def _step_work(model: VDT, x: mx.array, t: mx.array, compiled: bool) -> dict[str, Callable[[], Any]]:
    """Squared error, gradients, AdamW: as training does it, compiled whole where `compiled`."""

    def step(optimizer: optim.Optimizer) -> Callable[[mx.array, mx.array], mx.array]:
        gradients = nn.value_and_grad(model, lambda model, x, t: model(x, t).square().mean())

        def run(x: mx.array, t: mx.array) -> mx.array:
            loss, grads = gradients(model, x, t)
            optimizer.update(model, grads)
            return loss

        return run

    def prepared(whole: bool) -> Callable[[], Any]:
        optimizer = optim.AdamW(1e-6)
        optimizer.init(model.trainable_parameters())
        state = [model.state, optimizer.state]
        run: Any = step(optimizer)
        if whole:
            run = mx.compile(run, inputs=state, outputs=state)
        return lambda: mx.eval(run(x, t), state)

    work = {"mlx": prepared(False)}
    if compiled:
        work["compiled"] = prepared(True)
    if on_cpu():
        in_lanes = prepared(compiled)

        def run_in_lanes() -> None:
            with lanes():
                in_lanes()

        work["lanes"] = run_in_lanes
    return work


def _torch_work(model: VDT, x: np.ndarray, training: bool) -> Callable[[], Any]:
    import torch

    from evals.speed.torch_twin import with_weights

    torch.set_num_threads(available_cores())
    twin = with_weights(model.config, dict(tree_flatten(model.parameters())))
    clip = torch.from_numpy(np.moveaxis(x, -1, 2).copy())
    t = torch.full((len(clip),), 500.0)
    if not training:
        twin.eval()

        def forward() -> None:
            with torch.no_grad():
                twin(clip, t)

        return forward
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        twin(clip, t).square().mean().backward()
        optimizer.step()

    return step


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
