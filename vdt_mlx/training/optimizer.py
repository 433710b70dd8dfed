"""Optimizers from MLX as one pure function of arrays: parameters and state in, parameters and state out.

Muon (Jordan et al. 2024) orthogonalises the momentum of the blocks' weight matrices; embeddings, modulations, norms,
biases and the final layer go to AdamW, as Muon's authors advise.
"""

import math
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_unflatten

from vdt_mlx.training.settings import OptimizerConfig

Flat = dict[str, mx.array]

# The matrices that carry tokens to tokens; modulations see one vector a clip and stay with AdamW.
_MUON_LAYERS = ("attn.qkv", "attn.proj", "temporal_attn.qkv", "temporal_attn.proj", "temporal_fc", "mlp.fc1", "mlp.fc2")


def uses_muon(name: str, value: mx.array) -> bool:
    """Whether a parameter is one of a VDT's block matrices, or a kernel from features to features of an autoencoder."""
    if value.ndim == 4:
        return min(value.shape[0], value.shape[-1]) >= 8
    layers = (f".{layer}.weight" for layer in _MUON_LAYERS)
    return name.startswith("blocks.") and value.ndim == 2 and any(name.endswith(layer) for layer in layers)


class FlatOptimizer:
    """An MLX optimizer (or two) over flat dictionaries of parameters."""

    def __init__(self, config: OptimizerConfig):
        self.config = config
        adamw = optim.AdamW(config.lr, betas=list(config.betas), weight_decay=config.weight_decay, bias_correction=True)
        if config.name == "muon":
            muon = optim.Muon(config.muon_lr, momentum=0.95, weight_decay=config.weight_decay)
            self.parts: list[optim.Optimizer] = [muon, adamw]
        else:
            self.parts = [adamw]

    def _split(self, flat: Flat) -> list[Flat]:
        if len(self.parts) == 1:
            return [flat]
        first = {name: value for name, value in flat.items() if uses_muon(name, value)}
        return [first, {name: value for name, value in flat.items() if name not in first}]

    def init(self, parameters: Flat) -> Flat:
        """The state at the start, as a flat dictionary of arrays."""
        for part, group in zip(self.parts, self._split(parameters), strict=True):
            part.init(dict(group))
        return self._state()

    def _state(self) -> Flat:
        return {
            f"{index}.{name}": value
            for index, part in enumerate(self.parts)
            for name, value in _flatten(part.state).items()
        }

    def update(self, gradients: Flat, parameters: Flat, state: Flat, scale: mx.array) -> tuple[Flat, Flat]:
        """One step; `scale` multiplies the configured learning rates. Pure, so that it can be compiled."""
        result: Flat = {}
        new_state: Flat = {}
        rates = [self.config.muon_lr, self.config.lr][-len(self.parts) :]
        groups = zip(self.parts, self._split(gradients), rates, strict=True)
        for index, (part, group, rate) in enumerate(groups):
            prefix = f"{index}."
            # Parameter names are kept as single keys: MLX then works on a flat tree.
            own: dict[str, Any] = {"learning_rate": rate * scale}
            for name, value in state.items():
                if name.startswith(prefix):
                    head, _, tail = name[len(prefix) :].rpartition(".")
                    if head:
                        own.setdefault(head, {})[tail] = value
                    else:
                        own[tail] = value
            part.state = own
            result.update(part.apply_gradients(group, {name: parameters[name] for name in group}))
            new_state.update({f"{prefix}{name}": value for name, value in _flatten(part.state).items()})
        # Row by row in memory, as a state read from a file is: sums over another layout round differently, and a
        # resumed run would part from its original in the last bit.
        return {name: mx.contiguous(result[name]) for name in gradients}, {
            name: mx.contiguous(value) for name, value in new_state.items()
        }


def _flatten(state: dict[str, Any]) -> Flat:
    """An MLX optimizer's state on flat parameters, flat: `parameter.moment`. The learning rate is ours to give."""
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
    """A loaded group in the order of a live one: a file keeps none, and sums over another order round differently."""
    return {name: loaded[name] for name in like}


def scalar(value: mx.array) -> float:
    """The number in an array of one element."""
    return float(value.item())  # type: ignore[arg-type]


def unflatten(flat: Flat) -> Any:
    return tree_unflatten(list(flat.items()))
