"""The world against closed forms: what moves must move as mechanics says, to fractions of a pixel."""

import math

import numpy as np
import pytest

import physics_sim
from physics_sim import shapes
from physics_sim.errors import SimulationError
from physics_sim.scene import Body, Joint, Part, Scene, agent, fixture, patient
from physics_sim.units import AGENT_COLOUR, FRAME_TIME, FRAMES, GRAVITY, SUBSTEPS, WORLD
from physics_sim.world import simulate

PIXEL = WORLD / 64
TIMES = np.arange(FRAMES) * FRAME_TIME
GREY = (120, 120, 120)
SMOOTH = {"elasticity": 1.0, "friction": 0.0}


def floor(top: float = 1.0) -> Body:
    return fixture("ground", (shapes.box(40, 4),), (5, top - 2), GREY)


def energy(velocity: np.ndarray, mass: np.ndarray) -> np.ndarray:
    return 0.5 * (mass * (velocity**2).sum(axis=-1)).sum(axis=-1)


@pytest.mark.parametrize("index", range(6))
def test_a_parabola_is_exact(index: int) -> None:
    clip = physics_sim.make_clip("parabola", "train", index, world=1)
    (x, y), (vx, vy) = clip.position[0, 0], clip.velocity[0, 0]
    truth = np.stack([x + vx * TIMES, y + vy * TIMES - 0.5 * GRAVITY * TIMES**2], axis=-1)
    assert np.abs(clip.position[:, 0] - truth).max() < 0.01 * PIXEL
    speed = np.stack([np.full(FRAMES, vx), vy - GRAVITY * TIMES], axis=-1)
    assert np.abs(clip.velocity[:, 0] - speed).max() < 1e-9


def test_free_flight_is_exact_beside_things_that_touch() -> None:
    """With a contact in the scene every substep is taken, and the flight of the other must not notice."""
    bouncing = Body("other", "distractor", (Part((shapes.Circle(0.5),), (8, 1.5)),), GREY)
    thrown = agent(shapes.box(1.0, 0.6), (1.5, 4.0)).moving((3.0, 3.5), 2.0)
    run = simulate(Scene((floor(), bouncing, thrown)))
    truth = np.stack([1.5 + 3.0 * TIMES, 4.0 + 3.5 * TIMES - 0.5 * GRAVITY * TIMES**2], axis=-1)
    assert any(contact.bodies == ("ground", "other") for contact in run.contacts)
    assert np.abs(run.position[:, 2] - truth).max() < 0.01 * PIXEL
    assert np.abs(run.velocity[:, 2, 1] - (3.5 - GRAVITY * TIMES)).max() < 1e-9
    assert np.abs(run.angle[:, 2] - 2.0 * TIMES).max() < 1e-9


@pytest.mark.parametrize("index", range(8))
def test_a_head_on_collision_is_elastic(index: int) -> None:
    clip = physics_sim.make_clip("collision", "train", index, world=1)
    mass = np.array([body.mass for body in clip.bodies])
    radius = [body.shape["radius"] for body in clip.bodies]
    before, after = clip.velocity[0, :, 0], clip.velocity[-1, :, 0]
    momentum = (mass * clip.velocity[..., 0]).sum(axis=1)
    assert np.abs(momentum - momentum[0]).max() < 1e-6
    kinetic = energy(clip.velocity, mass)
    assert np.abs(kinetic / kinetic[0] - 1).max() < 1e-4
    centre = (mass * before).sum() / mass.sum()
    assert np.allclose(after, 2 * centre - before, atol=1e-6)
    gap = abs(clip.position[0, 0, 0] - clip.position[0, 1, 0]) - sum(radius)
    assert abs(clip.contact_time - gap / abs(before[0] - before[1]) / FRAME_TIME) < 0.01
    assert mass[0] / mass[1] == pytest.approx((radius[0] / radius[1]) ** 2)


@pytest.mark.parametrize("offset", [-0.9, -0.3, 0.5, 1.1])
def test_an_oblique_collision_conserves_momentum_and_energy(offset: float) -> None:
    one = patient(shapes.Circle(0.8), (7.0, 5.0), density=2.0, **SMOOTH).moving((-2.0, 0.4))
    two = agent(shapes.Circle(0.6), (2.5, 5.0 + offset), **SMOOTH).moving((3.0, 0.1))
    scene = Scene((one, two), gravity=0.0)
    run = simulate(scene)
    assert not math.isnan(run.touch)
    mass = np.array([body.mass for body in scene.bodies])
    momentum = (mass[:, None] * run.velocity).sum(axis=1)
    kinetic = energy(run.velocity, mass)
    assert np.abs(momentum - momentum[0]).max() < 1e-6
    assert np.abs(kinetic / kinetic[0] - 1).max() < 1e-4
    # Without friction the impulse lies along the line of centres at the touch, which closed form gives.
    start, speed = np.subtract(two.parts[0].position, one.parts[0].position), np.array([5.0, -0.3])
    a, b, c = speed @ speed, 2 * start @ speed, start @ start - 1.4**2
    time = (-b - math.sqrt(b * b - 4 * a * c)) / (2 * a)
    assert run.touch == pytest.approx(time / FRAME_TIME, abs=0.02)
    normal = (start + time * speed) / 1.4
    impulse = -2 * (speed @ normal) / (1 / mass[0] + 1 / mass[1])
    assert np.allclose(run.velocity[-1, 1], [3.0, 0.1] + impulse / mass[1] * normal, atol=0.05)
    (contact,) = run.contacts
    assert contact.bodies == ("patient", "agent") and contact.impulse == pytest.approx(abs(impulse), rel=0.02)


@pytest.mark.parametrize(("gravity", "slope"), [(GRAVITY, 0.35), (1.5, 0.35), (5.0, 0.2), (7.0, 0.3)])
def test_a_ball_rolls_down_a_slope_without_slipping(gravity: float, slope: float) -> None:
    radius = 0.8
    ramp = shapes.Polygon(((-2, -1), (12, -1), (12, 0), (0, 12 * math.tan(slope)), (-2, 12 * math.tan(slope))))
    up = 10.0
    x = 12 - up * math.cos(slope) + radius * math.sin(slope)
    y = up * math.sin(slope) + radius * math.cos(slope)
    ball = agent(shapes.Circle(radius), (x, y), friction=0.8, elasticity=0.0)
    run = simulate(Scene((fixture("ramp", (ramp,), (0, 0), GREY), ball), gravity=gravity))
    way = np.hypot(*(run.position[:, 1] - run.position[0, 1]).T)
    truth = 0.5 * (2 / 3) * gravity * math.sin(slope) * TIMES**2
    assert np.abs(way - truth).max() < 0.05 * PIXEL
    speed = np.hypot(*run.velocity[:, 1].T)
    assert np.abs(speed + run.angular_velocity[:, 1] * radius).max() < 0.01
    assert run.angular_velocity[-1, 1] < -0.3


@pytest.mark.parametrize(("gravity", "friction"), [(GRAVITY, 0.25), (1.5, 0.6), (5.0, 0.15), (5.0, 0.8)])
def test_a_block_slides_as_coulomb_says(gravity: float, friction: float) -> None:
    speed = 2.5
    block = agent(shapes.box(1.4, 1.0), (2.0, 1.5), friction=friction, elasticity=0.0).moving((speed, 0.0))
    run = simulate(Scene((floor(), block), gravity=gravity))
    rate = friction * gravity
    truth = np.where(speed / rate > TIMES, 2 + speed * TIMES - rate * TIMES**2 / 2, 2 + speed**2 / rate / 2)
    assert np.abs(run.position[:, 1, 0] - truth).max() < 0.1 * PIXEL


@pytest.mark.parametrize("gravity", [1.5, GRAVITY, 6.0])
@pytest.mark.parametrize("elasticity", [0.3, 0.7, 1.0])
def test_a_ball_bounces_back_by_its_elasticity(elasticity: float, gravity: float) -> None:
    ball = agent(shapes.Circle(0.5), (5.0, 3.0), elasticity=elasticity).moving((0.0, -1.0))
    run = simulate(Scene((floor(), ball), gravity=gravity))
    drop = 3.0 - 1.5
    impact = math.sqrt(1.0 + 2 * gravity * drop)
    time = (impact - 1.0) / gravity
    after = time + 0.01 < TIMES
    truth = 1.5 + elasticity * impact * (TIMES - time) - 0.5 * gravity * (TIMES - time) ** 2
    flying = after & (truth > 1.52)
    assert flying.sum() >= 2
    assert np.abs(run.position[flying, 1, 1] - truth[flying]).max() < 0.15 * PIXEL
    assert run.contacts[0].time == pytest.approx(time / FRAME_TIME, abs=1.5 / SUBSTEPS)
    assert run.contacts[0].impulse == pytest.approx((1 + elasticity) * impact * ball.mass, rel=0.01)


@pytest.mark.parametrize("asleep", [False, True])
def test_a_stack_at_rest_stays_at_rest(asleep: bool) -> None:
    blocks, y = [], 1.0
    for number, (width, height) in enumerate([(1.6, 0.8), (1.3, 0.9), (1.0, 0.7), (0.8, 0.8)]):
        part = Part((shapes.box(width, height),), (5.0 + 0.05 * (-1) ** number, y + height / 2))
        blocks.append(Body(f"block-{number}", "distractor", (part,), GREY, rests=asleep))
        y += height
    run = simulate(Scene((floor(), *blocks)))
    assert np.abs(run.position - run.position[0]).max() < 0.05 * PIXEL
    assert np.abs(run.angle).max() < 1e-3
    assert np.abs(run.velocity[-1]).max() < 5e-3


def test_what_sleeps_wakes_when_its_support_is_knocked_away() -> None:
    low = Body("low", "distractor", (Part((shapes.box(1.0, 1.0),), (5.0, 1.5)),), GREY, rests=True, friction=0.2)
    high = Body("high", "distractor", (Part((shapes.box(1.0, 1.0),), (5.0, 2.5)),), GREY, rests=True, friction=0.2)
    probe = agent(shapes.Circle(0.45), (3.2, 1.5), density=6.0).moving((5.0, 0.0))
    run = simulate(Scene((floor(), low, high, probe)))
    assert run.position[-1, 1, 0] > 6.0
    assert run.position[-1, 2, 1] < 2.0


@pytest.mark.parametrize("strikes", [False, True])
def test_a_chain_hangs_still_until_it_is_struck_and_wakes_whole(strikes: bool) -> None:
    link = shapes.Capsule((0.0, -0.35), (0.0, 0.35), 0.1)
    parts = tuple(Part((link,), (5.0, 7.65 - 0.7 * n)) for n in range(3))
    chain = Body("chain", "distractor", parts, GREY, rests=True, group=1)
    bob = Body("agent", "agent", (Part((shapes.Circle(0.6),), (5.0, 5.4)),), AGENT_COLOUR, rests=True, group=1)
    joints = [Joint(("chain", n), ("chain", n - 1) if n else None, (5.0, 8.0 - 0.7 * n)) for n in range(3)]
    joints.append(Joint(("agent", 0), ("chain", 2), (5.0, 5.9)))
    ball = Body("probe", "distractor", (Part((shapes.Circle(0.5),), (2.5, 5.6)),), GREY)
    ball = ball.moving((4.0 if strikes else 0.0, 0.5))
    run = simulate(Scene((chain, bob, ball), tuple(joints)))
    struck = next((contact.time for contact in run.contacts), float(FRAMES))
    still = np.arange(FRAMES) < struck
    assert (struck < 5) == strikes
    assert np.abs(run.position[still, :4] - run.position[0, :4]).max() < 1e-9
    if strikes:
        assert (run.position[8, 1:4, 0] > 5.05).all()
    # Each joint keeps together what it joins.
    for upper in range(2):
        s, c = np.sin(run.angle[:, upper : upper + 2]), np.cos(run.angle[:, upper : upper + 2])
        low = run.position[:, upper] + 0.35 * np.stack([s[:, 0], -c[:, 0]], axis=-1)
        high = run.position[:, upper + 1] + 0.35 * np.stack([-s[:, 1], c[:, 1]], axis=-1)
        assert np.abs(low - high).max() < 0.2 * PIXEL


@pytest.mark.parametrize("speed", [6.0, 12.0])
def test_nothing_tunnels(speed: float) -> None:
    wall = fixture("wall", (shapes.Capsule((0, -5), (0, 5), 0.04),), (6.0, 5.0), GREY)
    ball = agent(shapes.Circle(0.3), (2.0, 5.0), **SMOOTH).moving((speed, 0.0))
    run = simulate(Scene((wall, ball), gravity=0.0))
    assert run.position[:, 1, 0].max() < 6.0
    assert run.velocity[-1, 1, 0] == pytest.approx(-speed, abs=1e-6)
    pair = (
        patient(shapes.Circle(0.3), (8.0, 5.0), **SMOOTH).moving((-speed, 0.0)),
        agent(shapes.Circle(0.3), (2.0, 5.0), **SMOOTH).moving((speed, 0.0)),
    )
    run = simulate(Scene(pair, gravity=0.0))
    assert (run.position[:, 0, 0] > run.position[:, 1, 0]).all()


def test_a_pendulum_keeps_its_length_and_its_energy() -> None:
    length, radius = 3.0, 0.5
    bob = Part((shapes.Circle(radius),), (5.0 + length, 7.0))
    body = Body("agent", "agent", (bob,), AGENT_COLOUR)
    run = simulate(Scene((body,), (Joint(("agent", 0), None, (5.0, 7.0)),)))
    away = np.hypot(*(run.position[:, 0] - [5.0, 7.0]).T)
    assert np.abs(away - length).max() < 0.01
    moment = body.mass * radius**2 / 2 + body.mass * length**2
    kinetic = 0.5 * moment * run.angular_velocity[:, 0] ** 2
    potential = body.mass * GRAVITY * (run.position[:, 0, 1] - 7.0)
    assert np.abs(kinetic + potential).max() < 0.02 * kinetic.max()


@pytest.mark.parametrize("shape", [*(shapes.of_kind(kind, 0.8) for kind in shapes.KINDS)])
def test_areas_and_moments_are_those_of_a_dense_grid(shape: shapes.Shape) -> None:
    side = np.linspace(-2, 2, 1001)
    x, y = np.meshgrid(side, side)
    inside = shapes.distance(shape, x, y) < 0
    cell = (side[1] - side[0]) ** 2
    assert shape.area == pytest.approx(math.pi * 0.8**2, rel=1e-6)
    assert inside.sum() * cell == pytest.approx(shape.area, rel=5e-3)
    assert shape.moment(shape.area) == pytest.approx(((x**2 + y**2) * inside).sum() * cell, rel=1e-2)
    assert abs((y * inside).sum()) * cell < 1e-2
    assert np.abs(shapes.distance(shape, *shapes.outline(shape).T)).max() < 1e-6
    assert -y[inside].min() == pytest.approx(shape.below(), abs=0.01)


@pytest.mark.parametrize("scenario", physics_sim.SCENARIOS)
def test_contact_times_hold_with_ten_times_the_substeps_or_the_clip_is_flagged(scenario: str) -> None:
    chaotic = 0
    for index in range(4):
        clip = physics_sim.make_clip(scenario, "test", index)
        fine = simulate(clip.scene, substeps=10 * SUBSTEPS).touch
        same = clip.contact == (not math.isnan(fine))
        close = same and (not clip.contact or abs(fine - clip.contact_time) <= 0.1)
        assert clip.chaotic == (not close)
        chaotic += clip.chaotic
    assert chaotic < 4


def test_the_substeps_divide_into_pieces() -> None:
    scene = Scene((agent(shapes.Circle(1.0), (5, 5)),))
    with pytest.raises(SimulationError, match="multiple"):
        simulate(scene, substeps=10)
    assert len(simulate(Scene(())).position) == FRAMES


@pytest.mark.parametrize("scenario", ["collide", "dominoes", "drop"])
def test_a_run_goes_on_from_any_of_its_states(scenario: str) -> None:
    """Started again from the states of frame 8, also of what rested at first and does not any more."""
    from dataclasses import replace

    clip = physics_sim.make_clip(scenario, "test", 1)
    run, bodies = clip.trajectory, []
    for number, body in enumerate(clip.bodies):
        if not body.fixed:
            state = {
                "position": tuple(run.position[7, number]),
                "angle": float(run.angle[7, number]),
                "velocity": tuple(float(v) for v in run.velocity[7, number]),
                "angular_velocity": float(run.angular_velocity[7, number]),
            }
            body = replace(body, parts=(replace(body.parts[0], **state),))
        bodies.append(body)
    again = simulate(replace(clip.scene, bodies=tuple(bodies)), frames=FRAMES - 7)
    assert np.abs(again.position[:4] - run.position[7:11]).max() < 0.5 * PIXEL


def test_runs_share_the_buffer_that_pymunk_would_not_free() -> None:
    from physics_sim.world import _Run

    scene = Scene((agent(shapes.Circle(1.0), (5, 5)),))
    assert _Run(scene, 0.01, 8).buffer is _Run(scene, 0.01, 8).buffer
