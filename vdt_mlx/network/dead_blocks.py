"""Residual blocks of a tiny autoencoder that only add a constant, found and made so for good.

Where no unit before a block's last convolution is ever active, that convolution sees zeros everywhere, at the border
too, and the block adds its bias: two of its convolutions work for nothing. Setting the last kernel to zero changes no
pixel, files keep their form, and whoever loads the weights (`skip_constant_blocks`) can leave the convolutions out.
"""

import mlx.core as mx
import numpy as np

from vdt_mlx.device.chunks import frames_at_once
from vdt_mlx.network.autoencoder import Autoencoder, AutoencoderTiny, TinyBlock, TinyCoder

STRANGE = 8
"""Pictures of each kind that no data set has: noise, coarse noise, saturated colours."""
STRAY = 0.5
"""Deviations of the noise on encoded frames that stands for what a network generates."""


def fold_dead_blocks(model: Autoencoder, frames: np.ndarray) -> list[str]:
    """Sets the last kernel of every dead block to zero, in place; `encode` and `decode` then leave its layers out.

    Args:
        frames: (N, H, W, 3) uint8, held out. A block is dead if none of its units is active on any of them, nor on
            pictures of noise and of saturated colours; in the decoder, on what the encoder makes of these, with and
            without noise. On frames where it stays so, every pixel is the same, bit for bit.

    Returns:
        The names of the blocks that are folded now and were not before; none for other kinds of autoencoder.
    """
    if not isinstance(model, AutoencoderTiny):
        return []
    pictures = np.concatenate([frames, _strange(frames.shape[1:])])
    chunk = frames_at_once(model.config, *frames.shape[1:3])
    alive: set[str] = set()
    for number, start in enumerate(range(0, len(pictures), chunk)):
        images = mx.array(pictures[start : start + chunk]).astype(mx.float32) / 255.0
        latents = model.normalize(_walk("encoder", model.encoder, images, alive))
        noise = STRAY * mx.random.normal(latents.shape, key=mx.random.key(number))
        for z in (latents, latents + noise):
            _walk("decoder", model.decoder, mx.tanh(model.denormalize(z) / 3.0) * 3.0, alive)
    folded = [name for name, block in _blocks(model).items() if name not in alive and not block.constant]
    for name in folded:
        last = _blocks(model)[name].conv[-1]
        last.weight = mx.zeros_like(last.weight)
    skip_constant_blocks(model)
    return folded


def skip_constant_blocks(model: Autoencoder) -> None:
    """Marks the blocks whose last kernel is zero, in place, so that calls outside of training only add their bias."""
    if isinstance(model, AutoencoderTiny):
        for block in _blocks(model).values():
            block.constant = not mx.any(block.conv[-1].weight).item()


def _blocks(model: AutoencoderTiny) -> dict[str, TinyBlock]:
    return {
        f"{half}.layers.{index}": layer
        for half, coder in (("encoder", model.encoder), ("decoder", model.decoder))
        for index, layer in enumerate(coder.layers)
        if isinstance(layer, TinyBlock)
    }


def _walk(half: str, coder: TinyCoder, x: mx.array, alive: set[str]) -> mx.array:
    """What a half of the autoencoder makes of x; notes the blocks that have an active unit."""
    for index, layer in enumerate(coder.layers):
        name = f"{half}.layers.{index}"
        if isinstance(layer, TinyBlock) and not layer.constant and name not in alive:
            hidden = x
            for part in layer.conv[:-1]:
                hidden = part(hidden)
            if mx.any(hidden).item():
                alive.add(name)
        x = layer(x)
        mx.eval(x)
    return x


def _strange(shape: tuple[int, ...]) -> np.ndarray:
    """Pictures (3 * STRANGE, H, W, 3): noise, noise in squares of 8 pixels, and one colour at a corner of the cube."""
    height, width, channels = shape
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (STRANGE, *shape), dtype=np.uint8)
    coarse = rng.integers(0, 256, (STRANGE, -(-height // 8), -(-width // 8), channels), dtype=np.uint8)
    squares = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
    corners = np.array([[255 * (i >> c & 1) for c in range(channels)] for i in range(STRANGE)], np.uint8)
    return np.concatenate([noise, squares, np.broadcast_to(corners[:, None, None], (STRANGE, *shape))])
