"""Checkpoint files of others, converted: flipped, cut, spliced, hostile pickles, bombs, zips and headers that lie."""

import importlib.util
import random
import tempfile
from pathlib import Path

import numpy as np

from tests.fuzz.checkpoint_files import GOOD, KINDS, LEGACY, LEGACY_DATA, ORDER, SAFE_DATA
from vdt_mlx.errors import VDTError
from weights.convert import convert
from weights.formats.source import open_source
from weights.names.vdt import KERNEL

TITLE = "checkpoints of PyTorch and safetensors"
SHARE = 2.0
LONGEST_MESSAGE = 4000  # tensors that do not fit are listed


def case(rng: random.Random, folder: Path):
    kind = rng.choice(ORDER)
    data = KINDS[kind][1](rng)
    source = folder / "case.pt"
    source.write_bytes(data)
    return lambda: (kind, data, source.read_bytes(), _converted(source))


def _converted(source: Path) -> dict[str, np.ndarray]:
    """The weights that the converter wrote, in PyTorch's layout."""
    with tempfile.TemporaryDirectory(prefix="vdt-fuzz-") as name:
        try:
            convert(source, Path(name) / "out", num_heads=2)
        except VDTError:
            assert list(Path(name).iterdir()) == [], "left something behind"
            raise
        with open_source(Path(name) / "out" / "vdt.safetensors") as file:
            found = {key: np.array(tensor.array()) for key, tensor in file.tensors.items()}
    return found | {KERNEL: found[KERNEL].transpose(0, 3, 1, 2)}


def check(result) -> str | None:
    """A load must give the original, or what the bytes say where there is no checksum."""
    kind, data, after, found = result
    if after != data:
        return "the source was changed"
    values = {tensor.name: tensor.values for tensor in GOOD}
    start = {"legacy, bits flipped": LEGACY_DATA, "safetensors, bits flipped": SAFE_DATA}.get(kind)
    if start is not None:
        for tensor in GOOD:
            start += 8 if kind.startswith("legacy") else 0
            values[tensor.name] = np.frombuffer(data, "<f4", tensor.values.size, start).reshape(tensor.shape)
            start += tensor.values.nbytes
    # An offset or stride that was changed and still fits is another valid tensor: only PyTorch can tell which. The
    # format before torch 1.6 has no checksum of its pickle, and some files here are made with a right one.
    pickle_changed = kind.startswith("legacy, bits") and data[:LEGACY_DATA] != LEGACY[:LEGACY_DATA]
    if pickle_changed or kind.startswith("pickle, ") or kind == "tensors that cannot be":
        values = _by_torch(data) or found
    same = all(found[name].tobytes() == np.ascontiguousarray(values[name]).tobytes() for name in found)
    return None if same else f"{kind}: other numbers"


def _by_torch(data: bytes) -> dict[str, np.ndarray] | None:
    """What PyTorch itself reads, if it is installed and takes the file."""
    if importlib.util.find_spec("torch") is None:
        return None
    import io

    import torch

    try:
        return {name: value.numpy() for name, value in torch.load(io.BytesIO(data), weights_only=True).items()}
    except Exception:
        return None
