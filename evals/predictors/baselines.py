"""Baselines, and the simulator itself: what the model stands beside.

The baselines predict states: they get what the tracker sees in the given frames, and nothing else of the clip; the
simulator is also told what no eye sees at once (shapes, masses, materials, the hidden links of a chain).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.scoring.cases import WHOLE, Case, in_sight
from evals.scoring.score import Prediction
from evals.tracking.tracks import Tracks

Floats = NDArray[np.float64]


def _with_past(case: Case, future: Floats) -> Floats:
    """The tracked given part, then `future` (T - G, N, 2)."""
    return np.concatenate([case.observed.position, future])


def _motion(case: Case) -> tuple[Floats, Floats, Floats]:
    """Position, velocity and acceleration (N, 2) in the last given frame, from its last (up to three) positions."""
    seen = case.observed.position
    position, velocity = np.full(seen.shape[1:], np.nan), np.zeros(seen.shape[1:])
    acceleration = np.zeros(seen.shape[1:])
    for n in range(seen.shape[1]):
        times = np.nonzero(np.isfinite(seen[:, n, 0]))[0]
        if not len(times):
            continue
        last = times[-1]
        run = seen[max(last - 2, 0) : last + 1, n]
        run = run[np.isfinite(run[:, 0])]
        if len(run) > 1 and last - 1 in times:
            velocity[n] = run[-1] - run[-2]
        if len(run) > 2:
            acceleration[n] = run[-1] - 2 * run[-2] + run[-3]
        missed = len(seen) - 1 - last
        position[n] = seen[last, n] + velocity[n] * missed
    return position, velocity, acceleration


def _steps(case: Case) -> Floats:
    return np.arange(1, len(case.frames) - case.given + 1, dtype=float)[:, None, None]


def copy_last(case: Case) -> Prediction:
    """Nothing moves: the last given frame, again and again."""
    position, _, _ = _motion(case)
    path = _with_past(case, np.repeat(position[None], len(case.frames) - case.given, 0))
    still = np.repeat(case.given_frames[-1:], len(case.frames) - case.given, 0)
    frames = np.concatenate([case.given_frames, still])
    return Prediction(path, frames=frames, gap=rigid_gap(case, path))


def constant_velocity(case: Case) -> Prediction:
    """p(t) = p + v t, v from the last two given frames."""
    position, velocity, _ = _motion(case)
    path = _with_past(case, position + velocity * _steps(case))
    return Prediction(in_picture(case, path), gap=rigid_gap(case, path))


def constant_acceleration(case: Case) -> Prediction:
    """p(t) = p + v t + a t (t + 1) / 2, the parabola through the last three given frames."""
    position, velocity, acceleration = _motion(case)
    t = _steps(case)
    path = _with_past(case, position + velocity * t + acceleration * t * (t + 1) / 2)
    return Prediction(in_picture(case, path), gap=rigid_gap(case, path))


# ---- outlines moved without turning


def in_picture(case: Case, path: Floats) -> Floats:
    """A path (T, N, 2) of centres, which after the given frames are those of the part inside the picture, as the truth.

    Objects have the outline that they were last seen whole with; of one that is outside entirely, the centre stays.
    """
    height, width = case.frames.shape[1:3]
    found = path.copy()
    for n in range(path.shape[1]):
        tracks = case.observed
        t = _fullest(tracks, n)
        if t is None:
            continue
        cover = tracks.coverage[n, t]
        y, x = np.nonzero(cover)
        offset = np.stack([x + 0.5, y + 0.5], -1) - tracks.position[t, n]
        middle = path[case.given :, None, n] + offset  # (T - G, K, 2)
        low, high = (np.clip(middle + side, 0, [width, height]) for side in (-0.5, 0.5))
        weight = cover[y, x] * (high - low).prod(-1)
        share = weight.sum(1) / cover.sum()
        inside = (weight[..., None] * (low + high) / 2).sum(1) / np.maximum(weight.sum(1), 1e-9)[:, None]
        cut = (share > 0) & (share < WHOLE)
        found[case.given :, n][cut] = inside[cut]
    return found


def rigid_gap(case: Case, path: Floats) -> Floats | None:
    """Gap (T,) between agent and patient in pixels, their outlines as last seen whole, moved along `path`."""
    if len(case.roles) < 2:
        return None
    agent, patient = case.roles["agent"], case.roles["patient"]
    first, second = _outline(case.observed, agent), _outline(case.observed, patient)
    if first is None or second is None:
        return np.full(len(path), np.nan)
    offset = first[1][:, None] + second[1][None]
    between = first[0][:, None] - second[0][None]
    shift = path[:, agent] - path[:, patient]
    distance = np.sqrt(((between[None] + shift[:, None, None]) ** 2).sum(-1))
    gap = (distance - offset).min((1, 2))
    # Rigid outlines may pass through each other entirely; then every outline point is far from every other.
    deep = np.hypot(*shift.T) < max(np.hypot(*first[0].T).min(), np.hypot(*second[0].T).min())
    return np.where(np.isnan(shift[:, 0]), np.nan, np.where(deep, np.minimum(gap, 0.0), gap))


def _outline(tracks: Tracks, n: int) -> tuple[Floats, Floats] | None:
    """Points (K, 2) around the centroid and how far the outline lies beyond each (K,), from the fullest late frame."""
    t = _fullest(tracks, n)
    if t is None:
        return None
    cover = tracks.coverage[n, t]
    padded = np.pad(cover, 1)
    surrounded = np.min([padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]], axis=0)
    y, x = np.nonzero((cover > 0.25) & (surrounded < 0.75))
    points = np.stack([x + 0.5, y + 0.5], -1) - tracks.position[t, n]
    return points, (cover[y, x] - 0.5).astype(float)


def _fullest(tracks: Tracks, n: int) -> int | None:
    """The last of the frames in which most of an object is seen; None if it never is."""
    seen = np.nonzero(tracks.present[:, n])[0]
    if not len(seen):
        return None
    return int(seen[tracks.area[seen, n] >= 0.97 * tracks.area[seen, n].max()][-1])


# ---- the nearest training clip


@dataclass(frozen=True)
class Memory:
    """Training clips of one scenario: paths in pixels of agent, patient and the rest, and the answers."""

    paths: list[dict[str, Floats]]
    """role -> (T, 2); further movers are "0", "1", ..."""
    touches: list[float]
    """When the agent touches the patient (frames, NaN if never)."""

    @property
    def majority(self) -> bool:
        """The commoner answer to the contact question."""
        return 2 * sum(np.isfinite(time) for time in self.touches) > len(self.touches)


def remember(case: Case, count: int) -> Memory:
    """The first `count` training clips of a case's scenario, in the same world."""
    import physics_sim

    memory = Memory([], [])
    for index in range(count):
        own = case.clip
        clip = physics_sim.make_clip(
            own.scenario, "train", index, size=own.size, world=own.world, frames=len(own.position)
        )
        pixels = clip.pixels()
        paths: dict[str, Floats] = {}
        for n, body in enumerate(clip.bodies):
            if body.role in ("agent", "patient"):
                paths[body.role] = pixels[:, n]
            elif body.role != "static" and not body.fixed:
                paths[str(len(paths))] = pixels[:, n]
        memory.paths.append(paths)
        memory.touches.append(clip.contact_time)
    return memory


def nearest_training_clip(case: Case, memory: Memory) -> Prediction:
    """Moves as the training clip did whose agent and patient moved most alike in the given frames (L2 of their paths).

    Further objects move as that clip's nearest further object did, or stay. Its answer is that clip's answer.
    """
    seen, roles = case.observed.position, case.roles
    distances = []
    for paths in memory.paths:
        error = [seen[:, n] - paths[role][: case.given] for role, n in roles.items() if role in paths]
        distances.append(np.nansum(np.square(error)) if len(error) == len(roles) else np.inf)
    best = int(np.argmin(distances))
    paths = memory.paths[best]
    last, _, _ = _motion(case)
    future = np.repeat(last[None], len(case.frames) - case.given, 0)
    names = {n: role for role, n in roles.items()}
    others = {name: path for name, path in paths.items() if name not in ("agent", "patient")}
    for n in range(seen.shape[1]):
        path = paths.get(names[n]) if n in names else None
        if n not in names and others and np.isfinite(last[n, 0]):
            path = min(others.values(), key=lambda path: np.hypot(*(path[case.given - 1] - last[n])))
        if path is not None:
            future[:, n] += path[case.given :] - path[case.given - 1]
    touch = memory.touches[best]
    path = in_picture(case, _with_past(case, future))
    return Prediction(path, answer=bool(touch >= case.given - 1), touch=touch)


# ---- the simulator itself


def simulator(case: Case) -> Prediction:
    """The true simulator, started in the last given frame from tracked positions, velocities and turning.

    Told: shapes, masses, materials, angles in the first frame, and the states of hidden links of chains.
    """
    from physics_sim.clip import Clip
    from physics_sim.world import simulate

    clip, start = case.clip, case.given - 1
    size = case.frames.shape[1]
    scene = _restarted(case, start)
    trajectory = simulate(scene, frames=len(case.frames) - start)
    after = Clip(scene, trajectory, clip.scenario, clip.split, clip.index, clip.seed, size)
    # Where a part of an object is out of sight, its place is the centroid of the rest, as in the truth.
    part, _ = in_sight(after, case.asked)
    future = np.where(np.isfinite(part), part, after.pixels()[:, case.asked])[1:]
    touch = trajectory.touch + start
    return Prediction(_with_past(case, future), answer=bool(np.isfinite(touch)), touch=touch)


def _restarted(case: Case, start: int) -> Any:
    from physics_sim import units

    clip, tracks = case.clip, case.observed
    scale = case.frames.shape[1] / units.WORLD
    truth = clip.trajectory
    bodies, first = [], 0
    for number, body in enumerate(clip.bodies):
        parts = []
        for offset, part in enumerate(body.parts):
            at = first + offset
            state: dict[str, Any] = {
                "position": tuple(truth.position[start, at]),
                "angle": float(truth.angle[start, at]),
                "velocity": tuple(truth.velocity[start, at]),
                "angular_velocity": float(truth.angular_velocity[start, at]),
            }
            parts.append((part, state))
        if not body.fixed and len(body.parts) == 1 and number in case.asked:
            n = case.asked.index(number)
            if np.isfinite(tracks.position[start, n, 0]):
                part, state = parts[0]
                state |= _tracked_state(case, n, start, scale, part.angle)
        first += len(body.parts)
        bodies.append(
            replace(body, parts=tuple(replace(part, **state) for part, state in parts)) if not body.fixed else body
        )
    return replace(clip.scene, bodies=tuple(bodies), joints=tuple(_moved_joints(clip, start)))


def _tracked_state(case: Case, n: int, start: int, scale: float, first_angle: float) -> dict[str, Any]:
    """Position, velocity, angle and turning of one object in world units, by second-order backward differences."""
    from physics_sim import units

    tracks = case.observed
    x, y = tracks.position[start, n]

    def rate(values: NDArray[np.float64], jump: float) -> NDArray[np.float64]:
        run = values[max(start - 2, 0) : start + 1]
        if len(run) < 2 or not np.isfinite(run[-2:]).all():
            return np.zeros(values.shape[1:])
        slope = run[-1] - run[-2]
        if len(run) == 3 and np.isfinite(run[0]).all():
            bend = slope - (run[-2] - run[-3])
            if np.abs(bend).max() < jump:  # more than gravity: something was hit in between
                slope = slope + bend / 2
        return slope

    velocity = rate(tracks.position[:, n], 0.5 * scale / 6.4)
    state: dict[str, Any] = {
        "position": (x / scale, units.WORLD - y / scale),
        "velocity": (velocity[0] / scale / units.FRAME_TIME, -velocity[1] / scale / units.FRAME_TIME),
        "angle": first_angle,
        "angular_velocity": 0.0,
    }
    angle = tracks.angle[:, n]
    if np.isfinite(angle[start]) and np.isfinite(angle[0]):
        state["angle"] = first_angle + float(angle[start])
        state["angular_velocity"] = float(rate(angle[:, None], 0.2)[0]) / units.FRAME_TIME
    return state


def _moved_joints(clip: Any, start: int) -> list[Any]:
    """Joints where they are in frame `start`: each point moves with its first part."""
    places: dict[tuple[str, int], int] = {}
    parts: list[Any] = []
    for body in clip.bodies:
        for offset, part in enumerate(body.parts):
            places[body.name, offset] = len(parts)
            parts.append(part)
    joints = []
    for joint in clip.scene.joints:
        at = places[joint.first]
        offset = np.array(joint.point) - parts[at].position
        turn = clip.trajectory.angle[start, at] - parts[at].angle
        c, s = np.cos(turn), np.sin(turn)
        moved = clip.trajectory.position[start, at] + (c * offset[0] - s * offset[1], s * offset[0] + c * offset[1])
        joints.append(replace(joint, point=(float(moved[0]), float(moved[1]))))
    return joints
