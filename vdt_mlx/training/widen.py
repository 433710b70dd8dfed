"""A larger decoder that begins as a smaller one, so that latents, and the networks trained on them, stay valid."""

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from vdt_mlx.autoencoder import Autoencoder, AutoencoderTiny, TinyBlock, build_autoencoder
from vdt_mlx.config import AutoencoderConfig
from vdt_mlx.errors import VDTError


def widen_decoder(old: Autoencoder, config: AutoencoderConfig) -> Autoencoder:
    """`old` with its decoder grown to the sizes in `config`; it computes what it did before.

    New channels are computed from random weights, and read by nothing yet but each other (Net2Net, Chen et al. 2016,
    arXiv 1511.05641, with zeros where it divides by copies); new blocks add nothing. Training does the rest. Nothing
    but the decoder is changed, whatever `config` says of it.

    Raises VDTError where the decoder would shrink, or a level without blocks would get its first one after an
    upsampling, whose negative values a block cuts off.
    """
    wanted = replace(
        old.config,
        decoder_block_out_channels=config.decoder_block_out_channels,
        num_decoder_blocks=config.num_decoder_blocks,
    )
    if wanted == old.config or not isinstance(old, AutoencoderTiny):
        return old
    new = build_autoencoder(wanted)
    assert isinstance(new, AutoencoderTiny)
    new.encoder = old.encoder
    theirs, ours = _levels(old.decoder.layers), _levels(new.decoder.layers)
    for number, (before, after) in enumerate(zip(theirs, ours, strict=True)):
        blocks, more = (sum(isinstance(layer, TinyBlock) for layer in level) for level in (before, after))
        if more < blocks or (number and more and not blocks):
            raise VDTError(
                f"The decoder cannot be widened: its level {number}, coarse to fine, has {blocks} blocks "
                f"and would have {more}."
            )
        # A level is a convolution, then its blocks; those that are new come last.
        for source, target in zip(before, after, strict=False):
            for one, other in zip(_convolutions(source), _convolutions(target), strict=True):
                _widen(one, other)
        for added in after[len(before) :]:
            last = _convolutions(added)[-1]
            last.weight, last.bias = mx.zeros_like(last.weight), mx.zeros_like(last.bias)
    return new


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


def _widen(old: nn.Conv2d, new: nn.Conv2d) -> None:
    """Lays the old kernel (out, h, w, in) into the new one; old outputs do not read new inputs."""
    outputs, _, _, inputs = old.weight.shape
    weight = np.array(new.weight)
    if outputs > weight.shape[0] or inputs > weight.shape[-1]:
        raise VDTError(
            f"The decoder cannot be widened: a convolution of {inputs} to {outputs} channels would have "
            f"{weight.shape[-1]} to {weight.shape[0]}."
        )
    weight[:outputs] = 0
    weight[:outputs, :, :, :inputs] = np.array(old.weight)
    new.weight = mx.array(weight)
    if "bias" in old:
        bias = np.array(new.bias)
        bias[:outputs] = np.array(old.bias)
        new.bias = mx.array(bias)
