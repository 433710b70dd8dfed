"""Label files of Physion: both forms that are about, and what is wrong with others."""

from pathlib import Path

import pytest

from evals.physion.labels import Label, read_labels, scenario_of, stem_of
from vdt_mlx.errors import VDTError

REPOSITORY = (
    "stim_ID,scenario,stim_url,map_url,hdf5_url,correct,label\n"
    "test19_0019,drape,a,b,c,0.74,False\n"
    "pilot_towers_nb2_0001,towers,a,b,c,0.9,True\n"
)
SLOTFORMER = ",ground truth outcome\npilot_it2_collision_box_0000,False\npilot_it2_collision_box_0002,True\n"


def read(tmp_path: Path, text: str | bytes) -> dict[str, Label]:
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_labels(path)


def test_the_two_forms(tmp_path) -> None:
    found = read(tmp_path, REPOSITORY)
    assert found == {
        "test19_0019": Label(False, 0.74, "drape"),
        "pilot_towers_nb2_0001": Label(True, 0.9, "support"),
    }
    found = read(tmp_path, "\ufeff" + SLOTFORMER)
    assert {name: label.contact for name, label in found.items()} == {
        "pilot_it2_collision_box_0000": False,
        "pilot_it2_collision_box_0002": True,
    }


def test_names_of_clips_and_scenarios() -> None:
    for name in ("a_01_img.mp4", "a_01-redyellow_img.mp4", "a_01_map.png", "x/a_01.MP4", "a_01"):
        assert stem_of(name) == "a_01"
    for name in ("Collide", "collision_pilot", "Collide_readout_MP4s", "collide"):
        assert scenario_of(name) == "collide"
    assert scenario_of("my_own") == "my_own"


BAD = {
    "is empty": "",
    "has no labels": ",label\n",
    "no column for the clips' names": "label,other\nTrue,1\n",
    "no column for the answers": "name,other\na,1\n",
    "in line 3: True or False": "name,label\na,1\nb,maybe\n",
    "3 cells in line 2": "name,label\na,1,2\n",
    "a share from 0 to 1": "name,correct,label\na,74,True\n",
    "that there is a contact, and": "name,label\na_img,1\na_map,0\n",
    "no CSV of UTF-8": b"name,label\n\xff\xfe,1\n",
}


@pytest.mark.parametrize(("sentence", "text"), BAD.items())
def test_what_is_no_label_file(tmp_path, sentence, text) -> None:
    with pytest.raises(VDTError, match=sentence):
        read(tmp_path, text)
    with pytest.raises(VDTError, match="no label file"):
        read_labels(tmp_path / "nowhere.csv")
