"""Autoencoders of every kind and naming, opened and ready to be written: their files, configuration and tensors."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
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
from vdt_mlx.reading import parse_json
from weights.autoencoder_config import check_settings, infer_kl, infer_tiny, settings_beside
from weights.formats.parts import AUTOENCODER
from weights.formats.source import Source, open_source
from weights.formats.tensors import StoredTensor, to_mlx_shape, to_torch_shape
from weights.names.autoencoder import is_sequence, normalize, sequence_part
from weights.names.vdt import differences
from weights.places import is_own, weights_in
from weights.registry import locate
from weights.stream import AS_IS, SQUEEZE, TO_OHWI, Item, check_floats


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
            raise VDTError(f"{path} is a TAESD, which has no GroupNorm: drop `norm_groups`.")
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        said = sources[0].config
        if said is not None:
            if norm_groups is not None or scaling_factor is not None:
                raise VDTError(f"{path} says what it is: drop `norm_groups` and `scaling_factor`.")
            config = _said(said, str(path))
        elif kind == "kl":
            config = infer_kl(shapes, settings, str(path), norm_groups, scaling_factor)
        else:
            config = infer_tiny(shapes, settings, str(path), scaling_factor)
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
        raise VDTError(f"{folder} says what it is: drop `norm_groups` and `scaling_factor`.")
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
    return from_dict(AutoencoderConfig, parse_json(text, source), f"the configuration in {source}")


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
