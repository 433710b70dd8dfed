"""A larger autoencoder that begins as a smaller one; where only its decoder grows, latents stay as they are."""

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from vdt_mlx.config import AutoencoderConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import Autoencoder, AutoencoderTiny, TinyBlock, build_autoencoder

_DECODER = ("decoder_block_out_channels", "num_decoder_blocks")
_ENCODER = ("block_out_channels", "num_encoder_blocks", "latent_channels")


def widen(old: Autoencoder, config: AutoencoderConfig, decoder_only: bool = False) -> Autoencoder:
    """`old`, a tiny one, grown to the sizes in `config`; it reconstructs what it did before.

    New channels are computed from random weights, and read by nothing yet but each other (Net2Net, Chen et al. 2016,
    arXiv 1511.05641, with zeros where it divides by copies); new blocks add nothing. So new latent channels come after
    the old ones, which keep their values until training moves them. With `decoder_only` nothing but the decoder is
    changed, whatever `config` says of the rest.

    Raises VDTError where something would shrink, or a level without blocks would get its first one after a convolution,
    whose negative values a block cuts off.
    """
    names = _DECODER if decoder_only else (*_DECODER, *_ENCODER)
    changes = {name: getattr(config, name) for name in names}
    if not isinstance(old, AutoencoderTiny) or all(getattr(old.config, name) == new for name, new in changes.items()):
        return old
    if "latent_channels" in changes and changes["latent_channels"] != old.config.latent_channels:
        changes |= {"latent_mean": None, "latent_std": None}
    new = build_autoencoder(replace(old.config, **changes))
    assert isinstance(new, AutoencoderTiny)
    if decoder_only:
        new.encoder = old.encoder
    else:
        _grow("encoder", old.encoder.layers, new.encoder.layers)
    _grow("decoder", old.decoder.layers, new.decoder.layers)
    return new


def _grow(half: str, old: list[nn.Module], new: list[nn.Module]) -> None:
    for number, (before, after) in enumerate(zip(_levels(old), _levels(new), strict=True)):
        blocks, more = (sum(isinstance(layer, TinyBlock) for layer in level) for level in (before, after))
        rectified = half == "decoder" and number == 0
        if more < blocks or (more and not blocks and not rectified):
            raise VDTError(
                f"The {half} cannot be widened: its level {number}, in the order of computation, has {blocks} blocks "
                f"and would have {more}."
            )
        # A level is a convolution, then its blocks; those that are new come last.
        for source, target in zip(before, after, strict=False):
            for one, other in zip(_convolutions(source), _convolutions(target), strict=True):
                _widen(half, one, other)
        for added in after[len(before) :]:
            last = _convolutions(added)[-1]
            last.weight, last.bias = mx.zeros_like(last.weight), mx.zeros_like(last.bias)


def _levels(layers: list[nn.Module]) -> list[list[nn.Module]]:
    """The layers with weights, in runs that each begin with a convolution that changes channels or resolution."""
    levels: list[list[nn.Module]] = []
    for layer in layers:
        if isinstance(layer, TinyBlock):
            levels[-1].append(layer)
        elif isinstance(layer, nn.Conv2d):
            levels.append([layer])
    return levels


def _convolutions(layer: nn.Module) -> list[nn.Conv2d]:
    if isinstance(layer, TinyBlock):
        return [part for part in layer.conv if isinstance(part, nn.Conv2d)]
    assert isinstance(layer, nn.Conv2d)
    return [layer]


def _widen(half: str, old: nn.Conv2d, new: nn.Conv2d) -> None:
    """Lays the old kernel (out, h, w, in) into the new one; old outputs do not read new inputs."""
    outputs, _, _, inputs = old.weight.shape
    weight = np.array(new.weight)
    if outputs > weight.shape[0] or inputs > weight.shape[-1]:
        raise VDTError(
            f"The {half} cannot be widened: a convolution of {inputs} to {outputs} channels would have "
            f"{weight.shape[-1]} to {weight.shape[0]}."
        )
    weight[:outputs] = 0
    weight[:outputs, :, :, :inputs] = np.array(old.weight)
    new.weight = mx.array(weight)
    if "bias" in old:
        bias = np.array(new.bias)
        bias[:outputs] = np.array(old.bias)
        new.bias = mx.array(bias)
