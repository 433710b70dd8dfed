"""Autoencoders of every kind and naming, opened and ready to be written: their files, configuration and tensors."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

from vdt_mlx.config import (
    AUTOENCODER_FILE,
    TINY_AUTOENCODER_FILE,
    AutoencoderConfig,
    CheckpointConfig,
    from_dict,
    read_config,
)
from vdt_mlx.errors import VDTError
from weights.formats.parts import AUTOENCODER
from weights.formats.source import Source, open_source, read_json
from weights.formats.tensors import StoredTensor, to_mlx_shape, to_torch_shape
from weights.names.autoencoder import is_sequence, normalize, sequence_part
from weights.names.vdt import differences
from weights.places import is_own, weights_in
from weights.registry import locate
from weights.stream import AS_IS, SQUEEZE, TO_OHWI, Item, check_floats

DEFAULT_GROUPS = 32
MAX_WIDTH = 8192
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


@dataclass
class LoadedAutoencoder:
    """An opened autoencoder, ready to be written. Use it as a context manager."""

    path: Path
    config: AutoencoderConfig
    items: list[Item]
    sources: list[Source]
    naming: str
    notes: tuple[str, ...] = ()
    """What a user should know of how it was found: sentences."""
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
    """Opens an autoencoder: a diffusers folder, a folder with TAESD's two files, a single file, or a folder of ours.

    Args:
        path: also a folder that has a `vae` folder; of TAESD's two files either one (the other is looked for beside);
            a checkpoint folder, a training run's or a registered name.
        norm_groups: groups of GroupNorm, where config.json does not tell and the usual 32 do not divide the widths.
        scaling_factor: of the latents; by default config.json's, else 0.18215 (TAESD: 1).

    Raises:
        VDTError: it is not an autoencoder of these kinds, tensors are missing, unexpected or misshapen, or a flag is
            needed, or would not act.
    """
    path = locate(path)
    with ExitStack() as stack:
        if is_own(path):
            return _own(path, stack, norm_groups is not None or scaling_factor is not None)
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
        check_settings(settings, config, str(path))
        items = _items(tensors, config, str(path))
        notes = [note for source in sources for note in source.notes]
        if settings:
            notes.append(f"{path}: {_normalisation(config)}, as its config.json says.")
        files = [file for source in sources for file in source.files]
        return LoadedAutoencoder(path, config, items, files, naming, tuple(notes), stack.pop_all())


def _items(tensors: Mapping[str, StoredTensor], config: AutoencoderConfig, source: str) -> list[Item]:
    """What to write for each tensor; raises VDTError if they are not those of `config`, or not floats."""
    expected = expected_shapes(config)
    differences(expected, _as_linear({name: tensor.shape for name, tensor in tensors.items()}, expected), source)
    items = []
    for name in expected:
        tensor = tensors[name]
        if len(tensor.shape) == 4:
            change = SQUEEZE if len(expected[name]) == 2 else TO_OHWI
        else:
            change = AS_IS
        items.append(Item(name, tensor, change, "fp32" if tensor.dtype == "fp64" else tensor.dtype))
    check_floats(items, source)
    return items


def own_autoencoders(folder: Path, config: CheckpointConfig, stack: ExitStack) -> dict[str, LoadedAutoencoder]:
    """The autoencoders that a checkpoint folder of ours holds, by the names of their files."""
    held = {AUTOENCODER_FILE: config.autoencoder, TINY_AUTOENCODER_FILE: config.tiny_autoencoder}
    kept = {}
    for name, part in held.items():
        if part is not None:
            file = stack.enter_context(open_source(folder / name, anchors=AUTOENCODER))
            expected = {key: to_mlx_shape(shape) for key, shape in expected_shapes(part).items()}
            differences(expected, {key: tensor.shape for key, tensor in file.tensors.items()}, str(file.path))
            items = [Item(key, tensor, AS_IS, tensor.dtype) for key, tensor in file.tensors.items()]
            kept[name] = LoadedAutoencoder(folder / name, part, items, [file], "this project's")
    return kept


def _own(path: Path, stack: ExitStack, flags: bool) -> LoadedAutoencoder:
    """That of a checkpoint folder of ours, or of a file in one."""
    folder = path if path.is_dir() else path.parent
    if flags:
        raise VDTError(f"{folder} says what it is: drop --norm-groups and --scaling-factor.")
    held = own_autoencoders(folder, read_config(folder), stack)
    wanted = path.name if path.name in held else next(iter(held), None)
    if wanted is None or (path.is_file() and path.name not in held):
        raise VDTError(f"{path} holds no autoencoder.")
    part = held[wanted]
    return LoadedAutoencoder(path, part.config, part.items, part.sources, part.naming, (), stack.pop_all())


def _normalisation(config: AutoencoderConfig) -> str:
    if config.latent_mean is None or config.latent_std is None:
        return f"latents times {config.scaling_factor:g}"
    return f"latents minus {_brief(config.latent_mean)}, over {_brief(config.latent_std)}"


def _brief(values: Sequence[float]) -> str:
    return f"{values[0]:.4g}" if len(set(values)) == 1 else "a number for each channel"


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


def expected_shapes(config: AutoencoderConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of this autoencoder in diffusers' names and layout (kernels OIHW)."""
    from vdt_mlx.checkpoint import flat_parameters
    from vdt_mlx.network.autoencoder import build_autoencoder

    weights = flat_parameters(build_autoencoder(config))
    return {name: to_torch_shape(tuple(value.shape)) for name, value in weights.items()}


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
        pair = [_one(folder, part) for part in ("encoder", "decoder")]
        if pair[0] is not None and pair[1] is not None:
            return {}, [stack.enter_context(open_source(file, anchors=())) for file in pair if file is not None]
        found = weights_in(folder)
        if found is None:
            raise VDTError(f"{path} is not an autoencoder's folder: it holds no file of weights under a usual name.")
        path = found
    first = stack.enter_context(open_source(path, anchors=AUTOENCODER))
    if not is_sequence(first.tensors):
        return settings_beside(path), [first]
    part = sequence_part(first.tensors)
    other = {"encoder": "decoder", "decoder": "encoder"}[part]
    second = path.with_name(path.name.replace(part, other)) if part in path.name else None
    if second is None or not second.is_file():
        raise VDTError(
            f"{path} is the {part} of a TAESD; its {other} should lie beside it (taesd_encoder.pth and "
            "taesd_decoder.pth in one folder)."
        )
    files = [first, stack.enter_context(open_source(second, anchors=()))]
    return {}, files if part == "encoder" else files[::-1]


def _one(folder: Path, part: str) -> Path | None:
    for suffix in (".safetensors", ".pth", ".pt", ".bin"):
        found = sorted(folder.glob(f"tae*_{part}{suffix}"))
        if len(found) == 1:
            return found[0]
    return None


def settings_beside(path: Path) -> dict[str, Any]:
    """What the config.json of diffusers beside a file says of it, whatever the file is called; {} if there is none.

    One that describes something else than an autoencoder is not about this file. Raises VDTError for an autoencoder
    that this project does not have.
    """
    beside = path.with_name("config.json")
    if not beside.is_file():
        return {}
    settings = read_json(beside)
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


# --- configurations


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
