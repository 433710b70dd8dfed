"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_folder, atomic_path, atomic_update, user_path


def test_a_file_is_replaced_only_by_success(tmp_path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with atomic_path(path) as partial:
        partial.write_text("one")
        assert not path.exists()
        assert partial.suffix == ".txt"
    for interruption in (ValueError, KeyboardInterrupt):
        with pytest.raises(interruption), atomic_path(path) as partial:
            partial.write_text("two")
            raise interruption
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_replaced_only_by_success(tmp_path) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as partial:
        (partial / "a").write_text("one")
    with pytest.raises(FileExistsError), atomic_folder(path):
        pass
    with pytest.raises(ValueError), atomic_folder(path, replace=True) as partial:
        (partial / "b").write_text("two")
        raise ValueError
    assert [item.name for item in path.iterdir()] == ["a"]
    with atomic_folder(path, replace=True) as partial:
        (partial / "c").write_text("three")
    assert [item.name for item in path.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_readable_by_others_as_any_new_file(tmp_path) -> None:
    with atomic_path(tmp_path / "atomic") as partial:
        partial.write_text("")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("kind", [atomic_path, atomic_folder])
def test_no_folder_is_left_behind(kind, tmp_path):
    with pytest.raises(ValueError, match="stop"), kind(tmp_path / "a" / "b" / "c"):
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="stop"), kind(tmp_path / "a" / "b" / "c"):
        raise ValueError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and list((tmp_path / "a").iterdir()) == []


OWNED = ("a", "frames", "gone")


def old_results(folder):
    folder.mkdir()
    (folder / "a").write_text("old")
    (folder / "gone").write_text("old")
    (folder / "frames").mkdir()
    (folder / "frames" / "0").write_text("old")
    (folder / "notes").write_text("mine")


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_results_are_replaced_together(tmp_path) -> None:
    old_results(tmp_path / "out")
    with atomic_update(tmp_path / "out", OWNED) as partial:
        (partial / "a").write_text("new")
        (partial / "frames").mkdir()
        (partial / "frames" / "1").write_text("new")
    assert content(tmp_path / "out") == {"a": "new", "frames": None, "frames/1": "new", "notes": "mine"}
    with atomic_update(tmp_path / "deep" / "out", OWNED) as partial:
        (partial / "a").write_text("new")
    assert content(tmp_path / "deep" / "out") == {"a": "new"}


@pytest.mark.parametrize("failure", [*range(5), None])
def test_a_failure_anywhere_leaves_the_old_results_whole(tmp_path, monkeypatch, failure) -> None:
    old_results(tmp_path / "out")
    before = content(tmp_path / "out")
    real, calls = Path.replace, []

    def replace(self, target):
        calls.append(target)
        if len(calls) == (failure or 0) + 1 and failure is not None:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError), atomic_update(tmp_path / "out", OWNED) as partial:
        (partial / "a").write_text("new")
        (partial / "b").write_text("new")
        if failure is None:
            raise OSError(28, "No space left on device")
    assert content(tmp_path / "out") == before


def test_paths_as_people_write_them(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/films") == Path("/home/me/films")
    assert user_path("~") == Path("/home/me")
    for same in ("a/~/b", "./~x", "a~", "/x/y", "films/1"):
        assert user_path(same) == Path(same)
    for bad in ("", "a\0b", "caf\udce9", "~nobody9/x"):
        with pytest.raises(VDTError) as caught:
            user_path(bad)
        str(caught.value).encode("utf-8")


@pytest.mark.parametrize("text", ["https://example.com/a.mp4", "s3://bucket/a.pt", "file:///tmp/a.npz", "HTTP://x"])
def test_an_address_is_no_path(text) -> None:
    with pytest.raises(VDTError, match="is an address, not a path"):
        user_path(text)
    assert user_path("a:b/12:30.mp4") == Path("a:b/12:30.mp4")
