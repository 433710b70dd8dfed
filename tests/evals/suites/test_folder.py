"""Suites of one's own clips: labels of every kind give one truth, and what cannot be is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evals.physics import results
from evals.physics.examiner import Examiner, Settings
from evals.predictors import Code
from evals.scoring import metrics
from evals.suites.folder import FolderSuite
from evals.suites.labels import polygon_area, polygon_centroid, read_label
from vdt_mlx.errors import VDTError
from vdt_mlx.marked import parse_colours

RED, YELLOW = (220, 50, 47), (250, 200, 40)


@pytest.fixture
def clip(discs, drawing, straight):
    """Two discs that move apart: (frames, labels, paths)."""
    paths = [straight((14, 20), (1.5, 0.5)), straight((48, 44), (0.4, -0.6))]
    frames, labels = drawing([discs(RED, 6, paths[0]), discs(YELLOW, 5, paths[1])], 16)
    return frames, labels, paths


def write(folder: Path, name: str, film, objects, **more) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    np.savez_compressed(folder / f"{name}.npz", frames=film)
    (folder / f"{name}.json").write_text(json.dumps({"objects": objects, **more}))
    return folder


def objects_of(paths, **more):
    return [
        {"name": "red", "role": "agent", "positions": paths[0].tolist(), **more},
        {"name": "yellow", "role": "patient", "positions": paths[1].tolist(), **more},
    ]


def shapes(kind, clip, folder):
    """The same clip labelled in different ways."""
    frames, labels, paths = clip
    objects, more = objects_of(paths), {}
    if kind == "discs":
        objects[0]["radius"], objects[1]["radius"] = 6, 5
    elif kind == "polygon":
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        for thing, radius in zip(objects, (6, 5), strict=True):
            thing["polygon"] = (radius * np.stack([np.cos(turn), np.sin(turn)], -1)).tolist()
    elif kind == "polygons":
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        for thing, radius in zip(objects, (6, 5), strict=True):
            around = radius * np.stack([np.cos(turn), np.sin(turn)], -1)
            thing["polygons"] = [(around + place).tolist() for place in np.array(thing.pop("positions"))]
    elif kind == "colours":
        objects[0]["colour"], objects[1]["color"] = "#dc322f", list(YELLOW)
    elif kind == "map":
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((labels[0] + 1).astype(np.uint8)).save(folder / "first.png")
        more["map"] = "first.png"
    return write(folder, "one", frames, objects, **more)


@pytest.mark.parametrize("kind", ["discs", "polygon", "polygons", "colours", "map"])
def test_every_kind_of_label_gives_the_same_truth(tmp_path, clip, kind):
    suite = FolderSuite(shapes(kind, clip, tmp_path / "mine"), given=8)
    (group,) = suite.groups
    case = suite.case(group, 0, 8)
    truth = case.truth
    assert (case.id, case.group, suite.frames, suite.size) == ("one", "mine", 16, 64)
    np.testing.assert_allclose(truth.position, np.stack(clip[2], 1), atol=0.02)
    assert truth.visible.all() and (truth.agent, truth.patient) == (0, 1)
    error = metrics.displacement(truth.position, truth.tracked.position, truth.visible)
    assert np.nanmean(error) < 0.15
    assert (case.frames == clip[0]).all()


def test_examined_from_end_to_end(tmp_path, clip):
    folder = shapes("discs", clip, tmp_path / "mine")
    frames, _, paths = clip
    objects = objects_of(paths, radius=5)
    write(folder / "other", "two", frames, objects, contact=False)
    write(folder, "cut", frames[:1], objects)
    settings = Settings(suite=str(folder), models=(), clips=5)
    code = Code(lambda given: np.repeat(given[-1:], 16 - len(given), 0), "still")
    body = Examiner(settings, [code]).run(tmp_path / "out", resume=False)
    assert body is not None
    rows = {(r["predictor"], r["scenario"], r["metric"]): r["mean"] for r in body["rows"]}
    assert rows["constant_velocity", "suite", "ade"] < 0.2 < rows["still", "suite", "ade"]
    assert rows["still", "other", "contact"] == 1 and ("still", "mine", "contact") not in rows
    assert {p["name"] for p in body["predictors"]}.isdisjoint({"simulator", "nearest", "majority"})
    assert [(b["clip"], b["predictor"]) for b in body["bad"]] == [("cut", "suite")]
    assert list(body["suite"]["clips"]) == ["mine", "other"] and body["suite"]["clips"]["other"] == ["other-two"]
    assert Examiner(settings, [code]).run(tmp_path / "out", resume=True) is not None
    (folder / "one.json").write_text((folder / "one.json").read_text() + "\n")
    with pytest.raises(VDTError, match="the files of the suite"):
        Examiner(settings, [code]).run(tmp_path / "out", resume=True)


def test_the_command_takes_a_suite_and_refuses_what_does_nothing(tmp_path, clip):
    from click.testing import CliRunner

    from evals.physics.cli import physics

    folder = shapes("discs", clip, tmp_path / "mine")

    def run(*arguments):
        return CliRunner().invoke(physics, [*arguments, "--baselines-only", "--out", str(tmp_path / "out")])

    result = run("--suite", str(folder))
    assert result.exit_code == 0 and "the whole suite" in result.output and "In distribution" not in result.output
    assert results.read(tmp_path / "out")["settings"]["suite"] == str(folder)
    assert "How well" in (tmp_path / "out" / "report.html").read_text()
    for options, words in (
        (["--suite", str(folder), "--world", "1"], "--world"),
        (["--suite", str(folder), "--given", "16"], "1 to 15"),
        (["--suite", str(folder), "--scenario", "x"], "Unknown group 'x'"),
        (["--suite", str(folder), "--frames", "40"], "40 frames"),
        (["--colours", "a=#000000"], "--suite"),
        (["--suite", str(tmp_path / "nowhere")], "no suite folder"),
    ):
        said = run(*options)
        assert isinstance(said.exception, VDTError) and words in str(said.exception)


def test_what_is_hidden_or_outside_is_seen_in_part(tmp_path, discs, drawing):
    over = np.repeat([[30.0, 32.0]], 16, 0)
    under = np.stack([np.linspace(20, 44, 16), np.full(16, 32.0)], 1)
    leaves = np.stack([np.full(16, 50.0), np.linspace(50, 66, 16)], 1)
    frames, _ = drawing([discs((60, 110, 200), 4, under), discs(YELLOW, 5, leaves), discs(RED, 6, over)], 16)
    objects = [
        {"name": "under", "positions": under.tolist(), "radius": 4, "role": "other"},
        {"name": "leaves", "positions": leaves.tolist(), "radius": 5, "role": "other"},
        {"name": "over", "positions": over.tolist(), "radius": 6, "role": "agent"},
    ]
    suite = FolderSuite(write(tmp_path, "x", frames, objects), given=4)
    truth = suite.case(suite.groups[0], 0, 4).truth
    assert truth.whole[:, 2].all() and truth.whole[0, 0] and not truth.whole[5, 0]
    assert not truth.visible[6, 0] and truth.visible[-1, 0]
    assert truth.whole[0, 1] and not truth.whole[-1, 1]
    assert truth.position[-2, 1, 1] < leaves[-2, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda o: o.clear(), "no objects"),
        (lambda o: o[0].pop("positions"), "neither positions nor polygons"),
        (lambda o: o[0].update(positions=[[1, 2, 3]] * 16), "not \\[x, y\\]"),
        (lambda o: o[0].update(positions=[[1, 2]] * 9), "9 and with 16 frames"),
        (lambda o: o[0].update(positions="there"), "not as it should be"),
        (lambda o: o[0].update(positions=[[900, 2]] * 16), "outside the picture"),
        (lambda o: o[0].update(positions=[None] * 16), "cannot be seen"),
        (lambda o: o[0].update(radius=-2), "radius"),
        (lambda o: o[0].update(radius="big"), "not as it should be"),
        (lambda o: o[0].update(polygon=[[0, 0], [1, 1]]), "polygon"),
        (lambda o: o[0].update(polygon=[[0, 0], [1, 1], [2, 2]]), "without an area"),
        (lambda o: o[0].update(role="hero"), "the role 'hero'"),
        (lambda o: o[1].update(role="agent"), "2 objects in the role of agent"),
        (lambda o: o[1].update(name="red"), "two objects of one name"),
        (lambda o: o[0].update(colour="red"), "colour 'red'"),
        (lambda o: o[0].update(mass=0), "mass"),
        (lambda o: o.extend([dict(o[0], name=str(i), role="other") for i in range(60)]), "50 are the most"),
        (lambda o: o.__setitem__(0, 3), "not as it should be"),
    ],
)
def test_labels_that_cannot_be(tmp_path, clip, change, words):
    objects = objects_of(clip[2], radius=5)
    change(objects)
    with pytest.raises(VDTError, match=words):
        FolderSuite(write(tmp_path, "x", clip[0], objects), given=8)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"frames": "gone.mp4"}, "not there"),
        ({"frames": "../outside.npz"}, "not in its folder"),
        ({"frames": "/etc/passwd"}, "not in its folder"),
        ({"map": "small.png"}, "32 x 32"),
        ({"map": "many.png"}, "the number 9"),
        ({"map": "colour.png"}, "no picture of whole numbers"),
        ({"map": "x.json"}, "cannot be read"),
        ({"contact": "yes"}, "true, false"),
        ({"contact_time": 99}, "contact_time 99"),
        ({"fps": 0}, "fps 0"),
    ],
)
def test_clips_that_cannot_be_used(tmp_path, clip, more, words):
    folder = tmp_path / "suite"
    folder.mkdir()
    np.savez(tmp_path / "outside.npz", frames=clip[0])
    Image.new("L", (32, 32)).save(folder / "small.png")
    Image.new("L", (64, 64), 9).save(folder / "many.png")
    Image.new("RGB", (64, 64), 9).save(folder / "colour.png")
    write(folder, "x", clip[0], objects_of(clip[2], radius=5), **more)
    with pytest.raises(VDTError, match=words):
        FolderSuite(folder, given=8)


def test_files_that_are_no_clips(tmp_path, clip):
    with pytest.raises(VDTError, match="no labelled clip"):
        FolderSuite(tmp_path)
    folder = write(tmp_path, "x", clip[0], objects_of(clip[2], radius=5))
    (folder / "x.npz").write_bytes(b"PK cut")
    with pytest.raises(VDTError, match="x: "):
        FolderSuite(folder, given=8)
    (folder / "x.json").write_text("[" * 9999)
    with pytest.raises(VDTError, match="nested"):
        FolderSuite(folder, given=8)


def test_sizes_and_lengths_that_differ_are_named(tmp_path, clip):
    frames, _, paths = clip
    objects = objects_of(paths, radius=5)
    for name in "ab":
        write(tmp_path, name, frames, objects)
    write(tmp_path, "long", np.concatenate([frames, frames[-1:]]), objects)
    write(tmp_path, "large", frames.repeat(2, 1).repeat(2, 2), objects)
    write(tmp_path, "short", frames[:12], objects)
    suite = FolderSuite(tmp_path, frames=16, given=8)
    assert suite.frames == 16 and suite.size == 64 and suite.count(suite.groups[0], 99) == 3
    assert {name for name, _ in suite.bad} == {"large", "short"}


def test_colours_by_name_and_role(tmp_path, clip):
    folder = write(tmp_path, "x", clip[0], objects_of(clip[2]))
    colours = parse_colours("agent=#dc322f, yellow=#fac828")
    assert read_label(folder / "x.json", colours).things[1].colour == YELLOW
    suite = FolderSuite(folder, given=8, colours=colours)
    assert suite.case(suite.groups[0], 0, 8).colours == [RED, YELLOW]
    for text in ("agent", "agent=red", "=#000000"):
        with pytest.raises(VDTError, match="colours"):
            parse_colours(text)


def test_polygons_in_closed_form():
    corners = np.array([[0, 0], [4, 0], [4, 2], [0, 2]], float)
    assert polygon_area(corners) == 8 and polygon_centroid(corners) == (2, 1)
    assert polygon_area(corners[::-1]) == -8 and polygon_centroid(corners[::-1]) == (2, 1)
