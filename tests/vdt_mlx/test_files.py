"""Files appear whole or not at all."""

import pytest

from vdt_mlx.files import atomic_folder, atomic_path


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
