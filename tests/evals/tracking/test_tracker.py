"""The tracker against discs drawn by hand, whose places are known exactly."""

import io

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from evals.tracking.tracker import Tracker
from evals.tracking.tracks import outline_gap
from vdt_mlx.errors import VDTError

RED, YELLOW, BLUE, GREEN = (220, 50, 47), (250, 200, 40), (60, 110, 200), (90, 160, 90)
GIVEN = 8


def follow(drawing, discs, time=16, change=None, size=64):
    frames, labels = drawing(discs, time, size)
    tracker = Tracker(frames[:GIVEN], labels[:GIVEN], [str(n) for n in range(len(discs))])
    shown = frames if change is None else np.concatenate([frames[:GIVEN], change(frames[GIVEN:])])
    return tracker.track(shown)


def errors(tracks, discs):
    truth = np.stack([disc.path for disc in discs], 1)
    return np.hypot(*np.moveaxis(tracks.position - truth, -1, 0))


@pytest.fixture
def scene(discs, straight):
    return [
        discs(RED, 5.3, straight((10, 10), (2.3, 0.2))),
        discs(YELLOW, 6.1, straight((52, 34), (-1.1, -0.3))),
        discs(BLUE, 4.4, straight((20, 50), (1.3, -0.2))),
    ]


def test_positions_far_below_a_pixel(drawing, scene):
    tracks = follow(drawing, scene)
    assert errors(tracks, scene).max() < 0.03
    assert (tracks.copies == 1).all()
    assert (tracks.strange == 0).all()


@pytest.mark.parametrize("size", [32, 96])
def test_other_sizes_of_frame(drawing, discs, straight, size):
    scale = size / 64
    scene = [discs(RED, 6 * scale, straight((12 * scale, 30 * scale), (1.7 * scale, 0.3 * scale)))]
    assert errors(follow(drawing, scene, size=size), scene).max() < 0.05


def jpeg(frames):
    from PIL import Image

    out = []
    for frame in frames:
        data = io.BytesIO()
        Image.fromarray(frame).save(data, "JPEG", quality=75)
        out.append(np.asarray(Image.open(data).convert("RGB")))
    return np.stack(out)


@pytest.mark.parametrize(("name", "limit"), [("blur", 0.1), ("noise", 0.25), ("compression", 0.3), ("darker", 0.1)])
def test_degraded_frames(drawing, scene, name, limit):
    generator = np.random.default_rng(0)
    change = {
        "blur": lambda f: gaussian_filter(f, (0, 1.2, 1.2, 0)),
        "noise": lambda f: np.clip(f + generator.normal(0, 10, f.shape), 0, 255).astype(np.uint8),
        "compression": jpeg,
        "darker": lambda f: (f * 0.95).astype(np.uint8),
    }[name]
    tracks = follow(drawing, scene, change=change)
    assert errors(tracks, scene)[GIVEN:].mean() < limit
    assert (tracks.copies == 1).all()


def test_says_absent(drawing, discs, straight):
    path = straight((10, 20), (2, 0))
    path[10:] = np.nan
    tracks = follow(drawing, [discs(RED, 5, path), discs(YELLOW, 6, straight((50, 40), (0, 0)))])
    assert tracks.present[:10].all()
    assert (tracks.copies[10:, 0] == 0).all() and np.isnan(tracks.position[10:, 0]).all()
    assert tracks.present[:, 1].all()


@pytest.mark.parametrize(("opacity", "present"), [(0.6, True), (0.25, False)])
def test_a_ghost_is_absent_and_a_pale_object_is_not(drawing, discs, straight, opacity, present):
    scene = [discs(RED, 5, straight((10, 20), (2, 0)))]
    frames, labels = drawing(scene, 16)
    scene[0].opacity = opacity
    faded, _ = drawing(scene, 16)
    tracks = Tracker(frames[:8], labels[:8], ["a"]).track(np.concatenate([frames[:8], faded[8:]]))
    assert (tracks.present[8:, 0] == present).all()
    if present:
        assert errors(tracks, scene).max() < 0.1


def test_says_two_of_them_and_keeps_to_the_one_that_continues(drawing, discs, straight):
    scene = [discs(RED, 5, straight((10, 20), (2, 0)))]
    twin = [*scene, discs(RED, 4.5, straight((45, 50), (-1, 0)))]
    frames, labels = drawing(scene, 16)
    doubled, _ = drawing(twin, 16)
    tracks = Tracker(frames[:8], labels[:8], ["a"]).track(np.concatenate([frames[:8], doubled[8:]]))
    assert (tracks.copies[8:, 0] == 2).all() and (tracks.copies[:8, 0] == 1).all()
    assert errors(tracks, scene).max() < 0.05


def test_objects_that_touch(drawing, discs, straight):
    scene = [
        discs(RED, 5, straight((12, 20), (1.5, 0))),
        discs(YELLOW, 6, straight((12 + 11, 20), (1.5, 0))),
        discs(BLUE, 5, straight((12, 20 + 10), (1.5, 0))),
    ]
    tracks = follow(drawing, scene)
    assert errors(tracks, scene).max() < 0.08
    assert np.abs(tracks.gap(0, 1)).max() < 0.3


def test_leaving_the_view_gives_the_visible_centroid_and_then_absence(drawing, discs, straight):
    scene = [discs(RED, 6, straight((40, 20), (2.6, 0)))]
    tracks = follow(drawing, scene)
    x = scene[0].path[:, 0]
    assert errors(tracks, scene)[x + 6 < 64].max() < 0.03
    partly = (x < 64) & (x + 6 > 64)
    assert (tracks.position[partly, 0, 0] < x[partly]).all()
    assert (tracks.copies[x - 6 > 64, 0] == 0).all()


def test_passing_behind_another_object(drawing, discs, straight):
    scene = [discs(RED, 4, straight((14, 30), (2.4, 0))), discs(YELLOW, 6, straight((40, 30), (0, 0)))]
    tracks = follow(drawing, scene)
    hidden = np.abs(scene[0].path[:, 0] - 40) < 1.5
    clear = np.abs(scene[0].path[:, 0] - 40) > 10
    assert hidden.any() and not tracks.present[hidden, 0].any()
    assert errors(tracks, scene)[clear, 0].max() < 0.03 and errors(tracks, scene)[:, 1].max() < 0.03


def test_objects_of_one_colour_keep_their_names_when_they_meet(drawing, discs, straight):
    scene = [
        discs(GREEN, 5, straight((10, 20), (2.4, 0.4))),
        discs(GREEN, 5, straight((54, 20), (-2.4, 0.4))),
        discs(GREEN, 4, straight((30, 55), (0, 0))),
    ]
    apart = np.abs(scene[0].path[:, 0] - scene[1].path[:, 0]) > 12
    tracks = follow(drawing, scene)
    assert errors(tracks, scene)[apart].max() < 0.05
    assert errors(tracks, scene)[:, 2].max() < 0.05
    assert apart[-1] and tracks.present.sum() >= tracks.present.size - 4


def test_a_repainted_object_is_followed_and_its_change_measured(drawing, discs, straight):
    scene = [discs(RED, 5, straight((10, 20), (2, 0)))]
    frames, labels = drawing(scene, 16)
    tracker = Tracker(frames[:8], labels[:8], ["a"])
    green, _ = drawing([discs(GREEN, 5, scene[0].path)], 16)
    tracks = tracker.track(np.concatenate([frames[:8], green[8:]]))
    assert tracks.present.all() and errors(tracks, scene).max() < 0.3
    assert (tracks.colour_shift[8:] > 100).all() and (tracks.strange[8:] > 40).all()
    pale, _ = drawing([discs((215, 80, 60), 5, scene[0].path)], 16)
    tracks = tracker.track(np.concatenate([frames[:8], pale[8:]]))
    assert tracks.present.all()
    np.testing.assert_allclose(tracks.colour_shift[8:, 0], np.hypot(5, np.hypot(30, 13)), atol=3)


def test_something_new_elsewhere_is_not_taken_for_a_vanished_object(drawing, discs, straight):
    scene = [discs(RED, 5, straight((10, 20), (2, 0)))]
    frames, labels = drawing(scene, 16)
    other, _ = drawing([discs(GREEN, 5, straight((10, 48), (2, 0)))], 16)
    tracks = Tracker(frames[:8], labels[:8], ["a"]).track(np.concatenate([frames[:8], other[8:]]))
    assert not tracks.present[8:].any() and (tracks.strange[8:] > 40).all()


def test_an_object_that_takes_the_colour_of_another_is_itself_and_not_a_copy(drawing, discs, straight):
    scene = [discs(RED, 5, straight((10, 20), (2, 0))), discs(YELLOW, 5, straight((50, 45), (-1, 0)))]
    frames, labels = drawing(scene, 16)
    red, _ = drawing([scene[0], discs(RED, 5, scene[1].path)], 16)
    tracks = Tracker(frames[:8], labels[:8], ["a", "b"]).track(np.concatenate([frames[:8], red[8:]]))
    assert (tracks.copies == 1).all()
    assert errors(tracks, scene).max() < 0.3
    assert (tracks.colour_shift[8:, 1] > 100).all() and (tracks.colour_shift[8:, 0] < 5).all()


def test_angle_of_a_long_object():
    y, x = np.mgrid[:512, :512] / 8 + 1 / 16
    frames, labels = [], []
    for t in range(12):
        turn = 0.15 * t
        along = (x - 32) * np.cos(turn) - (y - 32) * np.sin(turn)
        across = (x - 32) * np.sin(turn) + (y - 32) * np.cos(turn)
        inside = (np.abs(along) < 12) & (np.abs(across) < 4)
        image = np.where(inside[..., None], BLUE, (230, 230, 230)).astype(float)
        frames.append(image.reshape(64, 8, 64, 8, 3).mean((1, 3)).round().astype(np.uint8))
        labels.append(np.where(inside, 0, -1)[4::8, 4::8])
    frames, labels = np.stack(frames), np.stack(labels)
    tracks = Tracker(frames[:8], labels[:8], ["plank"]).track(frames)
    np.testing.assert_allclose(tracks.angle[:, 0], 0.15 * np.arange(12), atol=0.01)


def test_outline_gap_below_a_pixel(drawing, discs, straight):
    scene = [discs(RED, 5, straight((10, 20), (0, 0))), discs(YELLOW, 6, straight((36, 20), (-0.9, 0)))]
    tracks = follow(drawing, scene)
    np.testing.assert_allclose(tracks.gap(0, 1), 15 - 0.9 * np.arange(16), atol=0.25)
    assert np.isnan(outline_gap(np.zeros((1, 4, 4)), np.ones((1, 4, 4)))).all()


def test_unseen_objects_are_absent(drawing, scene):
    frames, labels = drawing(scene, 16)
    tracks = Tracker(frames[:8], labels[:8], ["a", "b", "c", "never shown"]).track(frames)
    assert not tracks.present[:, 3].any() and tracks.present[:, :3].all()


def test_wrong_shapes_are_refused(drawing, scene):
    frames, labels = drawing(scene, 16)
    with pytest.raises(VDTError, match="shape"):
        Tracker(frames[:8], labels[:7], ["a"])
    with pytest.raises(VDTError, match="uint8"):
        Tracker(frames[:8].astype(float), labels[:8], ["a"])
    with pytest.raises(VDTError, match="uint8"):
        Tracker(frames[:8], labels[:8], ["a", "b", "c"]).track(frames[:, :32])
