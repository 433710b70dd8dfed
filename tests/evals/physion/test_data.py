"""Physion's folders: what is taken, what is left out and named, and what ends it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from evals.physion.data import gap, read_core, read_film
from vdt_mlx.errors import VDTError
from vdt_mlx.media.video import write_png


def write_labels(folder: Path, labels: dict[str, bool], name: str = "labels.csv") -> None:
    lines = ["name,label", *(f"{clip},{contact}" for clip, contact in labels.items())]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_all_of_it_or_one_scenario(made_core) -> None:
    clips = read_core(made_core)
    assert {name: len(own) for name, own in clips.scenarios.items()} == {"collide": 12, "odd": 1}
    assert not clips.bad
    for chosen in (read_core(made_core, scenarios=["Collide"]), read_core(made_core / "Collide")):
        assert list(chosen.scenarios) == ["collide"]
        assert chosen.scenarios["collide"][0].name == "pilot_collide_0000"
    with pytest.raises(VDTError, match=r"Unknown scenario 'roll'.*collide, odd, and all"):
        read_core(made_core, scenarios=["roll"])


def test_single_faults_are_named(core) -> None:
    films, maps = core / "Collide" / "mp4s-redyellow", core / "Collide" / "maps"
    (films / "pilot_collide_0000-redyellow_img.mp4").unlink()
    (maps / "pilot_collide_0001_map.png").unlink()
    shutil.copy(films / "pilot_collide_0002-redyellow_img.mp4", films / "stranger_img.mp4")
    clips = read_core(core)
    assert len(clips.scenarios["collide"]) == 10
    assert dict(clips.bad) == {
        "pilot_collide_0000": "has a label, and there is no film of that name",
        "pilot_collide_0001": "has no map in maps/",
        "stranger": "has no label",
    }


def test_a_folder_to_fit_on_needs_no_maps(core, tmp_path) -> None:
    other = tmp_path / "readout"
    (other / "Collide_readout_MP4s").mkdir(parents=True)
    for film in sorted((core / "Collide" / "mp4s-redyellow").iterdir())[:3]:
        shutil.copy(film, other / "Collide_readout_MP4s" / film.name)
    write_labels(other, {f"pilot_collide_{i:04d}": bool(i) for i in range(3)}, "readout_labels.csv")
    clips = read_core(other, maps=False)
    assert [one.name for one in clips.scenarios["collide"]] == [f"pilot_collide_{i:04d}" for i in range(3)]


def _without(core: Path, *names: str) -> None:
    for name in names:
        path = core / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


FAULTS = {
    "no folder maps": lambda core: _without(core, "Collide/maps"),
    "no folder mp4s-redyellow": lambda core: _without(core, "Collide/mp4s-redyellow"),
    "has no label file labels.csv": lambda core: _without(core, "labels.csv"),
    "is not laid out as Physion's Core": lambda core: _without(core, "Collide", "Odd"),
    "has no clip with a film, a map and a label": lambda core: write_labels(core, {"somebody": True}),
}


@pytest.mark.parametrize(("sentence", "damage"), FAULTS.items())
def test_what_is_missing_is_said(core, sentence, damage) -> None:
    damage(core)
    with pytest.raises(VDTError, match=sentence):
        read_core(core)
    with pytest.raises(VDTError, match="There is no folder"):
        read_core(core / "nowhere")


def test_films_are_cut_by_stride_and_held_at_their_end(made_core) -> None:
    film = sorted((made_core / "Collide" / "mp4s-redyellow").iterdir())[0]
    whole = read_film(film, 16, 5, 1, (64, 64))
    assert whole.frames.shape == (16, 64, 64, 3) and whole.held == 0 and whole.side == (64, 64)
    every_third = read_film(film, 8, 5, 3, (64, 64))
    assert every_third.held == 2
    assert (every_third.frames[:6] == whole.frames[::3]).all()
    assert (every_third.frames[6:] == whole.frames[15]).all()
    with pytest.raises(VDTError, match="6 frames at stride 9 are needed, and it has 2"):
        read_film(film, 16, 5, 9, (64, 64))


def test_the_gap_in_a_map(tmp_path) -> None:
    picture = np.full((40, 40, 3), 90, np.uint8)
    picture[10:20, 5:15] = (255, 0, 0)
    picture[10:20, 21:30] = (255, 255, 0)  # six columns lie between
    write_png(tmp_path / "a.png", picture)
    assert gap(tmp_path / "a.png", (40, 40)) == pytest.approx(6 / 40)
    picture[10:20, 15:21] = (255, 0, 0)
    write_png(tmp_path / "b.png", picture)
    assert gap(tmp_path / "b.png", (40, 40)) == 0
    with pytest.raises(VDTError, match="map is 40 x 40 and its film 64 x 48"):
        gap(tmp_path / "a.png", (48, 64))
    write_png(tmp_path / "c.png", np.where(picture[:, :, 1:2] == 255, 0, picture).astype(np.uint8))
    with pytest.raises(VDTError, match="no patient"):
        gap(tmp_path / "c.png", (40, 40))
    (tmp_path / "d.png").write_bytes(b"no picture")
    with pytest.raises(VDTError):
        gap(tmp_path / "d.png", (40, 40))
