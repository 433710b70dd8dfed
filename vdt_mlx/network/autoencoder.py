"""The image autoencoders that VDT's latents come from: Stable Diffusion's, and TAESD.

Images are (N, H, W, 3) in [-1, 1]; latents are (N, h, w, C), 2^(levels - 1) times smaller. Parameter names are
those of `diffusers` (its new attention names); convolution kernels are OHWI, as MLX has them.
"""

import math
from abc import abstractmethod
from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from vdt_mlx.config import AutoencoderConfig
from vdt_mlx.device.chunks import frames_at_once
from vdt_mlx.device.convolution import downsample_conv, relu, upsample_conv, upsample_nearest
from vdt_mlx.device.cpu_streams import over_batch
from vdt_mlx.errors import VDTError

Images = mx.array | np.ndarray


class Autoencoder(nn.Module):
    """What both kinds have in common: clips in and out, a few frames at a time, with normalised latents."""

    config: AutoencoderConfig

    @abstractmethod
    def encode(self, images: mx.array) -> mx.array:
        """Images (N, H, W, 3) in [-1, 1] -> raw latents (N, h, w, C) (KL: their mean)."""

    @abstractmethod
    def decode(self, latents: mx.array) -> mx.array:
        """Raw latents (N, h, w, C) -> images (N, H, W, 3), about [-1, 1] (not clipped)."""

    def normalize(self, latents: mx.array) -> mx.array:
        """Raw latents -> the network's: `(z - mean) / std` for each channel, or `z * scaling_factor`."""
        if self.config.latent_mean is None or self.config.latent_std is None:
            return latents * self.config.scaling_factor
        mean, std = mx.array(self.config.latent_mean), mx.array(self.config.latent_std)
        return (latents - mean.astype(latents.dtype)) / std.astype(latents.dtype)

    def denormalize(self, latents: mx.array) -> mx.array:
        """The inverse of `normalize`."""
        if self.config.latent_mean is None or self.config.latent_std is None:
            return latents / self.config.scaling_factor
        mean, std = mx.array(self.config.latent_mean), mx.array(self.config.latent_std)
        return latents * std.astype(latents.dtype) + mean.astype(latents.dtype)

    def encode_clip(
        self, clip: Images, chunk: int | None = None, progress: Callable[[int], None] | None = None
    ) -> mx.array:
        """A clip (B, T, H, W, 3), floats in [-1, 1] or uint8, -> normalised latents (B, T, h, w, C).

        Works `chunk` frames at a time (see `device.chunks`) and evaluates in between, so that the
        activations do not grow with B or T. `progress` is called with the number of frames done after each chunk.
        Raises VDTError for a size that does not divide by the downsampling factor.
        """
        if len(clip.shape) != 5 or clip.shape[-1] != self.config.in_channels:
            raise VDTError(f"A clip must be (B, T, H, W, {self.config.in_channels}); this one is {tuple(clip.shape)}.")
        batch, frames, height, width = clip.shape[:4]
        factor = self.config.downsample
        if height % factor or width % factor:
            raise VDTError(f"Frames of {width} x {height} do not divide into latent cells of {factor} pixels.")
        flat = clip.reshape(batch * frames, height, width, clip.shape[-1])
        chunk = chunk or frames_at_once(self.config, height, width)

        def encode(part: Images) -> mx.array:
            return self.normalize(over_batch(self.encode, _to_float(part)))

        latents = _in_chunks(encode, flat, chunk, progress, frames, "encoded")
        return latents.reshape(batch, frames, *latents.shape[1:])

    def decode_clip(
        self, latents: Images, chunk: int | None = None, progress: Callable[[int], None] | None = None
    ) -> mx.array:
        """Normalised latents (B, T, h, w, C) -> a clip (B, T, H, W, 3), within [-1, 1]."""
        if len(latents.shape) != 5 or latents.shape[-1] != self.config.latent_channels:
            wanted = f"(B, T, h, w, {self.config.latent_channels})"
            raise VDTError(f"Latents of this autoencoder are {wanted}; these are {tuple(latents.shape)}.")
        flat = latents.reshape(-1, *latents.shape[2:])
        factor = self.config.downsample
        chunk = chunk or frames_at_once(self.config, latents.shape[2] * factor, latents.shape[3] * factor)

        def decode(part: Images) -> mx.array:
            return over_batch(self.decode, self.denormalize(mx.array(part)))

        clip = mx.clip(_in_chunks(decode, flat, chunk, progress, latents.shape[1], "decoded"), -1.0, 1.0)
        return clip.reshape(*latents.shape[:2], *clip.shape[1:])


def _to_float(images: Images) -> mx.array:
    if images.dtype in (np.uint8, mx.uint8):
        return mx.array(images).astype(mx.float32) * (2.0 / 255.0) - 1.0
    return mx.array(images)


def _in_chunks(
    function: Callable[[Images], mx.array],
    array: Images,
    chunk: int,
    progress: Callable[[int], None] | None,
    frames: int,
    done: str,
) -> mx.array:
    """The function over the first axis, `chunk` at a time. Raises VDTError where it returns NaN or infinite values:
    `frames` is how many of the first axis are a clip, and `done` what was done to them."""
    results = []
    for start in range(0, array.shape[0], chunk):
        results.append(function(array[start : start + chunk]))
        finite = mx.isfinite(results[-1]).all(axis=(1, 2, 3))
        mx.eval(results[-1], finite)
        if not finite.all().item():
            clip, frame = divmod(start + int(np.argmin(np.array(finite))), frames)
            where = f"where frame {frame + 1} of clip {clip + 1} was {done}"
            fault = "its weights, or the latents," if done == "decoded" else "its weights"
            raise VDTError(f"The autoencoder returned NaN or infinite values {where}: {fault} are at fault.")
        if progress is not None:
            progress(min(start + chunk, array.shape[0]))
    return mx.concatenate(results) if len(results) > 1 else results[0]


def build_autoencoder(config: AutoencoderConfig) -> Autoencoder:
    """The autoencoder that `config` describes, with random weights."""
    return AutoencoderKL(config) if config.kind == "kl" else AutoencoderTiny(config)


# --- AutoencoderKL (Rombach et al. 2022, arXiv 2112.10752, as diffusers has it) ----------------------------


class ResnetBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=1e-6, pytorch_compatible=True)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=1e-6, pytorch_compatible=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def __call__(self, x: mx.array) -> mx.array:
        y = self.conv1(nn.silu(self.norm1(x)))
        y = self.conv2(nn.silu(self.norm2(y)))
        return y + (self.conv_shortcut(x) if "conv_shortcut" in self else x)


class Attention(nn.Module):
    """One head over all positions of an image."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=1e-6, pytorch_compatible=True)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = [nn.Linear(channels, channels)]

    def __call__(self, x: mx.array) -> mx.array:
        n, h, w, c = x.shape
        y = self.group_norm(x).reshape(n, 1, h * w, c)
        y = mx.fast.scaled_dot_product_attention(self.to_q(y), self.to_k(y), self.to_v(y), scale=1.0 / math.sqrt(c))
        return x + self.to_out[0](y).reshape(n, h, w, c)


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def __call__(self, x: mx.array) -> mx.array:
        return self.conv(mx.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)]))  # below and right only


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        return self.conv(upsample_nearest(x))


class Level(nn.Module):
    """Residual blocks at one resolution, then a change of resolution unless this is the last level."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        layers: int,
        groups: int,
        down: bool = False,
        up: bool = False,
    ):
        super().__init__()
        self.resnets = [
            ResnetBlock(in_channels if i == 0 else out_channels, out_channels, groups) for i in range(layers)
        ]
        if down:
            self.downsamplers = [Downsample(out_channels)]
        if up:
            self.upsamplers = [Upsample(out_channels)]

    def __call__(self, x: mx.array) -> mx.array:
        for resnet in self.resnets:
            x = resnet(x)
        if "downsamplers" in self:
            x = self.downsamplers[0](x)
        if "upsamplers" in self:
            x = self.upsamplers[0](x)
        return x


class MiddleBlock(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.resnets = [ResnetBlock(channels, channels, groups), ResnetBlock(channels, channels, groups)]
        self.attentions = [Attention(channels, groups)]

    def __call__(self, x: mx.array) -> mx.array:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class EncoderKL(nn.Module):
    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        channels, groups = config.block_out_channels, config.norm_num_groups
        last = len(channels) - 1
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.down_blocks = [
            Level(channels[max(i - 1, 0)], channels[i], config.layers_per_block[0], groups, down=i < last)
            for i in range(last + 1)
        ]
        self.mid_block = MiddleBlock(channels[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=1e-6, pytorch_compatible=True)
        self.conv_out = nn.Conv2d(channels[-1], 2 * config.latent_channels, 3, padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(nn.silu(self.conv_norm_out(self.mid_block(x))))


class DecoderKL(nn.Module):
    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        channels, groups = config.block_out_channels[::-1], config.norm_num_groups
        last = len(channels) - 1
        self.conv_in = nn.Conv2d(config.latent_channels, channels[0], 3, padding=1)
        self.mid_block = MiddleBlock(channels[0], groups)
        self.up_blocks = [
            Level(channels[max(i - 1, 0)], channels[i], config.layers_per_block[1] + 1, groups, up=i < last)
            for i in range(last + 1)
        ]
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=1e-6, pytorch_compatible=True)
        self.conv_out = nn.Conv2d(channels[-1], config.in_channels, 3, padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(nn.silu(self.conv_norm_out(x)))


class AutoencoderKL(Autoencoder):
    """Stable Diffusion's variational autoencoder."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.encoder = EncoderKL(config)
        self.decoder = DecoderKL(config)
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)

    def moments(self, images: mx.array) -> tuple[mx.array, mx.array]:
        """Images (N, H, W, 3) in [-1, 1] -> mean and log-variance of the latents, (N, h, w, C) each."""
        mean, logvar = mx.split(self.quant_conv(self.encoder(images)), 2, axis=-1)
        return mean, mx.clip(logvar, -30.0, 20.0)

    def encode(self, images: mx.array) -> mx.array:
        return self.moments(images)[0]

    def decode(self, latents: mx.array) -> mx.array:
        return self.decoder(self.post_quant_conv(latents))


# --- AutoencoderTiny (TAESD, github.com/madebyollin/taesd) -------------------------------------------------


class ReLU(nn.Module):
    def __call__(self, x: mx.array) -> mx.array:
        return relu(x)


class TinyBlock(nn.Module):
    """Three convolutions around a shortcut; ReLU throughout."""

    constant = False
    """Whether the last kernel is known to be zero; see `dead_blocks`."""

    def __init__(self, channels: int):
        super().__init__()
        convolution = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3)]
        # The activations hold places in the list, so that the names are those of the original's Sequential.
        self.conv = [convolution[0], ReLU(), convolution[1], ReLU(), convolution[2]]

    def __call__(self, x: mx.array) -> mx.array:
        if self.constant and not self.training:
            return relu(x + self.conv[-1].bias)
        y = x
        for layer in self.conv:
            y = layer(y)
        return relu(x + y)


class TinyDownsample(nn.Conv2d):
    """A convolution of stride 2, without bias."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, stride=2, padding=1, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return downsample_conv(x, self.weight)


class TinyUpsample(nn.Conv2d):
    """Nearest upsampling and a convolution, without bias."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return upsample_conv(x, self.weight)


class TinyCoder(nn.Module):
    """A plain sequence of layers."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = layers

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers:
            x = layer(x)
        return x


class AutoencoderTiny(Autoencoder):
    """TAESD: a distilled, deterministic autoencoder. Inside it works in [0, 1]; outside, in [-1, 1].

    The channels may differ from level to level and between the halves; where all are 64, names and shapes are TAESD's.
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        channels = config.block_out_channels
        levels = len(channels)
        encoder_blocks = config.num_encoder_blocks or (1,) + (3,) * (levels - 1)
        decoder_blocks = config.num_decoder_blocks or (3,) * (levels - 1) + (1,)

        layers: list[nn.Module] = []
        for i in range(levels):
            if i == 0:
                layers.append(nn.Conv2d(config.in_channels, channels[0], 3, padding=1))
            else:
                layers.append(TinyDownsample(channels[i - 1], channels[i]))
            layers += [TinyBlock(channels[i]) for _ in range(encoder_blocks[i])]
        layers.append(nn.Conv2d(channels[-1], config.latent_channels, 3, padding=1))
        self.encoder = TinyCoder(layers)

        channels = config.decoder_block_out_channels or channels
        layers = [nn.Conv2d(config.latent_channels, channels[-1], 3, padding=1), ReLU()]
        for i in range(levels):
            width, final = channels[levels - 1 - i], i == levels - 1
            layers += [TinyBlock(width) for _ in range(decoder_blocks[i])]
            if final:
                layers.append(nn.Conv2d(width, config.in_channels, 3, padding=1))
            else:
                # In the original the upsampling is a layer of its own: it holds a place in the list.
                layers += [nn.Identity(), TinyUpsample(width, channels[levels - 2 - i])]
        self.decoder = TinyCoder(layers)
        _initialize(self)

    def encode(self, images: mx.array) -> mx.array:
        return self.encoder((images + 1.0) * 0.5)

    def decode(self, latents: mx.array) -> mx.array:
        return self.decoder(mx.tanh(latents / 3.0) * 3.0) * 2.0 - 1.0


def _initialize(model: AutoencoderTiny) -> None:
    """He et al.'s initialisation (arXiv 1502.01852) for ReLU, with residual branches that start small.

    MLX's default shrinks a signal by 2.4 a layer, and a plain sequence of convolutions then learns many times slower.
    """
    for _, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_in = math.prod(module.weight.shape[1:])
            module.weight = mx.random.normal(module.weight.shape) * math.sqrt(2 / fan_in)
            if "bias" in module:
                module.bias = mx.zeros_like(module.bias)
    for _, module in model.named_modules():
        if isinstance(module, TinyBlock):
            module.conv[4].weight = module.conv[4].weight * 0.1
    last = model.decoder.layers[-1]
    last.weight = last.weight * 0.3
    last.bias = mx.full(last.bias.shape, 0.5)  # mid-grey, on the inner scale of [0, 1]
