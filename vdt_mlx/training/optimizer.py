"""Optimizers from MLX as one pure function of arrays: parameters and state in, parameters and state out.

Muon (Jordan et al. 2024) orthogonalises the momentum of the blocks' weight matrices; embeddings, modulations, norms,
biases and the final layer go to AdamW, as Muon's authors advise.
"""

import math
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_unflatten

from vdt_mlx.errors import VDTError
from vdt_mlx.training.config import OptimizerConfig

Flat = dict[str, mx.array]


def kernels(parameters: Flat) -> frozenset[str]:
    """The kernels (out, h, w, in) of an autoencoder that lead from features to features, which Muon may take."""
    return frozenset(
        name for name, value in parameters.items() if value.ndim == 4 and min(value.shape[0], value.shape[-1]) >= 8
    )


class Packing:
    """Parameters laid into a few large arrays: one stack for each shape of Muon's matrices, one vector for the rest.

    A step's update is then some dozens of operations, whatever the depth of the network, where one parameter at a time
    makes thousands of small ones, each of which a GPU must be sent.
    """

    VECTOR = "vector"

    def __init__(self, parameters: Flat, matrices: frozenset[str]):
        """`matrices`: the names of those that Muon takes."""
        self.shapes = {name: value.shape for name, value in parameters.items()}
        self.groups: dict[str, list[str]] = {}
        for name, value in parameters.items():
            group = f"{value.shape[0]}x{value.size // value.shape[0]}" if name in matrices else self.VECTOR
            self.groups.setdefault(group, []).append(name)

    def pack(self, flat: Flat) -> Flat:
        """Stacks (n, rows, columns) named by their shape, and `vector` (n,)."""
        return {
            group: mx.concatenate([flat[name].reshape(-1) for name in names]).reshape(self._shape(group))
            for group, names in self.groups.items()
        }

    def unpack(self, packed: Flat) -> Flat:
        """The inverse of `pack`; the parameters are views, in their first order."""
        found: Flat = {}
        for group, names in self.groups.items():
            values, start = packed[group].reshape(-1), 0
            for name in names:
                shape = self.shapes[name]
                size = math.prod(shape)
                found[name] = values[start : start + size].reshape(shape)
                start += size
        return {name: found[name] for name in self.shapes}

    def _shape(self, group: str) -> tuple[int, ...]:
        if group == self.VECTOR:
            return (-1,)
        rows, columns = map(int, group.split("x"))
        return (-1, rows, columns)


class StackedMuon(optim.Muon):
    """MLX's Muon for stacks of matrices (n, rows, columns), each orthogonalised on its own, side by side."""

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> mx.array:
        gradient = gradient + self.weight_decay * parameter
        state["v"] = self.momentum * state["v"] + (1 - self.momentum) * gradient
        update = orthogonalize(gradient * (1 - self.momentum) + state["v"] * self.momentum, self.ns_steps)
        return parameter - self.learning_rate * max(1, update.shape[-2] / update.shape[-1]) ** 0.5 * update


def orthogonalize(matrices: mx.array, steps: int) -> mx.array:
    """(n, rows, columns) with all singular values brought near 1 by Newton-Schulz (Jordan et al. 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.swapaxes(-1, -2) if tall else matrices
    x = x / (mx.sqrt(x.square().sum(axis=(-2, -1), keepdims=True)) + 1e-7)
    for _ in range(steps):
        square = x @ x.swapaxes(-1, -2)
        x = mx.addmm(a * x, mx.addmm(b * square, square, square, alpha=c), x)
    return x.swapaxes(-1, -2) if tall else x


class FlatOptimizer:
    """MLX's optimizers over packed parameters."""

    def __init__(self, config: OptimizerConfig):
        self.config = config
        adamw = optim.AdamW(config.lr, betas=list(config.betas), weight_decay=config.weight_decay, bias_correction=True)
        self.parts: dict[str, tuple[optim.Optimizer, float]] = {"adamw": (adamw, config.lr)}
        if config.name == "muon":
            muon = StackedMuon(config.muon_lr, momentum=0.95, weight_decay=config.weight_decay)
            self.parts["muon"] = muon, config.muon_lr

    def packing(self, parameters: Flat, matrices: frozenset[str]) -> Packing:
        """`matrices`: those that carry features to features, for Muon, if it is used."""
        return Packing(parameters, matrices if "muon" in self.parts else frozenset())

    def _share(self, part: str, packed: Flat) -> Flat:
        return {group: value for group, value in packed.items() if (group == Packing.VECTOR) == (part == "adamw")}

    def init(self, packed: Flat) -> Flat:
        """The state at the start, as a flat dictionary of arrays."""
        for name, (part, _) in self.parts.items():
            part.init(self._share(name, packed))
        return self._state()

    def _state(self) -> Flat:
        return {
            f"{name}.{key}": value
            for name, (part, _) in self.parts.items()
            for key, value in _flatten(part.state).items()
        }

    def update(self, gradients: Flat, packed: Flat, state: Flat, scale: mx.array) -> tuple[Flat, Flat]:
        """One step; `scale` multiplies the configured learning rates. Pure, so that it can be compiled."""
        result: Flat = {}
        for name, (part, rate) in self.parts.items():
            prefix = f"{name}."
            own: dict[str, Any] = {"learning_rate": rate * scale}
            for key, value in state.items():
                if key.startswith(prefix):
                    group, _, moment = key[len(prefix) :].rpartition(".")
                    if group:
                        own.setdefault(group, {})[moment] = value
                    else:
                        own[moment] = value
            part.state = own
            result.update(part.apply_gradients(self._share(name, gradients), self._share(name, packed)))
        # Row by row in memory, as a state read from a file is: sums over another layout round differently, and a
        # resumed run would part from its original in the last bit.
        return {name: mx.contiguous(result[name]) for name in gradients}, {
            name: mx.contiguous(value) for name, value in self._state().items()
        }


def _flatten(state: dict[str, Any]) -> Flat:
    """An MLX optimizer's state on packed parameters, flat: `group.moment`. The learning rate is ours to give."""
    flat: Flat = {}
    for name, value in state.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": item for key, item in value.items()})
        elif name != "learning_rate":
            flat[name] = value
    return flat


def rate_scale(config: OptimizerConfig, step: int, steps: int) -> float:
    """What the learning rates are multiplied by at `step` (from 0) of `steps`."""
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "constant":
        return rise
    if config.schedule == "decay":
        start = 0.8 * steps
        share = min(1.0, max(0.0, (step - start) / max(1.0, steps - start)))
        return rise * (1 + (config.final - 1) * share)
    share = min(1.0, max(0.0, (step - config.warmup) / max(1, steps - config.warmup)))
    return rise * (config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * share)))


def clip_by_norm(gradients: Flat, limit: float) -> tuple[Flat, mx.array]:
    """Gradients scaled so that their joint norm is at most `limit` (0: as they are), and the norm before."""
    norm = mx.sqrt(sum((gradients[name].square().sum() for name in sorted(gradients)), mx.array(0.0)))
    if not limit:
        return gradients, norm
    scale = mx.minimum(limit / (norm + 1e-6), 1.0)
    return {name: g * scale for name, g in gradients.items()}, norm


def ema_decay(decay: float, step: int) -> float:
    """The decay at `step`, lower at the start so that the average forgets the random weights."""
    return min(decay, (1 + step) / (10 + step))


def average(ema: Flat, parameters: Flat, decay: mx.array) -> Flat:
    return {name: value + (1 - decay) * (parameters[name] - value) for name, value in ema.items()}


def in_order(loaded: Flat, like: Flat) -> Flat:
    """A loaded group in the order of a live one: a file keeps none, and sums over another order round differently.

    Raises VDTError for a group with other names, as an earlier version saved its optimizer's.
    """
    if loaded.keys() != like.keys():
        raise VDTError(
            "This run's state was saved by another version of vdt-mlx and cannot be resumed; a new run can start from "
            "its checkpoint with `init`."
        )
    return {name: loaded[name] for name in like}


def scalar(value: mx.array) -> float:
    """The number in an array of one element."""
    return float(value.item())  # type: ignore[arg-type]


def unflatten(flat: Flat) -> Any:
    return tree_unflatten(list(flat.items()))
