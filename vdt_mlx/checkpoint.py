"""Checkpoint folders: `config.json`, `vdt.safetensors`, `autoencoder.safetensors`, read with care, written whole."""

import errno
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from vdt_mlx.config import (
    AUTOENCODER_FILE,
    CONFIG_FILE,
    LAST,
    TINY_AUTOENCODER_FILE,
    VDT_FILE,
    CheckpointConfig,
    VDTConfig,
    read_config,
)
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_folder, atomic_path, sha256
from vdt_mlx.network.autoencoder import Autoencoder, build_autoencoder
from vdt_mlx.network.dead_blocks import skip_constant_blocks
from vdt_mlx.network.vdt import VDT, quantizable
from vdt_mlx.safetensors_header import read_header

SUMS = "SHA256SUMS"
BITS = (8, 4)
"""That weights are packed into."""
GROUP_SIZES = (64, 32)
"""Of values that share a scale, the first that fits."""
DTYPES = {"fp32": mx.float32, "fp16": mx.float16, "bf16": mx.bfloat16}


def load_vdt(folder: str | Path, dtype: str | None = "fp32") -> VDT:
    """The network of a checkpoint folder, ready to call.

    Args:
        folder: holds `config.json` and `vdt.safetensors`.
        dtype: `fp32`, `fp16` or `bf16` to compute in; None keeps what the file holds. Quantized weights stay so.

    Raises:
        VDTError: a file is missing or damaged, or a tensor is missing, unexpected or of another shape.
    """
    config = read_config(folder)
    path = Path(folder) / VDT_FILE
    header = read_header(path)
    check_size(config.vdt, {name: entry.shape for name, entry in header.entries.items()}, str(path))
    model = VDT(config.vdt)
    if config.quantization:
        quantize(model, **config.quantization, last=f"{LAST}.scales" in header.entries)
    load_weights(model, path, dtype)
    return model


def load_autoencoder(folder: str | Path, kind: str | None = None) -> Autoencoder:
    """The autoencoder of a checkpoint folder, in fp32.

    Args:
        folder: holds `config.json` and `autoencoder.safetensors`, perhaps `tiny_autoencoder.safetensors` too.
        kind: `kl` or `tiny` asks for that kind; None takes the one that the checkpoint was made with.

    Raises:
        VDTError: there is none (of this kind), or as `load_vdt` does.
    """
    config = read_config(folder)
    held = [(config.autoencoder, AUTOENCODER_FILE), (config.tiny_autoencoder, TINY_AUTOENCODER_FILE)]
    for part, file in held:
        if part is not None and kind in (None, part.kind):
            model = build_autoencoder(part)
            load_weights(model, Path(folder) / file, "fp32")
            skip_constant_blocks(model)
            return model
    of_kind = f" of the kind {kind}" if kind else ""
    raise VDTError(f"{folder} holds no autoencoder{of_kind} (`vdt-mlx convert --autoencoder` adds one).")


def save_checkpoint(
    folder: str | Path,
    config: CheckpointConfig,
    vdt: dict[str, mx.array] | None = None,
    autoencoder: dict[str, mx.array] | None = None,
    *,
    replace: bool = False,
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes a checkpoint folder beside its place and renames it in: it is there whole or not at all."""
    with atomic_folder(folder, replace=replace) as partial:
        (partial / CONFIG_FILE).write_text(config.to_json(), encoding="utf-8")
        for name, weights in ((VDT_FILE, vdt), (AUTOENCODER_FILE, autoencoder)):
            if weights is not None:
                save_weights(partial / name, weights, metadata)


def save_weights(path: str | Path, weights: dict[str, mx.array], metadata: dict[str, str] | None = None) -> None:
    """Writes one safetensors file atomically. Raises OSError if the disk is full."""
    with atomic_path(path) as partial:
        try:
            mx.save_safetensors(str(partial), weights, {"format": "mlx", **(metadata or {})})
        except RuntimeError as error:  # MLX reports a failed write so, without the system's reason
            if "write" not in str(error).lower():
                raise
            raise OSError(errno.EIO, "it could not be written whole; the disk may be full", str(path)) from None


def flat_parameters(model: nn.Module) -> dict[str, mx.array]:
    """Every parameter by its dotted name, the fixed tables included."""
    return dict(tree_flatten(model.parameters()))


def cast(weights: dict[str, mx.array], dtype: str | None) -> dict[str, mx.array]:
    """Floating tensors in another precision (packed quantized ones are integers and stay)."""
    if dtype is None:
        return weights
    if dtype not in DTYPES:
        raise VDTError(f"Unknown dtype {dtype!r}: use one of {', '.join(DTYPES)}.")
    target = DTYPES[dtype]
    return {k: v.astype(target) if mx.issubdtype(v.dtype, mx.floating) else v for k, v in weights.items()}


def quantize(model: VDT, bits: int, group_size: int, last: bool = False) -> None:
    """Makes the linear layers quantized ones, in place. Raises VDTError when no layer's size allows it.

    The last layer stays as it is, unless `last`: earlier versions packed it too.
    """
    layers = [m for p, m in model.named_modules() if quantizable(p, m, group_size)]
    if not layers:
        raise VDTError(
            f"No layer of this model can be quantized: none of its widths divides by the group of {group_size}."
        )

    def chosen(path: str, module: nn.Module) -> bool:
        packed_before = last and path == LAST and module.weight.shape[-1] % group_size == 0
        return packed_before or quantizable(path, module, group_size)

    nn.quantize(model, group_size=group_size, bits=bits, class_predicate=chosen)


LARGE_TABLE = 2**24
"""Numbers of a position table that a network may have and its file not."""


def check_size(config: VDTConfig, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Raises VDTError where a network of this configuration would be of another size than a file's tensors.

    A configuration may say anything: what takes memory before the weights are there (blocks, position tables) is
    compared with what the file holds first, so that a small file cannot ask for a large network.
    """
    rows, columns = config.grid
    tables = {"pos_embed": (1, rows * columns, config.hidden_size)}
    tables["time_embed"] = (1, config.num_frames, config.hidden_size)
    held = {name: shapes[name] for name in tables if name in shapes}
    problems = _differences({n: s for n, s in tables.items() if n in held or math.prod(s) > LARGE_TABLE}, held)
    if config.depth > len(shapes):
        problems.append(f"{config.depth} blocks for {len(shapes)} tensors")
    if problems:
        raise VDTError(f"{source} does not fit its configuration: {'; '.join(problems)}.")


def pack(vdt: VDT, bits: int) -> None:
    """Quantizes a network in place, layer by layer, so that no two wide copies of it exist at a time.

    Raises VDTError: not 8 or 4 bits, already quantized, or no layer whose width divides by a group of 64 or 32.
    """
    if bits not in BITS:
        raise VDTError(f"Weights are packed into 8 or 4 bits, not {bits}.")
    if any(isinstance(module, nn.QuantizedLinear) for _, module in vdt.named_modules()):
        raise VDTError("The weights of this checkpoint are quantized already.")
    fits = [g for g in GROUP_SIZES if any(quantizable(path, module, g) for path, module in vdt.named_modules())]
    quantize(vdt, bits, fits[0] if fits else GROUP_SIZES[-1])
    for _, module in vdt.named_modules():
        if isinstance(module, nn.QuantizedLinear):
            mx.eval(module.parameters())


def load_weights(model: nn.Module, path: Path, dtype: str | None) -> None:
    """Loads a safetensors file into a model; every tensor must be there, known, of the right shape and a fitting type.

    Raises VDTError otherwise, and where the file is not the one whose SHA-256 stands in the folder's `SHA256SUMS`.
    """
    check_sum(path)
    weights = read_safetensors(path)
    expected = flat_parameters(model)
    problems = _differences({n: v.shape for n, v in expected.items()}, {n: v.shape for n, v in weights.items()})
    if problems:
        raise VDTError(f"{path} does not fit its config.json: {'; '.join(problems)}.")
    for name, value in weights.items():
        packed = not mx.issubdtype(expected[name].dtype, mx.floating)
        if value.dtype not in ((expected[name].dtype,) if packed else DTYPES.values()):
            raise VDTError(f"{path}: {name} is of the type {_short(value.dtype)}, which weights here never are.")
    model.load_weights(list(cast(weights, dtype).items()))
    model.eval()


def read_safetensors(path: Path) -> dict[str, mx.array]:
    """Tensors by name (memory-mapped until used). Raises VDTError when the file is missing or damaged."""
    read_header(path)
    try:
        weights: Any = mx.load(str(path), format="safetensors")
    except Exception as error:
        raise VDTError(f"{path} is not a readable safetensors file ({_first_line(error)}).") from None
    return weights


def write_sums(folder: str | Path) -> None:
    """Writes `SHA256SUMS` for the weights in a folder, as `sha256sum` does; what is loaded from it is compared."""
    folder = Path(folder)
    lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.glob("*.safetensors"))]
    with atomic_path(folder / SUMS) as partial:
        partial.write_text("".join(lines), encoding="utf-8")


def check_sum(path: Path) -> None:
    """Raises VDTError if the folder of this file has a `SHA256SUMS` that says another checksum of it."""
    sums = path.parent / SUMS
    if not sums.is_file() or not path.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition(" ")
        if name.strip().lstrip("*") == path.name and digest != sha256(path):
            raise VDTError(
                f"{path} is not the file whose checksum stands in {sums.name} beside it: it was damaged or replaced. "
                f"Get it again; if it was replaced on purpose, remove {sums.name}."
            )


def _differences(expected: dict[str, tuple], found: dict[str, tuple], most: int = 5) -> list[str]:
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    misshapen = [
        f"{name} {tuple(found[name])} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    parts = []
    for title, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen)):
        if names:
            more = f" and {len(names) - most} more" if len(names) > most else ""
            parts.append(f"{title}: {', '.join(name[:100] for name in names[:most])}{more}")
    return parts


def _short(dtype: mx.Dtype) -> str:
    return str(dtype).removeprefix("mlx.core.")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
