"""Possible clips and impossible twins: both begin with the same frames, and then one of them does what cannot be.

    from physics_sim import twins
    pair = twins.make_twins("stop", 7)       # a pure function of its arguments
    pair.possible, pair.impossible           # (16, 64, 64, 3) uint8; equal up to frame `pair.moment`

The possible clip is the simulator's own; the impossible one is drawn from its states, altered from `moment` on, a frame
after the given ones. So both are equally sharp, in the same colours, on the same background.

A cheap cue would be how much moves. Twins are therefore balanced: with an even index the impossible one changes less
from frame to frame than the possible one, with an odd index more (the mean absolute difference of successive frames,
from the last given one on), so that this cue alone answers half of them. Where no such pair is found, `balanced` is
false: for half of `bounce` always (a ball that bounces higher than it fell moves more), for some of `jump`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from physics_sim import rendering, shapes
from physics_sim.clip import Clip
from physics_sim.draw import Draw
from physics_sim.errors import SimulationError
from physics_sim.sampling import generator, make_clip
from physics_sim.scenarios.common import ground, mirrored
from physics_sim.scene import AGENT_COLOUR, Colour, Scene, agent, patient
from physics_sim.units import (
    DISTRACTOR_COLOURS,
    FRAME_TIME,
    FRAMES,
    GIVEN,
    PATIENT_COLOUR,
    WORLD,
)
from physics_sim.world import simulate

TRIES = 60
"""Clips looked at for one pair of twins."""
LEAST = 4
"""Frames at least that are altered."""
PIXELS = 25
"""Pixels at 64 x 64 that differ clearly, at least, in each of the last altered frames but one."""
CLEARLY = 24
"""Levels of 255."""
MOVES, RESTS = 1.0, 0.02
"""m/s above and below which a body counts as moving and as resting."""
SOURCES = ("uniform", "parabola", "collision", "collide", "drop", "contain")
"""Where clips come from whose bodies vanish, jump or change colour."""


@dataclass(frozen=True)
class Altered:
    """States of the parts at all frames, those from `moment` on impossible, and the scene that is drawn."""

    moment: int
    body: str
    position: np.ndarray
    angle: np.ndarray
    scene: Scene


@dataclass(frozen=True)
class Twins:
    """A possible clip and its impossible twin, (T, size, size, 3) uint8 each, equal in all frames before `moment`."""

    kind: str
    index: int
    seed: int
    given: int
    """Frames that both share at least."""
    clip: Clip
    """The possible one, with its states."""
    altered: Altered
    balanced: bool
    """Whether the impossible twin changes more, or less, from frame to frame, as its index asks."""
    possible: np.ndarray
    impossible: np.ndarray

    @property
    def moment(self) -> int:
        """The first impossible frame, counted from 0; at least `given`."""
        return self.altered.moment


def motion(frames: np.ndarray, given: int) -> float:
    """The mean absolute difference of successive frames from the last given one on: the cue that is balanced."""
    return float(np.abs(np.diff(frames[given - 1 :].astype(np.int16), axis=0)).mean())


def _clip(name: str, draw: Draw, seed: int) -> Clip:
    return make_clip(name, "test", int(draw.uniform(0, 4000)), seed=seed)


def _moment(draw: Draw) -> int:
    return draw.given + int(draw.uniform(0, FRAMES - LEAST - draw.given + 1))


def _single(clip: Clip, number: int) -> int | None:
    """The part of a body that has one shape and is not scenery; else None."""
    body = clip.bodies[number]
    if body.fixed or len(body.parts) != 1 or len(body.parts[0].shapes) != 1:
        return None
    return sum(len(other.parts) for other in clip.bodies[:number])


def _candidates(clip: Clip, moment: int) -> list[int]:
    """Agent and patient, if they are in the picture, whole, just before and after the moment."""
    found = []
    for number, body in enumerate(clip.bodies):
        if body.role not in ("agent", "patient") or _single(clip, number) is None:
            continue
        reach = body.parts[0].shapes[0].reach
        seen = clip.position[moment - 1 : moment + 1, number]
        if (seen >= reach).all() and (seen <= WORLD - reach).all():
            found.append(number)
    return found


def _speed(clip: Clip, number: int, first: int, last: int | None = None) -> np.ndarray:
    return np.hypot(*clip.velocity[first:last, number].T)


def _is_free(clip: Clip, number: int, path: np.ndarray, first: int) -> bool:
    """Whether a body that takes `path` (T, 2) from frame `first` on touches nothing that is in the picture."""
    reach = clip.bodies[number].parts[0].shapes[0].reach
    part = 0
    for other, body in enumerate(clip.bodies):
        for piece in body.parts:
            place, angle = (
                clip.trajectory.position[first:, part],
                clip.trajectory.angle[first:, part],
            )
            part += 1
            if other == number:
                continue
            x, y = (path[first:] - place).T
            s, c = np.sin(angle), np.cos(angle)
            for shape in piece.shapes:
                away = shapes.distance(shape, c * x + s * y, c * y - s * x)
                if (away < reach).any():
                    return False
    return True


def _with_path(clip: Clip, number: int, moment: int, path: np.ndarray, still: bool = False) -> Altered:
    """The clip with one body moved along `path` (T, 2) from `moment` on; `still`: it also stops turning."""
    part = _single(clip, number)
    position, angle = clip.trajectory.position.copy(), clip.trajectory.angle.copy()
    position[moment:, part] = path[moment:]
    if still:
        angle[moment:, part] = angle[moment - 1, part]
    return Altered(moment, clip.bodies[number].name, position, angle, clip.scene)


Made = tuple[Clip, Altered] | None


def vanish(draw: Draw, seed: int, livelier: bool) -> Made:
    """An object is there no more. (Fast ones are then missed in the sum of changes; resting ones leave a flash.)"""
    clip, moment = _clip(draw.choice(SOURCES), draw, seed), _moment(draw)
    found = _candidates(clip, moment)
    if not found:
        return None
    number = draw.choice(found)
    # Far away, where nobody sees it.
    return clip, _with_path(clip, number, moment, np.full((FRAMES, 2), -10 * WORLD))


def jump(draw: Draw, seed: int, livelier: bool) -> Made:
    """An object is suddenly elsewhere, 1.5 to 4 m away, and goes on from there as it would have from where it was."""
    clip, moment = _clip(draw.choice(SOURCES), draw, seed), _moment(draw)
    found = _candidates(clip, moment)
    if not found:
        return None
    number = draw.choice(found)
    turn, far = draw.uniform(0.0, 2 * math.pi), draw.uniform(1.5, 4.0)
    velocity = clip.velocity[moment, number]
    if not livelier and np.hypot(*velocity) > MOVES:
        # Ahead, so that it is out of the picture sooner.
        turn = math.atan2(velocity[1], velocity[0])
    path = clip.position[:, number] + far * np.array([math.cos(turn), math.sin(turn)])
    reach = clip.bodies[number].parts[0].shapes[0].reach
    if path[moment].min() < reach / 2 or path[moment].max() > WORLD - reach / 2:
        return None
    return (clip, _with_path(clip, number, moment, path)) if _is_free(clip, number, path, moment) else None


def colour(draw: Draw, seed: int, livelier: bool) -> Made:
    """An object changes its colour: the agent to the patient's, the other way round, or to a distractor's."""
    clip, moment = _clip(draw.choice(SOURCES), draw, seed), _moment(draw)
    found = _candidates(clip, moment)
    if not found:
        return None
    body = clip.bodies[draw.choice(found)]
    others: list[Colour] = [
        AGENT_COLOUR if body.role == "patient" else PATIENT_COLOUR,
        *DISTRACTOR_COLOURS,
    ]
    chosen = draw.choice(others) if livelier else others[0]
    scene = clip.scene.with_body(body.name, colour=chosen)
    return clip, Altered(moment, body.name, clip.trajectory.position, clip.trajectory.angle, scene)


def through(draw: Draw, seed: int, livelier: bool) -> Made:
    """Two balls go through each other where they should bounce off, or a ball goes through the ground."""
    if draw.chance(0.5):
        clip = _clip("collision", draw, seed)
        moment = math.ceil(clip.contact_time) if clip.contact else 0
        if not draw.given <= moment <= FRAMES - LEAST:
            return None
        steps = (np.arange(FRAMES) - moment + 1)[:, None, None] * FRAME_TIME
        position = clip.trajectory.position.copy()
        position[moment:] = (position[moment - 1] + clip.trajectory.velocity[moment - 1] * steps)[moment:]
        return clip, Altered(moment, "agent", position, clip.trajectory.angle, clip.scene)
    clip, moment = _falling(draw, seed)
    fall = clip.position[moment - 1, 2] + _flight(clip, moment, clip.velocity[moment - 1, 2], -clip.scene.gravity)
    return clip, _with_path(clip, 2, moment, fall)


def stop(draw: Draw, seed: int, livelier: bool) -> Made:
    """A ball in the air stands still; with an odd index, what rests begins to move by itself."""
    if not livelier:
        clip, moment = (
            _clip(draw.choice(("uniform", "parabola")), draw, seed),
            _moment(draw),
        )
        found = [n for n in _candidates(clip, moment) if _speed(clip, n, moment - 1, moment).min() > MOVES]
        if not found:
            return None
        path = np.repeat(clip.position[moment - 1 : moment, found[0]], FRAMES, axis=0)
        return clip, _with_path(clip, found[0], moment, path, still=True)
    clip, moment = (
        _clip(draw.choice(("collide", "drop", "contain", "roll")), draw, seed),
        _moment(draw),
    )
    found = [n for n in _candidates(clip, moment) if _speed(clip, n, 0).max() < RESTS]
    if not found:
        return None
    number = draw.choice(found)
    speed = draw.sign() * draw.uniform(1.0, 3.5)
    way = np.clip(np.arange(FRAMES) - moment + 1, 0, None) * FRAME_TIME * speed
    path = clip.position[:, number] + np.stack([way, np.full(FRAMES, 0.02)], axis=-1)
    # It may slide along what it stands on: of the sphere around it only the middle must be free.
    lifted = path + np.array([0.0, clip.bodies[number].parts[0].shapes[0].reach])
    return (clip, _with_path(clip, number, moment, path)) if _is_free(clip, number, lifted, moment) else None


def bounce(draw: Draw, seed: int, livelier: bool) -> Made:
    """A ball leaves the ground faster than it came, and so rises higher than it fell."""
    clip, moment = _falling(draw, seed)
    falling = clip.velocity[moment - 1, 2]
    up = draw.uniform(1.15, 1.5) * abs(falling[1])
    path = clip.position[moment - 1, 2] + _flight(clip, moment, np.array([falling[0], up]), -clip.scene.gravity)
    return clip, _with_path(clip, 2, moment, path)


def gravity(draw: Draw, seed: int, livelier: bool) -> Made:
    """A ball in flight is drawn upwards as it was drawn downwards before."""
    clip, moment = _clip("parabola", draw, seed), _moment(draw)
    if clip.scene.gravity < 1.5 or not _candidates(clip, moment):
        return None
    path = clip.position[moment - 1, 0] + _flight(clip, moment, clip.velocity[moment - 1, 0], clip.scene.gravity)
    return clip, _with_path(clip, 0, moment, path)


def _flight(clip: Clip, moment: int, velocity: np.ndarray, upwards: float) -> np.ndarray:
    """(T, 2): the way from where it is in frame moment - 1, at this velocity, with this acceleration."""
    time = (np.arange(FRAMES) - moment + 1) * FRAME_TIME
    return np.stack([velocity[0] * time, velocity[1] * time + upwards * time**2 / 2], axis=-1)


def _falling(draw: Draw, seed: int) -> tuple[Clip, int]:
    """A ball (body 2) falls on the ground in the predicted frames, beside a patient at rest; and the frame after it."""
    floor, radius = draw.uniform(0.9, 1.4), draw.uniform(0.65, 1.1)
    weight = draw.uniform(1.5, 5.0)
    moment = _moment(draw)
    time = (moment - draw.uniform(0.1, 0.9)) * FRAME_TIME
    down = draw.uniform(0.0, 1.0)
    height = down * time + weight * time**2 / 2
    top = WORLD - floor - 2 * radius - 0.2
    if height > top:
        weight, down = weight * top / height, down * top / height
        height = top
    goal = shapes.of_kind(draw.choice(shapes.KINDS), draw.uniform(0.65, 0.9))
    body = agent(
        shapes.Circle(radius),
        (draw.uniform(2.0, 4.5), floor + radius + height),
        elasticity=draw.uniform(0.3, 0.7),
        friction=draw.uniform(0.3, 0.8),
    )
    target = patient(goal, (8.6, floor + goal.below()), elasticity=0.3, friction=0.6)
    bodies = (
        ground(floor, draw.static_colour()),
        target,
        body.moving((draw.uniform(-0.5, 0.8), -down)),
    )
    scene = Scene(bodies, gravity=weight, background=draw.background())
    scene = mirrored(scene) if draw.chance(0.5) else scene
    return Clip(scene, simulate(scene), "twins-fall", "test", 0, seed, given=draw.given), moment


KINDS: dict[str, Callable[[Draw, int, bool], Made]] = {
    maker.__name__: maker for maker in (vanish, jump, through, colour, stop, bounce, gravity)
}

UNBALANCED = ("bounce",)
"""Kinds whose impossible twin always moves more."""


def make_twins(kind: str, index: int = 0, *, seed: int = 0, size: int = 64, given: int = GIVEN) -> Twins:
    """The index-th pair of twins of a kind; the same arguments give the same bytes.

    kind: one of KINDS. given: frames that both share at least, 1 to 12 of 16. Raises SimulationError for arguments that
    do not fit.
    """
    if kind not in KINDS:
        raise SimulationError(f"There is no kind of twins {kind!r}; there are {', '.join(KINDS)}.")
    for what, value, least, most in (
        ("index", index, 0, None),
        ("seed", seed, 0, None),
        ("given", given, 1, 12),
    ):
        fits = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not fits or value < least or (most is not None and value > most):
            span = f"from {least}" + (f" to {most}" if most is not None else "")
            raise SimulationError(f"{what} must be a whole number {span}, not {value!r}.")
    size, livelier = rendering.check_size(size), bool(index % 2)
    draw = Draw(generator("twins", kind, int(seed), int(index)), "test", given=int(given))
    spare: Twins | None = None
    for _ in range(TRIES):
        made = KINDS[kind](draw, int(seed), livelier)
        if made is None:
            continue
        clip, altered = made
        possible, impossible = _drawn(clip, altered, size)
        if not _is_plain(possible[altered.moment :], impossible[altered.moment :]):
            continue
        balanced = (motion(impossible, given) > motion(possible, given)) == livelier
        pair = Twins(
            kind,
            int(index),
            int(seed),
            int(given),
            clip,
            altered,
            balanced,
            possible,
            impossible,
        )
        if balanced or kind in UNBALANCED:
            return pair
        spare = spare or pair
    if spare is None:
        raise SimulationError(f"No twins of the kind {kind} with {given} given frames were found in {TRIES} tries.")
    return spare


def _drawn(clip: Clip, altered: Altered, size: int) -> tuple[np.ndarray, np.ndarray]:
    possible = clip.render(size)
    later = slice(altered.moment, None)
    after = rendering.draw(altered.scene, altered.position[later], altered.angle[later], size)
    return possible, np.concatenate([possible[: altered.moment], after])


def _is_plain(possible: np.ndarray, impossible: np.ndarray) -> bool:
    """Whether the twins differ so that it can be seen, in all altered frames but the first and at most one more."""
    differ = (np.abs(possible.astype(np.int16) - impossible).max(axis=-1) > CLEARLY).sum(axis=(1, 2))
    least = PIXELS * (possible.shape[1] / 64) ** 2
    return int((differ >= least).sum()) >= min(LEAST, len(differ)) - 1
