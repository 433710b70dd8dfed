"""How many frames an autoencoder takes at a time, by device.

On a CPU, a convolution is unrolled into a matrix, and that is what decides. On a GPU it is the activations of the
widest level, and what a Winograd convolution holds beside them (3.7 times its input): where that is more than the GPU
may use without paging, some releases of MLX return zeros without a word. Long pieces also keep a GPU from drawing the
screen, and macOS ends what keeps it too long.
"""

from vdt_mlx.config import AutoencoderConfig
from vdt_mlx.device.kernels import on_cpu
from vdt_mlx.device.memory import gpu_bytes

MOST = 16
SHARE = 4
"""One in so many bytes of what the GPU may use is for a piece; the rest is for weights, results and other programs."""
UNKNOWN_GPU = 4 << 30
"""Bytes taken for granted where a GPU does not tell."""
LIVE = 8
"""Arrays as large as the widest activation that are alive at a time: a block's input, its branch, a workspace."""


def frames_at_once(config: AutoencoderConfig, height: int, width: int) -> int:
    """How many frames (height, width) of pixels to encode or decode at once on this device, 1 to 16."""
    if on_cpu():
        return config.frames_at_once(height, width)
    room = (gpu_bytes() or UNKNOWN_GPU) // SHARE
    return max(1, min(MOST, room // frame_bytes(config, height, width)))


def frame_bytes(config: AutoencoderConfig, height: int, width: int) -> int:
    """Bytes that a frame (height, width) of pixels takes at the peak of decoding it on this device, about."""
    if on_cpu():
        return 4 * config.frame_activations * height * width
    return 4 * LIVE * widest(config) * height * width


def widest(config: AutoencoderConfig) -> int:
    """Channels that a pixel of the image has at most: the first level's, and in the decoder of the kind `kl` those that
    the second level hands up."""
    if config.kind == "kl":
        return max(config.block_out_channels[:2])
    return max(config.block_out_channels[0], *(config.decoder_block_out_channels or config.block_out_channels)[:2])
