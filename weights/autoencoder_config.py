"""The configuration of somebody's autoencoder: read off its tensors, and the config.json of diffusers beside them."""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from vdt_mlx.config import MAX_WIDTH, AutoencoderConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.reading import read_json

DEFAULT_GROUPS = 32
DEFAULT_SCALING = {"kl": 0.18215, "tiny": 1.0}
SETTINGS: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish", "relu"),
    "mid_block_add_attention": (True,),
    "use_quant_conv": (True,),
    "use_post_quant_conv": (True,),
    "latent_magnitude": (3,),
    "latent_shift": (0.5,),
    "upsample_fn": ("nearest",),
    "upsampling_scaling_factor": (2,),
    "quantization_config": (None,),
}
"""Settings of diffusers' config.json, and the only values of them that are supported."""


def settings_beside(path: Path) -> dict[str, Any]:
    """What the config.json of diffusers beside a file says of it, whatever the file is called; {} if there is none.

    One that describes something else than an autoencoder is not about this file. Raises VDTError for an autoencoder
    that this project does not have.
    """
    beside = path.with_name("config.json")
    if not beside.is_file():
        return {}
    settings = read_json(beside, "configuration", nan=True)
    if not isinstance(settings, dict):
        raise VDTError(f"{beside} is not a table of settings.")
    kind = str(settings.get("_class_name", ""))
    if kind not in ("AutoencoderKL", "AutoencoderTiny"):
        if re.search("autoencoder|vae|vq", kind, re.IGNORECASE):
            raise VDTError(f"{beside} describes a {kind[:60]!a}; only AutoencoderKL and AutoencoderTiny are known.")
        if kind or not settings.keys() & {*SETTINGS, "scaling_factor", "latents_mean", "block_out_channels"}:
            return {}
    for key, values in SETTINGS.items():
        if key in settings and not any(settings[key] is v or settings[key] == v for v in values):
            raise VDTError(f"{beside} says {key} = {str(settings[key])[:40]!a}, which is not supported.")
    return settings


def check_settings(settings: Mapping[str, Any], config: AutoencoderConfig, source: str) -> None:
    """Raises VDTError where a config.json describes another autoencoder than the tensors beside it."""
    kind = {"kl": "AutoencoderKL", "tiny": "AutoencoderTiny"}[config.kind]
    said: dict[str, Any] = {"_class_name": kind, "latent_channels": config.latent_channels}
    if config.kind == "kl":
        said["block_out_channels"] = list(config.block_out_channels)
    for key, value in said.items():
        if settings.get(key, value) != value:
            raise VDTError(
                f"{source}: the config.json beside it says {key} = {str(settings[key])[:60]!a}, but its tensors are of "
                f"{value}; if it is about another file, give this one from a folder of its own."
            )


def infer_kl(
    shapes: Mapping[str, tuple[int, ...]],
    settings: Mapping[str, Any],
    source: str,
    norm_groups: int | None,
    scaling_factor: float | None,
) -> AutoencoderConfig:
    def width(name: str, axis: int) -> int:
        shape = shapes.get(name)
        if shape is None or len(shape) != 4:
            raise VDTError(f"{source} is not a known kind of autoencoder: it has no tensor {name} of 4 dimensions.")
        return shape[axis]

    in_channels = width("encoder.conv_in.weight", 1)
    lacks = [name for name in ("quant_conv", "post_quant_conv") if f"{name}.weight" not in shapes]
    if lacks and "decoder.conv_in.weight" in shapes:
        raise VDTError(
            f"{source} is an autoencoder without {' and '.join(lacks)} (use_{lacks[0]} = False, as those of Stable "
            "Diffusion 3 and FLUX), which is not supported."
        )
    latent_channels = width("post_quant_conv.weight", 0)
    levels = _count(shapes, r"encoder\.down_blocks\.(\d{1,3})\.")
    channels = tuple(width(f"encoder.down_blocks.{i}.resnets.0.conv1.weight", 0) for i in range(levels))
    layers = (
        _count(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d{1,3})\."),
        _count(shapes, r"decoder\.up_blocks\.0\.resnets\.(\d{1,3})\.") - 1,
    )
    sizes = (*channels, *layers, in_channels, latent_channels)
    if not channels or min(sizes) < 1 or max(levels, *layers) > 16 or max(sizes) > MAX_WIDTH:
        raise VDTError(f"{source} is not a known kind of autoencoder: its blocks are incomplete.")
    return AutoencoderConfig(
        kind="kl",
        in_channels=in_channels,
        latent_channels=latent_channels,
        block_out_channels=channels,
        layers_per_block=layers,
        norm_num_groups=_groups(channels, settings, source, norm_groups),
        **_scaling("kl", settings, source, scaling_factor, latent_channels),
    )


def _groups(channels: tuple[int, ...], settings: Mapping[str, Any], source: str, given: int | None) -> int:
    said = settings.get("norm_num_groups")
    if said is not None and (type(said) is not int or said < 1):
        raise VDTError(f"{source}: the norm_num_groups of its config.json is not a positive whole number.")
    if given is not None and said not in (None, given):
        raise VDTError(f"{source} says in its config.json that it has {said} groups: drop `norm_groups`.")
    groups = given or said or DEFAULT_GROUPS
    if any(width % groups for width in channels):
        if given or said:
            raise VDTError(f"{source} has widths {channels}, which do not divide into {groups} groups.")
        raise VDTError(
            f"{source} has widths {channels}, which the usual {DEFAULT_GROUPS} groups do not divide, and the groups "
            "leave no trace in the tensors: give them with `norm_groups`."
        )
    return groups


def infer_tiny(
    shapes: Mapping[str, tuple[int, ...]], settings: Mapping[str, Any], source: str, scaling_factor: float | None
) -> AutoencoderConfig:
    encoder, encoder_blocks, ends = _walk(shapes, "encoder", source)
    decoder, decoder_blocks, back = _walk(shapes, "decoder", source)
    if len(encoder) != len(decoder) or ends != back[::-1]:
        raise VDTError(f"{source} is not a known kind of autoencoder: its encoder and decoder do not match.")
    return AutoencoderConfig(
        kind="tiny",
        in_channels=ends[0],
        latent_channels=ends[1],
        block_out_channels=encoder,
        decoder_block_out_channels=None if decoder[::-1] == encoder else decoder[::-1],
        num_encoder_blocks=encoder_blocks,
        num_decoder_blocks=decoder_blocks,
        **_scaling("tiny", settings, source, scaling_factor, ends[1]),
    )


def _walk(
    shapes: Mapping[str, tuple[int, ...]], part: str, source: str
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, int]]:
    """A TAESD's coder read in order: widths of its levels, blocks at each, and its first and last channels.

    A convolution with a bias is the first or the last layer; one without a bias changes the level.
    """
    convolutions = []
    blocks: dict[int, int] = {}
    for name, shape in shapes.items():
        match = re.match(rf"{part}\.layers\.(\d{{1,3}})\.(weight|conv\.0\.weight)$", name)
        if match is None:
            continue
        if len(shape) != 4:
            raise VDTError(f"{source} is not a known kind of autoencoder: its {name} has the shape {shape}.")
        index = int(match.group(1))
        if match.group(2) == "weight":
            convolutions.append((index, shape))
        else:
            blocks[index] = shape[0]
    convolutions.sort()
    if len(convolutions) < 2 or len(convolutions) > 17:
        raise VDTError(f"{source} is not a known kind of autoencoder: it has no {part}.")
    widths, counts = [], []
    for (start, shape), (end, _) in pairwise(convolutions):
        widths.append(shape[0])
        counts.append(sum(start < index < end for index in blocks))
    ends = (convolutions[0][1][1], convolutions[-1][1][0])
    if min(*widths, *ends) < 1 or 0 in counts or max(*widths, *ends) > MAX_WIDTH:
        raise VDTError(f"{source} is not a known kind of autoencoder: its {part} is incomplete.")
    return tuple(widths), tuple(counts), ends


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    return 1 + max((int(match.group(1)) for name in shapes if (match := re.match(pattern, name))), default=-1)


def _scaling(
    kind: str, settings: Mapping[str, Any], source: str, given: float | None, latent_channels: int
) -> dict[str, Any]:
    """`scaling_factor`, or the mean and deviation of each latent channel, as config.json has them.

    diffusers' shift is a mean of all channels: (z - shift) * factor.
    """
    factor = _number(settings.get("scaling_factor", DEFAULT_SCALING[kind]), "scaling_factor", source)
    if factor <= 0:
        raise VDTError(f"{source}: the scaling_factor of its config.json is not a positive number.")
    factor = factor if given is None else given
    mean, std, shift = (settings.get(key) for key in ("latents_mean", "latents_std", "shift_factor"))
    moved = _number(shift, "shift_factor", source) if shift is not None else 0.0
    if mean is None and std is None and not moved:
        return {"scaling_factor": factor}
    if moved and (mean is not None or std is not None):
        raise VDTError(f"{source}: its config.json has a shift_factor beside latents_mean or latents_std.")
    if moved:
        means, stds = [moved] * latent_channels, [1.0] * latent_channels
    else:
        means, stds = _numbers(mean, latent_channels, source), _numbers(std, latent_channels, source)
    if min(stds) <= 0:
        raise VDTError(f"{source}: latents_std of its config.json must be positive.")
    return {
        "scaling_factor": factor,
        "latent_mean": tuple(means),
        "latent_std": tuple(value / factor for value in stds),
    }


def _number(value: Any, key: str, source: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise VDTError(f"{source}: the {key} of its config.json is not a number of a plausible size.")
    return float(value)


def _numbers(values: Any, count: int, source: str) -> list[float]:
    if not isinstance(values, list) or len(values) != count:
        raise VDTError(f"{source}: latents_mean and latents_std of its config.json are not one number a channel.")
    return [_number(value, "latents_mean or latents_std", source) for value in values]
