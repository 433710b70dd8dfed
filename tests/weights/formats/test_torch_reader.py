"""`.pt` files read without PyTorch: every wrapping, and every refusal by name."""

import mmap
import pickle
import struct
import zipfile

import numpy as np
import pytest

from vdt_mlx.errors import VDTError
from weights.autoencoders import open_autoencoder
from weights.convert import convert
from weights.formats import pickle_vm
from weights.formats.source import open_source
from weights.formats.tensors import Storage, StoredTensor, to_float32
from weights.formats.torch_reader import open_torch

SAME = ("vdt_head72_ddp.pt", "vdt_head72_legacy_format.pt", "vdt_head72_training_checkpoint.pt")


@pytest.mark.parametrize("name", SAME)
def test_wrappings_hold_the_same_weights(name, derived, golden, read_tensors):
    plain, wrapped = read_tensors(golden / "vdt_tiny.pt"), read_tensors(derived(name))
    assert list(plain) == list(wrapped)
    for key, value in plain.items():
        np.testing.assert_array_equal(value, wrapped[key])


def test_bf16_is_the_rounded_fp32(derived, golden, read_tensors):
    plain, rounded = read_tensors(golden / "vdt_tiny.pt"), read_tensors(derived("vdt_head72_bf16.pt"))
    for key, value in plain.items():
        np.testing.assert_allclose(rounded[key], value, rtol=2**-8)
    assert not np.array_equal(rounded["pos_embed"], plain["pos_embed"])


def test_parts_of_a_training_checkpoint(derived, read_tensors):
    path = derived("vdt_head72_training_checkpoint.pt")
    ema, model = read_tensors(path), read_tensors(path, "model")
    assert list(ema) == list(model)
    assert not any(value.any() for value in model.values())
    assert all(value.any() for name, value in ema.items() if name.endswith("qkv.weight"))
    with open_source(path) as file:
        assert file.part == "ema"
    with pytest.raises(VDTError, match="no part 'best'; it has: model, ema"):
        open_source(path, "best")


def test_namespace_is_inert(derived):
    with open_torch(derived("vdt_head72_training_checkpoint.pt")) as file:
        assert isinstance(file.content["args"], pickle_vm.Namespace)
        assert file.content["args"].values == {"model": "VDT-tiny", "lr": 1e-4}
        assert file.content["opt"]["param_groups"][0]["lr"] == 1e-4


def test_which_is_refused_where_it_would_do_nothing(golden):
    with pytest.raises(VDTError, match="drop `which`"):
        open_source(golden / "vdt_tiny.pt", "ema")


def test_same_as_torch(derived):
    torch = pytest.importorskip("torch")
    for name in (*SAME, "vdt_head72_bf16.pt", "autoencoder_kl_old_names.bin"):
        expected = torch.load(derived(name), weights_only=False)
        expected = expected.get("ema", expected)
        with open_torch(derived(name)) as file:
            content = file.content.get("ema", file.content)
            assert list(content) == list(expected)
            for key, tensor in content.items():
                found = to_float32(np.array(tensor.array()), tensor.dtype)
                np.testing.assert_array_equal(found, expected[key].float().numpy())


def test_views_strides_and_shared_storages(tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float64).reshape(4, 6)
    saved = {
        "whole": base, "transposed": base.T, "part": base[1:3, 2:5], "column": base[:, 3], "scalar": base[2, 3],
        "half": base.half(), "long": torch.arange(5), "empty": torch.zeros(0, 3), "bool": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(base.float()),
    }  # fmt: skip
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pt"
        torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
        with open_torch(path) as file:
            for name, value in saved.items():
                stored = file.content[name]
                np.testing.assert_array_equal(stored.array(), value.detach().numpy())
                pieces = list(stored.pieces(4))
                joined = np.concatenate(pieces) if pieces else np.zeros(0)
                np.testing.assert_array_equal(joined, value.detach().numpy().reshape(-1))


@pytest.mark.parametrize("stride", [0, 1, 2**40, 2**63 - 1])
def test_the_stride_of_an_axis_of_length_one_means_nothing(stride, tmp_path):
    (tmp_path / "x").write_bytes(np.arange(6, dtype="<f4").tobytes())
    with (tmp_path / "x").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        tensor = StoredTensor(Storage("fp32", 6, mapped, 0), 0, (1, 2, 3), (stride, 3, 1))
        assert tensor.problem() is None
        found = np.concatenate([piece.copy() for piece in tensor.pieces(4)])
        assert np.array_equal(tensor.array().copy(), np.arange(6, dtype="f4").reshape(1, 2, 3))
    assert np.array_equal(found, np.arange(6))


def test_repeated_elements_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"x": torch.zeros(1).expand(1000)}, tmp_path / "x.pt")
    with pytest.raises(VDTError, match="more elements than the 1 that are stored"):
        open_torch(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("opcodes", "sentence"),
    [
        (b"cos\nsystem\nX\x02\0\0\0ls\x85R", r"names os\.system, .* nothing of it was run"),
        (b"cbuiltins\neval\n", r"names builtins\.eval,"),
        (b"X\x05\0\0\0posixX\x06\0\0\0system\x93", r"names posix\.system,"),
        (b"(X\x02\0\0\0lsios\nsystem\n", r"names os\.system,"),
        (b"(cos\nsystem\nX\x02\0\0\0lso", r"names os\.system,"),
        (b"ctorch.nn.modules.linear\nLinear\n", r"names torch\.nn\.modules\.linear\.Linear,.*state_dict"),
        (b"ctorch._utils\n_rebuild_tensor\n", r"names torch\._utils\._rebuild_tensor,"),
        (b"cargparse\nArgumentParser\n", r"names argparse\.ArgumentParser,"),
        (b"\x82\x01", "EXT1"),
        (b"\x83\x01\x00", "EXT2"),
        (b"\x84\x01\x00\x00\x00", "EXT4"),
        (b"(o", "OBJ"),
        (b"N)}\x92", "NEWOBJ_EX"),
        (b"Pid\n", "PERSID"),
        (b"NQ", "not a storage"),
        (b"NNR", "not a function"),
        (b"ccollections\nOrderedDict\n]\x85R", "in a way that torch.save does not"),
        (b"cargparse\nNamespace\nNb", "has none"),
        (b"}NNs", "key of type NoneType"),
        (b"})Ns", "key of type tuple"),
        (b"R", "takes more from its stack"),
        (b"\xff", "byte 0xff"),
        (b"h\x07", "entry 7 of its memo"),
        (b"\x80\x06", "protocol 6"),
        (b"X\xff\xff\xff\xff", "cut short"),
        (b"(" * 100 + b"0" * 101, "takes more from its stack"),
        (b"N0" * (pickle_vm.MAX_OPCODES // 2 + 1), "more than 1,000,000 steps"),
    ],
)
@pytest.mark.parametrize("form", ["zipped", "legacy"])
def test_refused_by_name(opcodes, sentence, form, hostile, tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(getattr(hostile, form)(b"\x80\x02" + opcodes + b"."))
    with pytest.raises(VDTError, match=sentence):
        open_torch(path)


def test_what_python_pickles_with_reduce_is_refused(hostile, tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, ("raise SystemExit",)

    for protocol in (2, 3, 4, 5):
        path = tmp_path / "x.pt"
        path.write_bytes(hostile.zipped(pickle.dumps({"model": Evil()}, protocol)))
        with pytest.raises(VDTError, match=r"names (builtins|__builtin__)\.exec"):
            open_torch(path)


def _rezip(path, target, change):
    """Copies a zip, with `change(name, data)` applied to every member: (name, data, method), or None to drop it."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as out:
        for info in source.infolist():
            changed = change(info.filename, source.read(info))
            if changed is not None:
                out.writestr(zipfile.ZipInfo(changed[0]), changed[1], changed[2])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda n, d: (n, b"big" if n.endswith("byteorder") else d, 0), "big-endian"),
        (lambda n, d: (n, d, 8 if n.endswith("data/3") else 0), r"data/3 is compressed"),
        (lambda n, d: ("/etc/" + n if n.endswith("data/3") else n, d, 0), "has a member named"),
        (lambda n, d: (n.replace("data/3", "../3"), d, 0), "has a member named"),
        (lambda n, d: ("other/3" if n.endswith("data/3") else n, d, 0), "lies outside of"),
        (lambda n, d: None if n.endswith("data/3") else (n, d, 0), "has no storage '3'"),
        (lambda n, d: (n, d + b"\0" if n.endswith("data/3") else d, 0), r"has 33 bytes where its pickle says 32"),
        (lambda n, d: None if n.endswith("data.pkl") else (n, d, 0), "no single data.pkl"),
        (lambda n, d: (n, d + b"." if n.endswith("data.pkl") else d, 0), "other bytes follow the end of its pickle"),
    ],
)
def test_zips_that_are_not_right(change, sentence, hostile, tmp_path):
    (tmp_path / "good.pt").write_bytes(hostile.ZIP)
    _rezip(tmp_path / "good.pt", tmp_path / "bad.pt", change)
    with pytest.raises(VDTError, match=sentence):
        open_torch(tmp_path / "bad.pt")


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (b"<!DOCTYPE html><html>", "a web page, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (pickle.dumps({"a": 1}), "a bare pickle"),
        (b"\0" * 257 + b"ustar\x0000", "tar"),
        (b"RIFF....WAVEfmt ", "neither a PyTorch checkpoint nor a safetensors file"),
    ],
)
def test_other_files_are_named(start, sentence, tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(start + bytes(1000))
    with pytest.raises(VDTError, match=sentence):
        open_source(path)


def test_files_that_are_not_there_or_not_files(tmp_path):
    import os

    with pytest.raises(VDTError, match="There is no file"):
        open_source(tmp_path / "nothing.pt")
    with pytest.raises(VDTError, match="is a folder"):
        open_source(tmp_path)
    (tmp_path / "empty.pt").touch()
    with pytest.raises(VDTError, match="is empty"):
        open_source(tmp_path / "empty.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(VDTError, match="not a regular file"):
        open_source(tmp_path / "pipe.pt")


def test_zip64_sizes_are_read(tmp_path, hostile):
    """A member whose sizes stand in a zip64 field, as in files of more than 4 GB."""
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as out:
        for name, data in {"data.pkl": hostile.PICKLE, **{f"data/{k}": v for k, v in hostile.RAW.items()}}.items():
            with out.open(zipfile.ZipInfo(f"archive/{name}"), "w", force_zip64=True) as member:
                member.write(data)
    with open_torch(path) as file:
        for tensor in hostile.GOOD:
            np.testing.assert_array_equal(file.content[tensor.name].array(), tensor.values)


def test_legacy_that_lies_about_its_storages(tmp_path, hostile):
    for bad, sentence in (
        (hostile.LEGACY[:-1], "cut short"),
        (hostile.LEGACY + b"x", "other bytes follow"),
        (
            hostile.LEGACY[: hostile.LEGACY_DATA] + struct.pack("<q", 7) + hostile.LEGACY[hostile.LEGACY_DATA + 8 :],
            "7 elements instead",
        ),
    ):
        (tmp_path / "x.pt").write_bytes(bad)
        with pytest.raises(VDTError, match=sentence):
            open_torch(tmp_path / "x.pt")


@pytest.mark.parametrize("inner", ["", "vdt_tiny"])
def test_a_file_that_was_unpacked_is_said_to_be_that(inner, golden, tmp_path):
    """Archive programs open `.pt` files: the folder that they leave is no checkpoint."""
    with zipfile.ZipFile(golden / "vdt_tiny.pt") as archive:
        archive.extractall(tmp_path / "out")
    for open_it in (lambda path: convert(path, tmp_path / "new", num_heads=4), open_autoencoder):
        with pytest.raises(VDTError, match=r"was unpacked.*zip -0 -r new\.pt vdt_tiny"):
            open_it(tmp_path / "out" / inner)
