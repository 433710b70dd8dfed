"""A checkpoint of PyTorch (or safetensors) into a folder of ours, streaming, without PyTorch."""

import datetime
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import vdt_mlx
from vdt_mlx.config import (
    AUTOENCODER_FILE,
    CONFIG_FILE,
    TINY_AUTOENCODER_FILE,
    VDT_FILE,
    AutoencoderConfig,
    CheckpointConfig,
    packable,
    read_config,
)
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_folder
from vdt_mlx.network import parts
from weights.autoencoders import LoadedAutoencoder, open_autoencoder, own_autoencoders
from weights.formats.source import Source, open_source
from weights.formats.tensors import to_torch_shape
from weights.names.vdt import check_tensors, configure, is_mlx_layout
from weights.places import is_own, refuse_unpacked, weights_in
from weights.registry import locate
from weights.stream import (
    AS_IS,
    TO_OHWI,
    Item,
    Progress,
    Quantization,
    check_floats,
    check_space,
    choose_group,
    file_layout,
    write_file,
)

DTYPES = ("fp32", "fp16", "bf16")
BITS = (8, 4)


@dataclass(frozen=True)
class Converted:
    """What `convert` did."""

    folder: Path
    config: CheckpointConfig
    tensors: int
    """Of the network."""
    nbytes: int
    """Of all files that were written."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the weights were found: sentences."""


def convert(
    source: str | Path,
    dest: str | Path,
    *,
    num_heads: int | None = None,
    latent_size: tuple[int, int] | None = None,
    which: str | None = None,
    dtype: str | None = None,
    quantize: int | None = None,
    autoencoders: Sequence[str | Path] = (),
    norm_groups: int | None = None,
    scaling_factor: float | None = None,
    allow_nonfinite: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Converts a VDT checkpoint, and perhaps autoencoders, into the folder `dest`.

    Args:
        source: a `.pt`, `.pth`, `.bin`, `.ckpt` or `.safetensors` file with the official names, or a folder that this
            project wrote (to change its precision, quantize it, or add an autoencoder).
        dest: the new folder: `config.json`, `vdt.safetensors`, `autoencoder.safetensors`.
        num_heads: attention heads, where no preset tells.
        latent_size: height and width in latent cells, where the positions are not a square.
        which: the part of a training checkpoint (`ema`, `model`); by default `ema` if it is there.
        dtype: `fp32`, `fp16` or `bf16` for the network; by default as the source has it. Autoencoders keep theirs.
        quantize: 8 or 4 bits for the linear layers whose width allows it.
        autoencoders: at most one of Stable Diffusion's kind and one TAESD, for the same latents.
        norm_groups: groups of the autoencoder's GroupNorm, where neither its config.json nor the usual 32 tells.
        scaling_factor: of the autoencoder's latents, where it is not what its config.json or its kind says.
        allow_nonfinite: takes NaN and infinite weights as they are.
        force: replaces `dest` if it is a checkpoint folder (or empty).
        progress: called after every tensor.

    Raises:
        VDTError: anything is wrong with any of these; `dest` is then as it was before.
    """
    source, dest = _found(source), Path(dest).expanduser()
    _check_arguments(dtype, quantize, autoencoders, norm_groups, scaling_factor)
    check_destination(dest, force)
    with ExitStack() as stack:
        config, file = _open_network(source, num_heads, latent_size, which, stack)
        items = vdt_items(file, config, dtype, source.is_dir() or is_mlx_layout(file))
        check_floats(items, str(source))
        quantization, items = quantize_items(items, quantize, str(source))
        if quantization is not None:
            config = replace(config, quantization=asdict(quantization))
        loaded = [stack.enter_context(open_autoencoder(path, norm_groups, scaling_factor)) for path in autoencoders]
        kept = own_autoencoders(source, config, stack) if source.is_dir() else {}
        chosen = _place_autoencoders(loaded, kept, config)
        check_space(dest, [file_layout(items, quantization), *(file_layout(p.items, None) for p in chosen.values())])
        with atomic_folder(dest, replace=force) as partial:
            provenance = origin(file, config.provenance)
            options: dict[str, Any] = {"allow_nonfinite": allow_nonfinite, "progress": progress}
            about = _metadata(provenance)
            digests = write_file(partial / VDT_FILE, items, about, file.files, quantization=quantization, **options)
            config = _write_rest(partial, config, provenance | digested(file.files, digests), chosen, allow_nonfinite)
            nbytes = sum(path.stat().st_size for path in partial.iterdir())
        notes = [*file.notes, *(note for part in loaded for note in part.notes)]
    return Converted(dest, config, len(items), nbytes, tuple(notes))


def _found(source: str | Path) -> Path:
    """A file, a folder of ours, or the file of weights in somebody else's folder."""
    path = locate(source)
    return path if path.is_file() or is_own(path) else weights_in(path) or path


def _open_network(
    source: Path,
    num_heads: int | None,
    latent_size: tuple[int, int] | None,
    which: str | None,
    stack: ExitStack,
) -> tuple[CheckpointConfig, Source]:
    if not source.is_dir():
        file = stack.enter_context(open_source(source, which))
        return configure(file, num_heads, latent_size), file
    refuse_unpacked(source)
    if which is not None or num_heads is not None or latent_size is not None:
        raise VDTError(f"{source} says in its config.json what it is: drop `which`, `num_heads`, `latent_size`.")
    return _open_own(source, stack)


def _write_rest(
    folder: Path,
    config: CheckpointConfig,
    provenance: dict[str, Any],
    autoencoders: dict[str, LoadedAutoencoder],
    allow_nonfinite: bool,
) -> CheckpointConfig:
    """Writes the autoencoders and `config.json` beside the network; returns what the latter says."""
    for name, part in autoencoders.items():
        provenance[Path(name).stem] = _write_autoencoder(folder / name, part, allow_nonfinite)
    config = replace(
        config,
        autoencoder=_config_of(autoencoders, AUTOENCODER_FILE),
        tiny_autoencoder=_config_of(autoencoders, TINY_AUTOENCODER_FILE),
        provenance=provenance,
    )
    (folder / CONFIG_FILE).write_text(config.to_json(), encoding="utf-8")
    return config


def _check_arguments(
    dtype: str | None,
    quantize: int | None,
    autoencoders: Sequence[str | Path],
    norm_groups: int | None,
    scaling_factor: float | None,
) -> None:
    if dtype is not None and dtype not in DTYPES:
        raise VDTError(f"Unknown dtype {dtype!r}: use one of {', '.join(DTYPES)}.")
    if quantize is not None and quantize not in BITS:
        raise VDTError(f"Weights can be quantized to 8 or 4 bits, not {quantize}.")
    if not autoencoders and (norm_groups is not None or scaling_factor is not None):
        raise VDTError("`norm_groups` and `scaling_factor` describe an autoencoder: give one with `autoencoders`.")
    if norm_groups is not None and norm_groups < 1:
        raise VDTError(f"`norm_groups` must be at least 1, not {norm_groups}.")
    if scaling_factor is not None and not 0 < scaling_factor < float("inf"):
        raise VDTError(f"`scaling_factor` must be a positive number, not {scaling_factor}.")


def check_destination(dest: Path, force: bool) -> None:
    """Raises VDTError if `dest` exists, unless `force` and it is a checkpoint folder or empty."""
    if not (dest.exists() or dest.is_symlink()):
        for parent in dest.absolute().parents:
            if parent.exists():
                if not parent.is_dir():
                    raise VDTError(f"{dest} cannot be made: {parent} is not a folder.")
                break
        return
    if not force:
        raise VDTError(f"{dest} exists; `force` replaces it.")
    if dest.is_symlink() or not dest.is_dir():
        raise VDTError(f"{dest} exists and is not a folder; `force` replaces only checkpoint folders.")
    if any(dest.iterdir()) and not (dest / CONFIG_FILE).is_file():
        raise VDTError(f"{dest} holds other things than a checkpoint, so `force` does not replace it.")


def _open_own(folder: Path, stack: ExitStack) -> tuple[CheckpointConfig, Source]:
    config = read_config(folder)
    if config.quantization is not None:
        raise VDTError(f"{folder} is quantized; convert the checkpoint that it was made from.")
    file = stack.enter_context(open_source(folder / VDT_FILE))
    check_tensors(config.vdt, {n: to_torch_shape(t.shape) for n, t in file.tensors.items()}, str(file.path))
    return config, file


def vdt_items(file: Source, config: CheckpointConfig, dtype: str | None, mlx_layout: bool) -> list[Item]:
    """What to write for each tensor of the network, in the official order."""
    items = []
    for part in parts.of_config(config.vdt):
        tensor = file.tensors[part.name]
        change = TO_OHWI if len(part.shape) == 4 and not mlx_layout else AS_IS
        # There is no fp64 in MLX on a GPU, and nothing here that needs it.
        kind = dtype or ("fp32" if tensor.dtype == "fp64" else tensor.dtype)
        items.append(Item(part.name, tensor, change, kind))
    return items


def quantize_items(items: list[Item], bits: int | None, source: str) -> tuple[Quantization | None, list[Item]]:
    """Marks the matrices that `vdt_mlx.network.vdt.quantizable` would quantize, with the group size that fits most."""
    if bits is None:
        return None, items
    linear = [item for item in items if packable(item.name, item.shape, 1)]
    group = choose_group([item.shape for item in linear], source)
    chosen = {item.name for item in linear if item.shape[1] % group == 0}
    return Quantization(bits, group), [replace(item, quantized=item.name in chosen) for item in items]


def origin(file: Source, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Where a checkpoint came from; `sha256` is filled in when the file has been read."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    about: dict[str, Any] = {
        "source": file.path.name,
        "sha256": None,
        "format": file.format,
        "date": now.isoformat().replace("+00:00", "Z"),
        "converter": f"vdt-mlx {vdt_mlx.__version__}",
    }
    if file.part is not None:
        about["part"] = file.part
    if before:
        about["before"] = dict(before)
    return about


def digested(sources: Sequence[Source], digests: Sequence[str]) -> dict[str, Any]:
    """The SHA-256 of a source, and of the other files where there are several, as the provenance has them."""
    others = zip(sources[1:], digests[1:], strict=True)
    beside = [{"source": source.path.name, "sha256": digest} for source, digest in others]
    return {"sha256": digests[0], **({"with": beside} if beside else {})}


def _metadata(provenance: Mapping[str, Any]) -> dict[str, str]:
    return {
        "format": "mlx",
        "source": ascii(provenance["source"])[1:-1],
        "source_sha256": "0" * 64,
        "date": provenance["date"],
        "converter": provenance["converter"],
    }


def _write_autoencoder(path: Path, part: LoadedAutoencoder, allow_nonfinite: bool) -> dict[str, Any]:
    about = origin(part.sources[0])
    digests = write_file(path, part.items, _metadata(about), part.sources, allow_nonfinite=allow_nonfinite)
    return about | digested(part.sources, digests) | {"names": part.naming}


def _place_autoencoders(
    loaded: Sequence[LoadedAutoencoder], kept: dict[str, LoadedAutoencoder], config: CheckpointConfig
) -> dict[str, LoadedAutoencoder]:
    """Which autoencoder goes into which file: a TAESD beside one of the other kind goes into a file of its own."""
    kinds = [part.config.kind for part in loaded]
    if len(kinds) != len(set(kinds)):
        raise VDTError("`autoencoders` was given twice for the same kind; a checkpoint holds one of each.")
    for part in loaded:
        if part.config.latent_channels != config.vdt.in_channels:
            raise VDTError(
                f"{part.path} makes latents of {part.config.latent_channels} channels, but this network takes "
                f"{config.vdt.in_channels}."
            )
    by_kind = {part.config.kind: part for part in (*kept.values(), *loaded)}
    ordered = [by_kind[kind] for kind in ("kl", "tiny") if kind in by_kind]
    downsamples = {part.config.downsample for part in ordered}
    if len(downsamples) > 1:
        raise VDTError("The two autoencoders make latents of different sizes, so they cannot serve one network.")
    return dict(zip((AUTOENCODER_FILE, TINY_AUTOENCODER_FILE), ordered, strict=False))


def _config_of(chosen: dict[str, LoadedAutoencoder], name: str) -> AutoencoderConfig | None:
    return chosen[name].config if name in chosen else None
