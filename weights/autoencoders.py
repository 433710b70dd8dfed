"""Autoencoders of every kind and naming, opened and ready to be written: their files, configuration and tensors."""

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

from vdt_mlx.config import AutoencoderConfig, from_dict
from vdt_mlx.errors import VDTError
from weights.formats.source import Source, open_source
from weights.names.autoencoder import is_sequence, normalize, sequence_part
from weights.names.vdt import differences
from weights.stream import AS_IS, SQUEEZE, TO_OHWI, Item, check_floats

WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
DEFAULT_GROUPS = 32
MAX_WIDTH = 8192
DEFAULT_SCALING = {"kl": 0.18215, "tiny": 1.0}


@dataclass
class LoadedAutoencoder:
    """An opened autoencoder, ready to be written. Use it as a context manager."""

    path: Path
    config: AutoencoderConfig
    items: list[Item]
    sources: list[Source]
    naming: str
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "LoadedAutoencoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def open_autoencoder(
    path: str | Path, norm_groups: int | None = None, scaling_factor: float | None = None
) -> LoadedAutoencoder:
    """Opens an autoencoder: a diffusers folder, a folder with TAESD's two files, or a single file.

    Args:
        path: also a folder that has a `vae` folder; of TAESD's two files either one (the other is looked for beside).
        norm_groups: groups of GroupNorm, where config.json does not tell and the usual 32 do not divide the widths.
        scaling_factor: of the latents; by default config.json's, else 0.18215 (TAESD: 1).

    Raises:
        VDTError: it is not an autoencoder of these kinds, tensors are missing, unexpected or misshapen, or a flag is
            needed, or would not act.
    """
    path = Path(path)
    with ExitStack() as stack:
        settings, sources = _open(path, stack)
        tensors, naming = normalize([source.tensors for source in sources], str(path))
        kind = "tiny" if any(".layers." in name for name in tensors) else "kl"
        if kind == "tiny" and norm_groups is not None:
            raise VDTError(f"{path} is a TAESD, which has no GroupNorm: drop --norm-groups.")
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        said = sources[0].config
        if said is not None:
            if norm_groups is not None or scaling_factor is not None:
                raise VDTError(f"{path} says what it is: drop --norm-groups and --scaling-factor.")
            config = _said(said, str(path))
        elif kind == "kl":
            config = _infer_kl(shapes, settings, str(path), norm_groups, scaling_factor)
        else:
            config = _infer_tiny(shapes, settings, str(path), scaling_factor)
        expected = expected_shapes(config)
        differences(expected, _as_linear(shapes, expected), str(path))
        items = []
        for name in expected:
            tensor = tensors[name]
            if len(tensor.shape) == 4:
                change = SQUEEZE if len(expected[name]) == 2 else TO_OHWI
            else:
                change = AS_IS
            items.append(Item(name, tensor, change, "fp32" if tensor.dtype == "fp64" else tensor.dtype))
        check_floats_of(sources, items, str(path))
        return LoadedAutoencoder(path, config, items, sources, naming, stack.pop_all())


def _said(text: str, source: str) -> AutoencoderConfig:
    """The configuration that one of our exports carries."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise VDTError(f"{source} carries a configuration that is not valid JSON.") from None
    config = from_dict(AutoencoderConfig, values, f"the configuration in {source}")
    widths = (*config.block_out_channels, *(config.decoder_block_out_channels or ()))
    sizes = (*widths, *config.layers_per_block, config.latent_channels, config.in_channels, config.norm_num_groups)
    blocks = (*(config.num_encoder_blocks or ()), *(config.num_decoder_blocks or ()))  # a level may have none
    known = all(type(size) is int and size <= MAX_WIDTH for size in (*sizes, *blocks))
    if not known or min(sizes) < 1 or min(blocks, default=0) < 0:
        raise VDTError(f"{source} carries a configuration of an impossible autoencoder.")
    return config


def check_floats_of(sources: list[Source], items: list[Item], source: str) -> None:
    """`check_floats` for each of the files that the items come from."""
    for file in sources:
        check_floats([item for item in items if item.tensor.storage.file is file.mapped.file], source)


def expected_shapes(config: AutoencoderConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of this autoencoder in diffusers' names and layout (kernels OIHW)."""
    from vdt_mlx.checkpoint import flat_parameters
    from vdt_mlx.network.autoencoder import build_autoencoder

    shapes = {name: tuple(value.shape) for name, value in flat_parameters(build_autoencoder(config)).items()}
    return {name: (s[0], s[3], s[1], s[2]) if len(s) == 4 else s for name, s in shapes.items()}


def _as_linear(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Shapes in which 1x1 convolutions stand as the matrices that they are, where a matrix is expected."""
    return {
        name: shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) and len(expected.get(name, ())) == 2 else shape
        for name, shape in shapes.items()
    }


# --- finding the files


def _open(path: Path, stack: ExitStack) -> tuple[dict[str, Any], list[Source]]:
    """The settings of config.json, if there is one, and the opened files."""
    if path.is_dir():
        folder = path / "vae" if (path / "vae").is_dir() else path
        for name in WEIGHT_FILES:
            if (folder / name).is_file():
                return _settings(folder / "config.json"), [stack.enter_context(open_source(folder / name))]
        pair = [_one(folder, part) for part in ("encoder", "decoder")]
        if pair[0] is not None and pair[1] is not None:
            return {}, [stack.enter_context(open_source(file)) for file in pair if file is not None]
        raise VDTError(f"{path} is not an autoencoder's folder: it has no {' or '.join(WEIGHT_FILES)}.")
    first = stack.enter_context(open_source(path))
    if not is_sequence(first.tensors):
        beside = path.parent / "config.json" if path.name in WEIGHT_FILES else None
        return _settings(beside) if beside is not None and beside.is_file() else {}, [first]
    part = sequence_part(first.tensors)
    other = {"encoder": "decoder", "decoder": "encoder"}[part]
    second = path.with_name(path.name.replace(part, other)) if part in path.name else None
    if second is None or not second.is_file():
        raise VDTError(
            f"{path} is the {part} of a TAESD; its {other} should lie beside it (taesd_encoder.pth and "
            "taesd_decoder.pth in one folder)."
        )
    files = [first, stack.enter_context(open_source(second))]
    return {}, files if part == "encoder" else files[::-1]


def _one(folder: Path, part: str) -> Path | None:
    for suffix in (".safetensors", ".pth", ".pt", ".bin"):
        found = folder / f"taesd_{part}{suffix}"
        if found.is_file():
            return found
    return None


def _settings(path: Path) -> dict[str, Any]:
    """diffusers' config.json; raises VDTError if it describes an autoencoder that this project does not have."""
    try:
        if path.stat().st_size > 2**20:
            raise VDTError(f"{path} is too large to be a configuration.")
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise VDTError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        raise VDTError(f"{path} is not valid JSON.") from None
    if not isinstance(settings, dict):
        raise VDTError(f"{path} is not a table of settings.")
    kind = settings.get("_class_name", "AutoencoderKL")
    if kind not in ("AutoencoderKL", "AutoencoderTiny"):
        raise VDTError(f"{path} describes a {str(kind)[:60]!a}; only AutoencoderKL and AutoencoderTiny are known.")
    plain = {
        "act_fn": ("silu", "swish", "relu"),
        "shift_factor": (None, 0, 0.0),
        "mid_block_add_attention": (True,),
        "use_quant_conv": (True,),
        "use_post_quant_conv": (True,),
        "latent_magnitude": (3,),
        "latent_shift": (0.5,),
        "upsample_fn": ("nearest",),
        "upsampling_scaling_factor": (2,),
    }
    for key, values in plain.items():
        if key in settings and settings[key] not in values:
            raise VDTError(f"{path} says {key} = {str(settings[key])[:40]!a}, which is not supported.")
    return settings


# --- configurations


def _infer_kl(
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
        raise VDTError(f"{source} says in its config.json that it has {said} groups: drop --norm-groups.")
    groups = given or said or DEFAULT_GROUPS
    if any(width % groups for width in channels):
        if given or said:
            raise VDTError(f"{source} has widths {channels}, which do not divide into {groups} groups.")
        raise VDTError(
            f"{source} has widths {channels}, which the usual {DEFAULT_GROUPS} groups do not divide, and the groups "
            "leave no trace in the tensors: give them with --norm-groups."
        )
    return groups


def _infer_tiny(
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
    """`scaling_factor`, or the mean and deviation of each latent channel, as config.json has them."""
    factor = settings.get("scaling_factor", DEFAULT_SCALING[kind])
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < float("inf"):
        raise VDTError(f"{source}: the scaling_factor of its config.json is not a positive number.")
    if given is not None:
        factor = given
    mean, std = settings.get("latents_mean"), settings.get("latents_std")
    if mean is None and std is None:
        return {"scaling_factor": float(factor)}
    means, stds = _numbers(mean, latent_channels, source), _numbers(std, latent_channels, source)
    if min(stds) <= 0:
        raise VDTError(f"{source}: latents_std of its config.json must be positive.")
    return {
        "scaling_factor": float(factor),
        "latent_mean": tuple(means),
        "latent_std": tuple(value / float(factor) for value in stds),
    }


def _numbers(values: Any, count: int, source: str) -> list[float]:
    if not isinstance(values, list) or len(values) != count or not all(isinstance(v, int | float) for v in values):
        raise VDTError(f"{source}: latents_mean and latents_std of its config.json are not one number a channel.")
    return [float(value) for value in values]
