"""Small files from anywhere: limits on size, depth and range, and one sentence for what is damaged."""

import io
import struct
import zipfile

import numpy as np
import pytest

from vdt_mlx import reading
from vdt_mlx.errors import VDTError
from vdt_mlx.media import video
from vdt_mlx.safetensors_header import read_header

BAD_JSON = {
    "empty": b"",
    "text": b"hello",
    "cut": b'{"a": [1, 2',
    "not UTF-8": b'{"a": "\xff"}',
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep tables": b'{"a":' * 500 + b"1" + b"}" * 500,
    "a little too deep": b"[" * 65 + b"]" * 65,
    "huge number": b'{"steps": 1' + b"0" * 5000 + b"}",
    "beyond 64 bits": b'{"seed": 18446744073709551616}',
    "below 64 bits": b'{"seed": -9223372036854775809}',
    "overflow": b'{"rate": 1e999}',
    "NaN": b'{"rate": NaN}',
    "control characters": b'{"a\x1b[31m',
}
BAD_TOML = {
    "text": b"hello",
    "deep": b"a = " + b"[" * 100_000 + b"]" * 100_000,
    "deep tables": b"[" + b".".join([b"a"] * 500) + b"]\nb = 1\n",
    "huge number": b"a = 1" + b"0" * 5000,
    "beyond 64 bits": b"a = 18446744073709551616",
    "inf": b"a = inf",
    "nan": b"a = nan",
    "not UTF-8": b'a = "\xff"',
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_one_sentence(tmp_path, name) -> None:
    (tmp_path / "a.json").write_bytes(BAD_JSON[name])
    with pytest.raises(VDTError) as caught:
        reading.read_json(tmp_path / "a.json", "index")
    message = str(caught.value)
    assert message.startswith(f"The index {tmp_path / 'a.json'}")
    assert message.isprintable() and len(message) < 400


@pytest.mark.parametrize("name", BAD_TOML)
def test_bad_toml_is_one_sentence(tmp_path, name) -> None:
    (tmp_path / "a.toml").write_bytes(BAD_TOML[name])
    with pytest.raises(VDTError) as caught:
        reading.read_toml(tmp_path / "a.toml", "configuration")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_good_texts(tmp_path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "a").write_bytes(mark + b'{"a": [1, 2.5, "x", null, 18446744073709551615]}')
        assert reading.read_json(tmp_path / "a") == {"a": [1, 2.5, "x", None, 2**64 - 1]}
        (tmp_path / "a").write_bytes(mark + b"a = [1, 2.5]\nb.c = 'x'\n")
        assert reading.read_toml(tmp_path / "a") == {"a": [1, 2.5], "b": {"c": "x"}}
    assert reading.parse_json("[" * 64 + "]" * 64)
    assert np.isnan(reading.parse_json("NaN", nan=True))


def test_missing_and_too_large(tmp_path) -> None:
    for read in (reading.read_json, reading.read_toml, reading.read_npz):
        with pytest.raises(VDTError, match="There is no"):
            read(tmp_path / "nothing")
        with pytest.raises(VDTError):
            read(tmp_path)
    (tmp_path / "a").write_bytes(b" " * 2_000_000)
    with pytest.raises(VDTError, match="larger than"):
        reading.read_json(tmp_path / "a", limit=1 << 20)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


GOOD = npy(np.arange(6, dtype=np.uint8).reshape(2, 3))


def npz(path, *, name="a.npy", data=GOOD, patch=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    if patch:
        path.write_bytes(patch(bytearray(path.read_bytes())))


def header(text: str) -> bytes:
    body = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body


def flags(data: bytearray, local: int, central: int, value: int) -> bytearray:
    """Sets a two-byte field of the only member's local and central headers."""
    at = data.index(b"PK\x01\x02")
    data[local : local + 2] = struct.pack("<H", value)
    data[at + central : at + central + 2] = struct.pack("<H", value)
    return data


def flip(data: bytearray) -> bytearray:
    data[60] ^= 0xFF
    return data


BAD_NPZ = {
    "encrypted": {"patch": lambda data: flags(data, 6, 8, 1)},
    "unknown packing": {"patch": lambda data: flags(data, 8, 10, 97)},
    "flipped": {"patch": flip},
    "cut": {"patch": lambda data: data[:-10]},
    "objects": {"data": npy(np.array([{}], dtype=object))},
    "no array": {"name": "a.txt", "data": b"hello"},
    "empty member": {"data": b""},
    "cut member": {"data": GOOD[:-2]},
    "more than its shape": {"data": GOOD + b"xx"},
    "a shape of 10^18": {"data": header("{'descr': '|u1', 'fortran_order': False, 'shape': (10**18,)}")},
    "a huge shape": {
        "data": header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000000000, 3)}") + bytes(9)
    },
    "a negative shape": {"data": header("{'descr': '|u1', 'fortran_order': False, 'shape': (-3,)}") + bytes(9)},
    "code in the header": {"data": header("__import__('os').system('true')")},
    "a version to come": {"data": GOOD[:6] + b"\x09\x00" + GOOD[8:]},
}


@pytest.mark.parametrize("name", BAD_NPZ)
def test_bad_npz_is_one_sentence(tmp_path, name) -> None:
    npz(tmp_path / "a.npz", **BAD_NPZ[name])
    with pytest.raises(VDTError) as caught:
        reading.read_npz(tmp_path / "a.npz", what="clip")
    assert str(caught.value).startswith("The clip") and "\n" not in str(caught.value)


def test_an_npz_bomb_is_not_unpacked(tmp_path) -> None:
    npz(tmp_path / "a.npz", data=npy(np.zeros(3 << 20, np.uint8)))
    assert (tmp_path / "a.npz").stat().st_size < 20_000
    with pytest.raises(VDTError, match="would unpack to"):
        reading.read_npz(tmp_path / "a.npz", limit=1 << 20)


def test_arrays_come_back(tmp_path) -> None:
    arrays = {"a": np.arange(5), "b": np.asfortranarray(np.eye(3)), "c": np.array("text"), "d": np.zeros((0, 4))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        read = reading.read_npz(tmp_path / "a.npz")
        assert list(read) == list(arrays)
        assert all(np.array_equal(read[name], arrays[name]) for name in arrays)
        assert list(reading.read_npz(tmp_path / "a.npz", ["b", "z"])) == ["b"]
    assert reading.npz_names(tmp_path / "a.npz") == list(arrays)


BAD_NPY = {
    "objects": npy(np.array([{}], dtype=object)),
    "an archive": None,
    "empty": b"",
    "text": b"hello",
    "cut": GOOD[:-1],
    "too long": GOOD + b"x",
    "a shape of 10^18": BAD_NPZ["a shape of 10^18"]["data"],
    "a negative shape": BAD_NPZ["a negative shape"]["data"],
    "code in the header": BAD_NPZ["code in the header"]["data"],
    "a version to come": BAD_NPZ["a version to come"]["data"],
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("name", BAD_NPY)
def test_bad_npy_is_one_sentence(tmp_path, name) -> None:
    path = tmp_path / "a.npy"
    if BAD_NPY[name] is None:  # which numpy opens as an npz
        npz(path)
    else:
        path.write_bytes(BAD_NPY[name])
    with pytest.raises(VDTError) as caught:
        reading.read_npy(path, "mask")
    assert str(caught.value).startswith(f"The mask {path}") and str(caught.value).isprintable()


@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3), np.zeros((0, 4)), np.asfortranarray(np.eye(3))])
def test_npy_comes_back(tmp_path, array) -> None:
    np.save(tmp_path / "a.npy", array)
    assert np.array_equal(reading.read_npy(tmp_path / "a.npy"), array)
    np.savez(tmp_path / "a.npz", x=array)
    assert reading.npz_header(tmp_path / "a.npz", "x") == (array.shape, array.dtype)
    for missing in (lambda: reading.read_npy(tmp_path / "b"), lambda: reading.npz_header(tmp_path / "b", "x")):
        with pytest.raises(VDTError, match="There is no"):
            missing()
    with pytest.raises(VDTError, match="not a readable npz"):
        reading.npz_header(tmp_path / "a.npz", "y")


def test_lines_that_are_no_entries_are_left_out(tmp_path) -> None:
    bad = (b"", b"[1]", b'{"a": 1', b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}", b'{"a": "\xff"}')
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"\n".join(bad) + b'\n{"a": NaN}\r\n{"x": "' + b"y" * (3 << 20) + b'"}\n{"a": 2}')
    found = [entry["a"] for entry in reading.json_lines(path)]
    assert found[0] == 1 and np.isnan(found[1]) and found[2:] == [2]
    assert list(reading.json_lines(path, last=12)) == [{"a": 2}]
    with pytest.raises(VDTError, match="There is no log"):
        list(reading.json_lines(tmp_path / "nothing", "log"))
    with pytest.raises(VDTError, match="cannot be read"):
        list(reading.json_lines(tmp_path))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
STAND_INS = {"a Git LFS pointer": POINTER, "a web page": b"\n <!DOCTYPE html><html><head><title>Virus scan warning"}
READ = {
    "a.json": reading.read_json,
    "a.toml": reading.read_toml,
    "a.npz": reading.read_npz,
    "b.npz": reading.npz_names,
    "a.npy": reading.read_npy,
    "a.safetensors": read_header,
    **{f"a.{kind}": lambda path: list(video.iterate_frames(path)) for kind in ("mp4", "gif", "png", "webm", "jpg")},
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("kind", STAND_INS)
def test_what_stands_for_a_file_is_said_to_be_that(kind, name, tmp_path) -> None:
    (tmp_path / name).write_bytes(STAND_INS[kind])
    with pytest.raises(VDTError, match=f"is {kind}"):
        READ[name](tmp_path / name)
