"""Tensors from one file into another, a piece at a time: layout, precision, quantization, and a look for NaN."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vdt_mlx.errors import VDTError
from weights.formats.safetensors_io import SafetensorsWriter
from weights.formats.source import Checksum, Source, check_member
from weights.formats.tensors import FLOATS, NUMPY, StoredTensor, convert, finite

AS_IS, TO_OHWI, TO_OIHW, SQUEEZE = "as is", "OIHW to OHWI", "OHWI to OIHW", "1x1 convolution to linear"
_ORDER = {TO_OHWI: (0, 2, 3, 1), TO_OIHW: (0, 3, 1, 2)}
GROUPS = (64, 32)
"""Group sizes for quantization, the preferred one first."""

Progress = Callable[[int, int, int, int], None]
"""Called after each tensor: tensors done, of how many, bytes read, of how many."""


@dataclass(frozen=True)
class Item:
    """One tensor to write: its new name, where it is, and what happens to it."""

    name: str
    tensor: StoredTensor
    change: str
    dtype: str
    quantized: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.tensor.shape
        if self.change in _ORDER:
            return tuple(shape[axis] for axis in _ORDER[self.change])
        return shape[:2] if self.change == SQUEEZE else shape

    def pieces(self) -> Iterator[np.ndarray]:
        """The elements in their new order, in the type that they have in the file."""
        if self.change in _ORDER:
            yield np.ascontiguousarray(self.tensor.array().transpose(_ORDER[self.change])).reshape(-1)
        else:
            yield from self.tensor.pieces()


@dataclass(frozen=True)
class Quantization:
    bits: int
    group_size: int

    def layout(self, item: Item) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The three tensors that a quantized one becomes: packed weights, a scale and a bias for each group."""
        rows, columns = item.shape
        base = item.name.removesuffix("weight")
        groups = (rows, columns // self.group_size)
        packed = ("uint32", (rows, columns * self.bits // 32))
        return {item.name: packed, f"{base}scales": (item.dtype, groups), f"{base}biases": (item.dtype, groups)}


def choose_group(shapes: Sequence[tuple[int, ...]], source: str) -> int:
    """The group size with which most of these matrices (output, input) can be quantized.

    Raises VDTError if there is none.
    """
    covered = {group: sum(rows * columns for rows, columns in shapes if columns % group == 0) for group in GROUPS}
    best = max(GROUPS, key=lambda group: covered[group])
    if not covered[best]:
        raise VDTError(
            f"{source} cannot be quantized: none of its widths divides by {' or '.join(map(str, GROUPS))} "
            "(leave out `quantize`)."
        )
    return best


def file_layout(items: Sequence[Item], quantization: Quantization | None) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What a file of these items holds: names, types and shapes, in the order of writing."""
    layout: dict[str, tuple[str, tuple[int, ...]]] = {}
    for item in items:
        if item.quantized and quantization is not None:
            layout.update(quantization.layout(item))
        else:
            layout[item.name] = (item.dtype, item.shape)
    return layout


def check_space(folder: Path, layouts: Sequence[dict[str, tuple[str, tuple[int, ...]]]]) -> None:
    """Raises VDTError if the disk that will hold `folder` has too little room for these files."""
    needed = sum(
        int(np.prod(shape, dtype=np.int64)) * NUMPY[dtype].itemsize
        for layout in layouts
        for dtype, shape in layout.values()
    )
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed + 2**20 > free:
        raise VDTError(
            f"{folder} needs {needed / 2**20:,.0f} MB, but only {free / 2**20:,.0f} MB of the disk are free."
        )


def check_floats(items: Sequence[Item], source: str) -> None:
    """Raises VDTError for a tensor of whole numbers, and for tensors that claim more bytes than the file has."""
    for item in items:
        if item.tensor.dtype not in FLOATS:
            raise VDTError(f"{source}: {item.name} is of the type {item.tensor.dtype}, where weights are floats.")
    for file in {id(item.tensor.storage.file): item.tensor.storage.file for item in items}.values():
        claimed = sum(item.tensor.nbytes for item in items if item.tensor.storage.file is file)
        if claimed > len(file):
            raise VDTError(f"{source} declares {claimed:,} bytes of weights in a file of {len(file):,} bytes.")


def write_file(
    path: Path,
    items: Sequence[Item],
    metadata: dict[str, str],
    sources: Sequence[Source],
    *,
    quantization: Quantization | None = None,
    allow_nonfinite: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Writes a safetensors file from `items`, in the order of the source; returns the SHA-256 of each of the sources.

    The first digest replaces the value of `source_sha256` in `metadata` (64 characters) before the file is closed.
    Memory stays at a few pieces, or one tensor where it is turned or quantized.

    Raises VDTError for a NaN or an infinity (unless `allow_nonfinite`), for a weight too large for its new type, for
    a wrong checksum, or when a source changes meanwhile.
    """
    total = sum(item.tensor.nbytes for item in items)
    done = 0
    members = {
        (id(source.mapped.file), member.start): (source, member) for source in sources for member in source.members
    }
    place = {id(source.mapped.file): number for number, source in enumerate(sources)}
    items = sorted(items, key=lambda item: (place[id(item.tensor.storage.file)], item.tensor.storage.start))
    checksums = [Checksum(source.mapped) for source in sources]
    try:
        with SafetensorsWriter(path, file_layout(items, quantization), metadata) as writer:
            for index, item in enumerate(items):
                storage = item.tensor.storage
                found = members.pop((id(storage.file), storage.start), None)
                if found is not None:
                    check_member(found[0].mapped, found[1])
                pieces = checked_pieces(item, str(sources[0].path), allow_nonfinite)
                if item.quantized and quantization is not None:
                    for array in _quantize(item, pieces, quantization):
                        writer.write([array])
                else:
                    writer.write(pieces)
                item.tensor.release()
                checksums[place[id(storage.file)]].keep_near(storage.start + storage.nbytes)
                done += item.tensor.nbytes
                if progress is not None:
                    progress(index + 1, len(items), done, total)
            digests = [checksum.result() for checksum in checksums]
            writer.patch("source_sha256", digests[0])
    finally:
        for checksum in checksums:
            checksum.stop()
    return digests


def checked_pieces(item: Item, source: str, allow_nonfinite: bool) -> Iterator[np.ndarray]:
    """The elements in their new order and type; raises VDTError as `write_file` does."""
    kind = item.tensor.dtype
    for piece in item.pieces():
        converted = convert(piece, kind, item.dtype)
        # What was NaN or infinite before is so after it, so one look is enough where all is well.
        if not finite(converted, item.dtype):
            was_finite = finite(piece, kind)
            if was_finite:
                raise VDTError(f"{source}: {item.name} holds numbers too large for {item.dtype}; use another `dtype`.")
            if not allow_nonfinite:
                raise VDTError(
                    f"{source}: {item.name} holds NaN or infinite numbers, so training diverged or the file is damaged "
                    "(`allow_nonfinite` takes it as it is)."
                )
        yield converted


def _quantize(item: Item, pieces: Iterator[np.ndarray], quantization: Quantization) -> Iterator[np.ndarray]:
    import mlx.core as mx

    values = np.concatenate(list(pieces)).reshape(item.shape)
    array = mx.array(values)
    if item.dtype == "bf16":
        array = array.view(mx.bfloat16)
    for part in mx.quantize(array, group_size=quantization.group_size, bits=quantization.bits):
        yield np.array(part.view(mx.uint16) if part.dtype == mx.bfloat16 else part)
