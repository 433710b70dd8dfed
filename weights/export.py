"""A checkpoint folder back under the official names and layout, as a `.pt` file or as safetensors.

`torch.load(..., weights_only=True)` reads the `.pt` file; no PyTorch is needed to write it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from vdt_mlx.config import (
    AUTOENCODER_FILE,
    TINY_AUTOENCODER_FILE,
    VDT_FILE,
    AutoencoderConfig,
    CheckpointConfig,
    read_config,
)
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from weights.autoencoders import expected_shapes
from weights.formats.safetensors_io import CONFIG_KEY, SafetensorsWriter
from weights.formats.source import Source, open_source
from weights.formats.tensors import FLOATS, StoredTensor, to_torch_shape
from weights.formats.torch_writer import TORCH_SUFFIXES, write_torch
from weights.names.vdt import check_tensors, differences, vdt_shapes
from weights.stream import AS_IS, TO_OIHW, Item, Progress, check_space


@dataclass(frozen=True)
class QuantizedItem:
    """A matrix of a quantized checkpoint, written in the precision of its scales."""

    name: str
    tensor: StoredTensor
    scales: StoredTensor
    biases: StoredTensor
    bits: int
    group_size: int

    @property
    def dtype(self) -> str:
        return self.scales.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape[0], self.tensor.shape[1] * 32 // self.bits

    def pieces(self) -> Iterator[np.ndarray]:
        import mlx.core as mx

        def array(stored: StoredTensor) -> mx.array:
            values = mx.array(np.ascontiguousarray(stored.array()))
            return values.view(mx.bfloat16) if stored.dtype == "bf16" else values

        weight, scales, biases = array(self.tensor), array(self.scales), array(self.biases)
        full = mx.dequantize(weight, scales, biases, group_size=self.group_size, bits=self.bits)
        yield np.array(full.view(mx.uint16) if full.dtype == mx.bfloat16 else full).reshape(-1)


AnyItem = Item | QuantizedItem


class _Reported:
    """An item that reports when its last piece was taken."""

    def __init__(self, item: AnyItem, done: Callable[[], None]):
        self.item, self.done = item, done
        self.name, self.dtype, self.shape = item.name, item.dtype, item.shape

    def pieces(self) -> Iterator[np.ndarray]:
        yield from self.item.pieces()
        self.item.tensor.release()
        self.done()


def export(
    folder: str | Path,
    out: str | Path,
    *,
    autoencoder: str | Path | None = None,
    tiny_autoencoder: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> CheckpointConfig:
    """Writes the network of a checkpoint folder under the official names, and perhaps its autoencoders.

    Args:
        folder: a checkpoint folder.
        out: a `.pt` (`.pth`, `.bin`, `.ckpt`) or `.safetensors` file for the network.
        autoencoder: such a file for the autoencoder, under diffusers' names; None leaves it out.
        tiny_autoencoder: the same for a TAESD beside it.
        force: replaces files that exist.
        progress: called after every tensor of the network.

    The configuration travels along where PyTorch ignores it, so `convert` gives the same folder again, bit for bit
    (a quantized one comes back unquantized). Raises VDTError as `convert` does; nothing is left half written.
    """
    folder = Path(folder)
    config = read_config(folder)
    wanted: dict[str, Path | None] = {
        VDT_FILE: Path(out),
        AUTOENCODER_FILE: None if autoencoder is None else Path(autoencoder),
        TINY_AUTOENCODER_FILE: None if tiny_autoencoder is None else Path(tiny_autoencoder),
    }
    parts = {AUTOENCODER_FILE: config.autoencoder, TINY_AUTOENCODER_FILE: config.tiny_autoencoder}
    targets = [path for path in wanted.values() if path is not None]
    if len({path.absolute() for path in targets}) != len(targets):
        raise VDTError("The network and its autoencoders go into different files.")
    for target in targets:
        _check_target(target, force)
    with ExitStack() as stack:
        for name, path in wanted.items():
            if path is None:
                continue
            items: Sequence[AnyItem]
            if name == VDT_FILE:
                file = stack.enter_context(open_source(folder / name))
                items = _vdt_items(file, config)
                text = replace(config, autoencoder=None, tiny_autoencoder=None, quantization=None).to_json()
            else:
                part = parts[name]
                if part is None:
                    raise VDTError(f"{folder} holds no such autoencoder to export.")
                file = stack.enter_context(open_source(folder / name))
                items = _autoencoder_items(file, part)
                text = autoencoder_json(part)
            check_space(path.parent, [{item.name: (item.dtype, item.shape) for item in items}])
            _write(path, items, text, progress if name == VDT_FILE else None)
    return config


def autoencoder_json(config: AutoencoderConfig) -> str:
    """The configuration that an exported autoencoder carries."""
    return json.dumps({key: value for key, value in asdict(config).items() if value is not None})


def _check_target(path: Path, force: bool) -> None:
    if path.suffix not in (*TORCH_SUFFIXES, ".safetensors"):
        raise VDTError(f"{path} should end in .pt or .safetensors, which says in what format to write it.")
    if path.is_dir():
        raise VDTError(f"{path} is a folder.")
    if path.exists() and not force:
        raise VDTError(f"{path} exists; `force` replaces it.")


def _vdt_items(file: Source, config: CheckpointConfig) -> list[AnyItem]:
    quantized: dict[str, QuantizedItem] = {}
    if config.quantization is not None:
        for name, tensor in file.tensors.items():
            base = name.removesuffix("weight")
            scales, biases = file.tensors.get(f"{base}scales"), file.tensors.get(f"{base}biases")
            if name.endswith(".weight") and scales is not None and biases is not None:
                quantized[name] = QuantizedItem(name, tensor, scales, biases, **config.quantization)
                _check_quantized(quantized[name], file)
    beside = {name.removesuffix("weight") + part for name in quantized for part in ("scales", "biases")}
    found = {n: quantized[n].shape if n in quantized else t.shape for n, t in file.tensors.items() if n not in beside}
    check_tensors(config.vdt, {name: to_torch_shape(shape) for name, shape in found.items()}, str(file.path))
    return [quantized[name] if name in quantized else _item(file, name) for name in vdt_shapes(config.vdt)]


def _item(file: Source, name: str) -> Item:
    tensor = file.tensors[name]
    if tensor.dtype not in FLOATS:
        raise VDTError(f"{file.path}: {name} is of the type {tensor.dtype}, where weights are floats.")
    return Item(name, tensor, TO_OIHW if len(tensor.shape) == 4 else AS_IS, tensor.dtype)


def _check_quantized(item: QuantizedItem, file: Source) -> None:
    fits = (
        item.tensor.dtype == "uint32"
        and len(item.tensor.shape) == 2
        and item.scales.dtype == item.biases.dtype
        and item.scales.dtype in ("fp32", "fp16", "bf16")
        and item.scales.shape == item.biases.shape == (item.shape[0], item.shape[1] // item.group_size)
    )
    if not fits:
        raise VDTError(f"{file.path}: {item.name} does not fit the quantization that config.json says.")


def _autoencoder_items(file: Source, config: AutoencoderConfig) -> list[AnyItem]:
    expected = expected_shapes(config)
    differences(expected, {name: to_torch_shape(t.shape) for name, t in file.tensors.items()}, str(file.path))
    return [_item(file, name) for name in expected]


def _write(path: Path, items: Sequence[AnyItem], config: str, progress: Progress | None) -> None:
    total, taken = sum(item.tensor.nbytes for item in items), 0

    def reported(index: int, item: AnyItem) -> _Reported:
        def done() -> None:
            nonlocal taken
            taken += item.tensor.nbytes
            if progress is not None:
                progress(index + 1, len(items), taken, total)

        return _Reported(item, done)

    sources = [reported(index, item) for index, item in enumerate(items)]
    with atomic_path(path) as partial:
        if path.suffix == ".safetensors":
            layout = {item.name: (item.dtype, item.shape) for item in items}
            with SafetensorsWriter(partial, layout, {"format": "pt", CONFIG_KEY: config}) as writer:
                for source in sources:
                    writer.write(source.pieces())
        else:
            write_torch(partial, sources, config)
