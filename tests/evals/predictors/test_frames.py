"""Predictors of frames: what they get, and what becomes of what they return."""

import sys
from pathlib import Path

import numpy as np
import pytest

from evals.predictors import Bad, Code, Folder, Start
from evals.scoring.cases import choose_groups, make_case
from vdt_mlx.errors import VDTError


@pytest.fixture(scope="module")
def case():
    (group,) = choose_groups(["collide"])
    return make_case(group, 0, 8, 0)


def test_a_predictor_gets_a_copy_that_leads_nowhere(case):
    seen = []

    def curious(given):
        seen.append((given.shape, given.base, given.flags.owndata))
        given[:] = 0
        return np.zeros((8, 64, 64, 3), np.uint8)

    before = case.frames.copy()
    ((clip,),) = Code(curious, "curious").complete([case])
    assert seen == [((8, 64, 64, 3), None, True)]
    assert (case.frames == before).all() and (clip[:8] == before[:8]).all() and not clip[8:].any()
    assert Start.of(case).frames.base is None


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (np.zeros((8, 64, 64, 3)), "float64"),
        (np.zeros((7, 64, 64, 3), np.uint8), "7 frames"),
        (np.zeros((8, 32, 64, 3), np.uint8), "shape"),
        (np.uint8(3), "shape"),
        ("frames", "values"),
        ([[1], [1, 2]], "no array"),
        (None, "values"),
    ],
)
def test_output_that_is_no_clip_is_named(case, made, words):
    ((clip,),) = Code(lambda given: made, "odd").complete([case])
    assert isinstance(clip, Bad) and words in clip.reason


def test_a_function_that_exits_is_a_bad_clip(case):
    def leaves(given):
        sys.exit(3)

    ((clip,),) = Code(leaves, "leaves").complete([case])
    assert isinstance(clip, Bad) and "SystemExit" in clip.reason


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("raises", "raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("exits", "import sys; sys.exit(0)", "SystemExit"),
        ("broken", "def f(:", "SyntaxError"),
        ("lacks", "import nothing_of_that_name", "nothing_of_that_name"),
        ("empty", "", "has no attribute"),
    ],
)
def test_modules_that_cannot_be_imported(tmp_path, monkeypatch, name, text, words):
    (tmp_path / f"code_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(VDTError, match=words):
        Code.named(f"code_{name}:f")


@pytest.mark.parametrize("where", ["my.py:predict", "./code/my:predict", "module", "module:", ":f", "a b:f", "a:b.c"])
def test_names_that_are_no_function(where):
    with pytest.raises(VDTError, match="is not module:function"):
        Code.named(where)


def test_the_content_of_code_is_its_files(tmp_path, monkeypatch):
    (tmp_path / "code_content.py").write_text("import code_beside\ndef f(x): return x\n")
    (tmp_path / "code_beside.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    code = Code.named("code_content:f")
    first = code.content()
    assert code.content() == first
    (tmp_path / "code_beside.py").write_text("A = 2\n")
    assert code.content() != first
    assert Code(lambda x: x, "a").content() is not None


# ---- folders


def write(folder: Path, name: str, **arrays) -> None:
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / name, **arrays)


def read(folder: Path, case):
    ((clip,),) = Folder(folder).complete([case])
    return clip


def test_a_good_npz_and_its_content(tmp_path, case):
    write(tmp_path, f"{case.id}.npz", frames=case.frames)
    assert (read(tmp_path, case) == case.frames).all()
    first = Folder(tmp_path).content()
    write(tmp_path, f"{case.id}.npz", frames=case.frames[8:])
    assert (read(tmp_path, case) == case.frames).all() and Folder(tmp_path).content() != first


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"frames": np.zeros((1, 1000, 1000, 3), np.uint8)}, "shape"),
        ({"frames": np.array([{"a": 1}], object)}, "Python objects"),
        ({"frames": np.zeros(16)}, "float64"),
        ({"frames": np.zeros((16, 64, 64), np.uint8)}, "shape"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "none called frames"),
        ({}, "no array called frames"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, case, arrays, words):
    write(tmp_path, f"{case.id}.npz", **arrays)
    clip = read(tmp_path, case)
    assert isinstance(clip, Bad) and words in clip.reason


def test_a_bomb_is_not_unpacked(tmp_path, case):
    """A header that promises 12 GB: it is read, and nothing after it."""
    import tracemalloc
    import zipfile

    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000, 2000, 2000, 3), }"
    header = header + b" " * (118 - 1 - len(header)) + b"\n"
    with zipfile.ZipFile(tmp_path / f"{case.id}.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("frames.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(10**7))
    tracemalloc.start()
    clip = read(tmp_path, case)
    assert isinstance(clip, Bad) and "shape (1000, 2000, 2000, 3)" in clip.reason
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("cut", [0, 10, 100, 2000])
def test_a_damaged_npz(tmp_path, case, cut):
    write(tmp_path, f"{case.id}.npz", frames=case.frames)
    path = tmp_path / f"{case.id}.npz"
    path.write_bytes(path.read_bytes()[:cut])
    clip = read(tmp_path, case)
    assert isinstance(clip, Bad) and "cannot be used" in clip.reason


@pytest.mark.parametrize("place", range(40, 700, 60))
def test_an_npz_with_a_wrong_byte_is_read_or_named(tmp_path, case, place):
    write(tmp_path, f"{case.id}.npz", frames=case.frames)
    path = tmp_path / f"{case.id}.npz"
    data = bytearray(path.read_bytes())
    data[place] ^= 0x55
    path.write_bytes(data)
    clip = read(tmp_path, case)
    assert isinstance(clip, Bad) or clip.shape == case.frames.shape


def test_an_encrypted_member(tmp_path, case):
    write(tmp_path, f"{case.id}.npz", frames=case.frames)
    path = tmp_path / f"{case.id}.npz"
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    clip = read(tmp_path, case)
    assert isinstance(clip, Bad) and "cannot be used" in clip.reason


def test_two_files_for_one_clip_are_refused(tmp_path, case):
    write(tmp_path, f"{case.id}.npz", frames=case.frames)
    (tmp_path / f"{case.id}.gif").write_bytes(b"GIF89a")
    with pytest.raises(VDTError, match="two files for the clip"):
        Folder(tmp_path)


def test_links_out_of_the_folder_are_not_followed(tmp_path, case):
    write(tmp_path / "elsewhere", f"{case.id}.npz", frames=case.frames)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / f"{case.id}.npz").symlink_to(tmp_path / "elsewhere" / f"{case.id}.npz")
    clip = read(tmp_path / "made", case)
    assert isinstance(clip, Bad) and "leads out of the folder" in clip.reason


def test_a_gif_of_another_size_is_not_decoded(tmp_path, case):
    (tmp_path / f"{case.id}.gif").write_bytes(b"GIF89a" + (60000).to_bytes(2, "little") * 2 + b"\x00" * 20)
    clip = read(tmp_path, case)
    assert isinstance(clip, Bad) and "60000 x 60000" in clip.reason


def test_a_folder_is_named_where_it_stands(tmp_path, case, monkeypatch):
    write(tmp_path / "made", f"{case.id}.npz", frames=case.frames)
    monkeypatch.chdir(tmp_path / "made")
    assert Folder(Path()).name == "made"
