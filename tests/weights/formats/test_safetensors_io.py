"""safetensors, read with care and written in pieces; the reference library agrees."""

import json

import numpy as np
import pytest

from vdt_mlx.errors import VDTError
from weights.formats.safetensors_io import SafetensorsFile, SafetensorsWriter


def written(path, tensors, metadata=None):
    layout = {name: ({"float32": "fp32", "float16": "fp16"}[v.dtype.name], v.shape) for name, v in tensors.items()}
    with SafetensorsWriter(path, layout, metadata or {}) as writer:
        for name in writer.order:
            writer.write(np.array_split(tensors[name].reshape(-1), 3))
    return path


def test_there_and_back(tmp_path):
    generator = np.random.default_rng(0)
    tensors = {"a": generator.standard_normal((3, 5)).astype(np.float16), "b": np.ones((), np.float32)}
    tensors["c"] = generator.standard_normal(7).astype(np.float32)
    path = written(tmp_path / "x.safetensors", tensors, {"note": "x"})
    with SafetensorsFile(path) as file:
        assert file.metadata == {"note": "x"}
        assert list(file.tensors) == list(tensors)
        for name, value in tensors.items():
            np.testing.assert_array_equal(file.tensors[name].array(), value)
    reference = pytest.importorskip("safetensors.numpy").load_file(path)
    assert all(np.array_equal(reference[name], value) for name, value in tensors.items())


def test_metadata_can_be_patched(tmp_path):
    path = tmp_path / "x.safetensors"
    with SafetensorsWriter(path, {"a": ("fp32", (2,))}, {"digest": "0" * 8, "other": "0" * 8}) as writer:
        writer.write([np.ones(2, np.float32)])
        writer.patch("digest", "12345678")
        with pytest.raises(ValueError, match="another length"):
            writer.patch("other", "1")
    with SafetensorsFile(path) as file:
        assert file.metadata == {"digest": "12345678", "other": "00000000"}


def test_what_was_announced_must_be_written(tmp_path):
    with (
        pytest.raises(VDTError, match="wrote 4 bytes instead of 8"),
        SafetensorsWriter(tmp_path / "x", {"a": ("fp32", (2,))}, {}) as writer,
    ):
        writer.write([np.ones(1, np.float32)])


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (
            {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
            "has 4 bytes, which is not what its shape needs",
        ),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, "cut short"),
        ({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, "declares a tensor of shape"),
        ({"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}, "'F8_E4M3', which is not supported"),
        ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, "not a tensor's"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "not a tensor's"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "leave holes"),
        (
            {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"},
            "overlap",
        ),
        ({}, "other bytes follow"),
        ({"__metadata__": {"a": 1}}, "metadata"),
        ([], "not a table"),
        (b"{" * 100_000, "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b'{"a":1,"a":1}', "twice"),
        (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', "absurd number"),
    ],
)
def test_headers_that_lie(header, sentence, tmp_path):
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(body).to_bytes(8, "little") + body + bytes(8))
    with pytest.raises(VDTError, match=sentence):
        SafetensorsFile(path)


def test_header_sizes_that_lie(tmp_path):
    path = tmp_path / "x.safetensors"
    for size, sentence in ((2**22 + 1, "claims 4,194,305 bytes"), (1000, "cut short inside of its header")):
        path.write_bytes(size.to_bytes(8, "little") + b"{}" + bytes(20))
        with pytest.raises(VDTError, match=sentence):
            SafetensorsFile(path)
