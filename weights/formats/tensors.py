"""Tensors inside of a file: where their bytes are, read as numpy arrays a piece at a time."""

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

NUMPY: dict[str, np.dtype[Any]] = {
    "fp64": np.dtype("<f8"),
    "fp32": np.dtype("<f4"),
    "fp16": np.dtype("<f2"),
    "bf16": np.dtype("<u2"),  # numpy has no bfloat16: its bits
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("u1"),
}
"""How each type of element is read; every one is little-endian."""
FLOATS = ("fp64", "fp32", "fp16", "bf16")
STORAGE_TYPES = {
    "DoubleStorage": "fp64",
    "FloatStorage": "fp32",
    "HalfStorage": "fp16",
    "BFloat16Storage": "bf16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""torch's storage classes, and the type of their elements."""
PIECE = 2**21
"""Elements that are worked on at a time."""


@dataclass
class Storage:
    """A run of `numel` elements in a file; `start` (in bytes) is set once it is known."""

    dtype: str
    numel: int
    file: mmap.mmap
    start: int = -1

    @property
    def nbytes(self) -> int:
        return self.numel * NUMPY[self.dtype].itemsize


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that lies in a storage: offset, shape and strides in elements, as PyTorch has them."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:
        return self.storage.dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * NUMPY[self.dtype].itemsize

    def problem(self) -> str | None:
        """Why this tensor cannot lie in its storage, or None."""
        if self.size == 0:
            return None if max(self.shape) < 2**40 else f"its shape is {_short(self.shape)}"
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if last >= self.storage.numel:
            return f"{_short(self.shape)} reaches element {last} of {self.storage.numel}"
        if self.size > self.storage.numel:  # stride 0 repeats elements: a large tensor from a few bytes
            return f"{_short(self.shape)} has more elements than the {self.storage.numel} that are stored"
        return None

    def array(self) -> np.ndarray:
        """A read-only view of the file (bf16 as its bits), with this shape. Raises VDTError if the file is short."""
        kind = NUMPY[self.dtype]
        if self.size == 0:
            return np.zeros(self.shape, kind)
        flat = np.frombuffer(self.storage.file, kind, self.storage.numel, self.storage.start)
        # Along an axis of length 1 nobody walks: its stride may be anything, beyond 64 bits too.
        strides = tuple(
            stride * kind.itemsize if n > 1 else 0 for n, stride in zip(self.shape, self.strides, strict=True)
        )
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides, writeable=False)

    def pieces(self, limit: int = PIECE) -> Iterator[np.ndarray]:
        """The elements in row-major order, as one-dimensional arrays of about `limit` elements at most."""
        array = self.array()
        if array.flags.c_contiguous:
            flat = array.reshape(-1)
            for start in range(0, flat.size, limit):
                yield flat[start : start + limit]
        else:
            rows = max(1, limit // max(1, math.prod(self.shape[1:])))
            for start in range(0, self.shape[0], rows):
                yield np.ascontiguousarray(array[start : start + rows]).reshape(-1)

    def release(self) -> None:
        """Lets the operating system take back the pages of the file that reading this tensor brought in."""
        storage = self.storage
        if hasattr(storage.file, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            page = mmap.PAGESIZE
            start = storage.start // page * page
            length = min(storage.start + storage.nbytes, len(storage.file)) - start
            if length > 0:
                storage.file.madvise(mmap.MADV_DONTNEED, start, length)


def contiguous(storage: Storage, shape: tuple[int, ...]) -> StoredTensor:
    """The tensor that fills a storage, row by row."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return StoredTensor(storage, 0, shape, tuple(strides))


def to_mlx_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a tensor of PyTorch's layout has in MLX's: kernels of convolutions are OIHW there, OHWI here."""
    return (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else shape


def to_torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The inverse of `to_mlx_shape`."""
    return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape


def to_float32(values: np.ndarray, dtype: str) -> np.ndarray:
    """Elements of a floating type (bf16 as its bits) as fp32; fp64 is rounded."""
    if dtype == "bf16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def from_float32(values: np.ndarray, dtype: str) -> np.ndarray:
    """fp32 elements in another floating type, rounded to nearest even (bf16 as its bits)."""
    if dtype == "bf16":
        bits = values.view(np.uint32)
        rounded = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
        nan = np.isnan(values)
        if nan.any():
            rounded[nan] = 0x7FC0
        return rounded
    with np.errstate(over="ignore"):
        return values.astype(NUMPY[dtype], copy=False)


def convert(values: np.ndarray, source: str, target: str) -> np.ndarray:
    """Elements of one floating type in another; the same type is returned as it is, bit for bit."""
    if source == target:
        return values
    return from_float32(to_float32(values, source), target)


def finite(values: np.ndarray, dtype: str) -> bool:
    """Whether no element is NaN or infinite."""
    if dtype == "bf16":
        return bool(((values & 0x7F80) != 0x7F80).all())
    return bool(np.isfinite(values).all())


def _short(shape: tuple[int, ...]) -> str:
    text = " x ".join(str(n) for n in shape) or "one element"
    return text if len(text) <= 60 else text[:57] + "..."
