"""Pictures against geometry: areas, centres, turning, masks, resolutions."""

import math
from itertools import pairwise

import numpy as np
import pytest

import physics_sim
from physics_sim import rendering, shapes
from physics_sim.errors import SimulationError
from physics_sim.scene import Body, Part, Scene, agent, fixture
from physics_sim.units import AGENT_COLOUR, BACKGROUNDS, PATIENT_COLOUR

RED = np.array(AGENT_COLOUR, float)


def share(frame: np.ndarray) -> np.ndarray:
    """How much of each pixel is the agent's colour over the background."""
    paper = np.array(BACKGROUNDS[0], float)
    return ((frame - paper) @ (RED - paper)) / ((RED - paper) @ (RED - paper))


@pytest.mark.parametrize("kind", shapes.KINDS)
@pytest.mark.parametrize("size", [64, 128])
def test_a_shape_covers_its_area_and_is_centred_on_itself(kind: str, size: int) -> None:
    shape = shapes.of_kind(kind, 0.9)
    body = Body("agent", "agent", (Part((shape,), (4.37, 5.61), 0.4), Part((shape,), (20.0, 20.0))), AGENT_COLOUR)
    frame = physics_sim.render(Scene((body,)), size)[0]
    covered = share(frame)
    assert covered.sum() * (10 / size) ** 2 == pytest.approx(shape.area, rel=0.02)
    rows, columns = np.indices(covered.shape) + 0.5
    centre = (covered * columns).sum() / covered.sum(), (covered * rows).sum() / covered.sum()
    truth = rendering.to_pixels(np.array([4.37, 5.61]), size)
    assert np.allclose(centre, truth, atol=0.05)


def test_edges_are_smooth() -> None:
    frame = physics_sim.render(Scene((agent(shapes.box(2.0, 2.0), (5.0, 5.04)),)), 100)[0]
    column = share(frame)[:, 50]
    # The upper edge is at y = 6.04: row 39 (y from 6.0 to 6.1) is covered by 0.4.
    assert column[39] == pytest.approx(0.4, abs=0.02) and column[40] == pytest.approx(1, abs=0.01)
    assert column[59] == pytest.approx(0.6, abs=0.02) and column[60] == pytest.approx(0, abs=0.01)


def test_balls_show_that_they_turn_and_their_mark_does_not_shift_their_centre() -> None:
    frames = [physics_sim.render(Scene((agent(shapes.Circle(1.0), (5.0, 5.0), a),)), 64)[0] for a in (0, 0.5, 1.2)]
    assert all((a != b).any() for a, b in pairwise(frames))
    rows, columns = np.indices((64, 64)) + 0.5
    for frame in frames:
        dark = np.abs(frame - 0.68 * RED).sum(axis=-1) < 30
        assert dark.sum() >= 8
        assert abs(columns[dark].mean() - 32) < 0.3 and abs(rows[dark].mean() - 32) < 0.3


@pytest.mark.parametrize("place", [(-0.4, 5.0), (5.0, 10.3), (9.9, 0.1), (-9.0, 5.0), (5.0, 300.0)])
def test_shapes_at_and_beyond_the_border(place: tuple[float, float]) -> None:
    frame = physics_sim.render(Scene((agent(shapes.box(1.5, 1.5), place),)), 64)[0]
    inside = [max(0.0, min(10, p + 0.75) - max(0, p - 0.75)) for p in place]
    assert share(frame).sum() * (10 / 64) ** 2 == pytest.approx(inside[0] * inside[1], abs=0.02)


def test_things_in_front_hide_things_behind() -> None:
    wall = fixture("wall", (shapes.box(4.0, 4.0),), (5.0, 5.0), (100, 110, 120))
    scene = Scene((agent(shapes.Circle(1.0), (5.0, 5.0)), wall))
    frame = physics_sim.render(scene, 64)[0]
    assert (frame[26:38, 32] == AGENT_COLOUR).all(axis=-1).sum() >= 8
    assert tuple(frame[24, 24]) == (100, 110, 120)


@pytest.mark.parametrize("scenario", [*physics_sim.SCENARIOS, *physics_sim.LAWS])
def test_masks_agree_with_the_picture(scenario: str) -> None:
    clip = physics_sim.make_clip(scenario, "train", 2)
    masks, frames, centres = clip.masks(), clip.frames, clip.pixels()
    assert masks.shape == (16, 64, 64) and masks.max() <= len(clip.bodies)
    for number, body in enumerate(clip.bodies):
        if body.role not in ("agent", "patient"):
            continue
        mask = masks == number + 1
        assert mask.any(axis=(1, 2)).all()
        inner = mask[:, 1:-1, 1:-1] & mask[:, :-2, 1:-1] & mask[:, 2:, 1:-1] & mask[:, 1:-1, :-2] & mask[:, 1:-1, 2:]
        colours = frames[:, 1:-1, 1:-1][inner].astype(float)
        reds = np.abs(colours / np.array(body.colour)).mean(axis=1)
        assert (reds > 0.6).all() and (reds < 1.01).all()
        if len(body.parts) == 1:
            rows, columns = np.indices((64, 64)) + 0.5
            area = mask[0].sum()
            found = np.array([(columns * mask[0]).sum() / area, (rows * mask[0]).sum() / area])
            assert np.abs(found - centres[0, number]).max() < 0.6
    assert clip.masks(128).shape == (16, 128, 128)


def test_only_agent_and_patient_have_their_colours() -> None:
    from physics_sim.units import DISTRACTOR_COLOURS, STATIC_COLOURS

    for other in (*BACKGROUNDS, *DISTRACTOR_COLOURS, *STATIC_COLOURS):
        assert all(math.dist(other, colour) > 100 for colour in (AGENT_COLOUR, PATIENT_COLOUR))


def test_a_clip_looks_the_same_at_every_resolution() -> None:
    clip = physics_sim.make_clip("link", "train", 0)
    small = clip.frames.astype(float)
    for size in (128, 256):
        step = size // 64
        large = clip.render(size).reshape(16, 64, step, 64, step, 3).mean(axis=(2, 4))
        assert np.abs(large - small).mean() < 0.4


@pytest.mark.parametrize("size", [0, -64, 7, 100000, 64.0, "64", None, True])
def test_sizes_that_cannot_be(size: object) -> None:
    with pytest.raises(SimulationError, match="resolution"):
        physics_sim.make_clip("uniform", size=size)  # type: ignore[arg-type]
    with pytest.raises(SimulationError):
        physics_sim.render("collide")  # type: ignore[arg-type]
