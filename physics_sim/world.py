"""A scene, run in pymunk: the states of every part at every frame, and every contact."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from physics_sim.scene import Body, Part, Scene
from physics_sim.shapes import Circle, Polygon, Shape
from physics_sim.units import FRAME_TIME, FRAMES, SUBSTEPS

SLOP = 0.002
"""Metres of overlap that the solver leaves alone, so that resting contacts persist."""
MERGE = 0.5
"""Touches of the same two bodies less than this many frames apart count as one contact."""


@dataclass
class Contact:
    """Two bodies begin to touch: when (frames since the first), who, and the impulse of the first substep (N s)."""

    time: float
    bodies: tuple[str, str]
    impulse: float


@dataclass
class Trajectory:
    """States of P parts at T frames."""

    position: np.ndarray
    """(T, P, 2), metres."""
    angle: np.ndarray
    """(T, P), radians, not wrapped."""
    velocity: np.ndarray
    """(T, P, 2), m/s."""
    angular_velocity: np.ndarray
    """(T, P), rad/s."""
    contacts: list[Contact] = field(default_factory=list)
    touch: float = math.nan
    """When the agent first touches the patient, in frames, or nan."""


class Stopped(Exception):
    """The caller's `stop` asked to end the run."""


def simulate(
    scene: Scene,
    *,
    frames: int = FRAMES,
    substeps: int = SUBSTEPS,
    stop: Callable[[float], bool] | None = None,
) -> Trajectory:
    """Runs a scene. `stop(time)` is asked when the agent first touches the patient; True raises Stopped.

    pymunk moves bodies before it accelerates them (explicit Euler), which is exact for a parabola if velocities are
    those of half a step later; so bodies get half a step of gravity first, and it is taken off what is reported of
    those in free flight.
    """
    run = _Run(scene, FRAME_TIME / substeps, substeps)
    count = len(run.parts)
    state = np.empty((frames, count, 6))
    run.read(state[0])
    for frame in range(1, frames):
        for _ in range(substeps):
            run.step()
        if stop is not None and not math.isnan(run.touch) and not run.asked:
            run.asked = True
            if stop(run.touch):
                raise Stopped
        run.read(state[frame])
    return Trajectory(
        state[..., 0:2].copy(),
        state[..., 2].copy(),
        state[..., 3:5].copy(),
        state[..., 5].copy(),
        run.contacts,
        run.touch,
    )


class _Run:
    """One pymunk space and the bookkeeping around it."""

    def __init__(self, scene: Scene, dt: float, substeps: int) -> None:
        import pymunk

        self.scene, self.dt, self.substeps = scene, dt, substeps
        self.clock = 0
        self.touch = math.nan
        self.asked = False
        self.contacts: list[Contact] = []
        self.latest: dict[tuple[int, int], list[Any]] = {}
        """Of two bodies: when they last began to touch, and the contact that it counts to."""
        self.parts: list[Part] = []
        self.bodies: list[Any] = []
        """pymunk bodies of the parts; the space's static body for fixed ones."""
        agent, patient = scene.index("agent"), scene.index("patient")
        self.question = None if agent is None or patient is None else {agent, patient}
        self.half = -0.5 * scene.gravity * dt

        self.space = space = pymunk.Space()
        space.gravity = (0.0, -scene.gravity)
        space.collision_slop = SLOP
        self.step_space = space.step
        for number, body in enumerate(scene.bodies):
            group = body.group or number + 1000
            for part in body.parts:
                self._add(number, body, part, pymunk.ShapeFilter(group=group))
        first = 0
        places = {}
        for body in scene.bodies:
            for offset in range(len(body.parts)):
                places[body.name, offset] = self.bodies[first + offset]
            first += len(body.parts)
        for joint in scene.joints:
            other = space.static_body if joint.second is None else places[joint.second]
            pivot = pymunk.PivotJoint(places[joint.first], other, joint.point)
            pivot.collide_bodies = False
            space.add(pivot)
        self.record_off = pymunk.empty_callback
        space.on_collision(None, None, begin=self._begin)
        self.recording = False
        self._reader(pymunk)

    def _add(self, number: int, body: Body, part: Part, group: Any) -> None:
        import pymunk

        space = self.space
        if body.fixed:
            holder = space.static_body
        else:
            mass = body.density * part.area
            moment = sum(shape.moment(body.density * shape.area) for shape in part.shapes)
            holder = pymunk.Body(mass, moment)
            holder.position = part.position
            holder.angle = part.angle
            holder.velocity = part.velocity[0], part.velocity[1] + self.half
            holder.angular_velocity = part.angular_velocity
            space.add(holder)
        for shape in part.shapes:
            made = _to_pymunk(pymunk, holder, shape, part if body.fixed else None)
            made.elasticity, made.friction = body.elasticity, body.friction
            made.filter = group
            made.place = number
            space.add(made)
        self.parts.append(part)
        self.bodies.append(holder)

    def _reader(self, pymunk: Any) -> None:
        """Prepares the batch reading of states: one call a frame for all bodies."""
        from pymunk import batch

        moving = [i for i, body in enumerate(self.bodies) if body is not self.space.static_body]
        self.batch = batch
        self.buffer = batch.Buffer()
        fields = batch.BodyFields
        ids = fields.BODY_ID
        batch.get_space_bodies(self.space, ids, self.buffer)
        order = memoryview(self.buffer.int_buf()).cast("P").tolist()
        place = {self.bodies[i].id: i for i in moving}
        # The space's own static body may be among them.
        self.rows = np.array([row for row, i in enumerate(order) if i in place], dtype=int)
        self.order = np.array([place[i] for i in order if i in place], dtype=int)
        self.place = place
        self.fields = fields.POSITION | fields.ANGLE | fields.VELOCITY | fields.ANGULAR_VELOCITY
        self.pairs = batch.ArbiterFields.BODY_A_ID | batch.ArbiterFields.BODY_B_ID

    def step(self) -> None:
        self.clock += 1
        self.step_space(self.dt)
        if self.recording:
            self.recording = False
            self.space.on_collision(None, None, post_solve=self.record_off)

    def read(self, out: np.ndarray) -> None:
        """Writes (P, 6): x, y, angle, vx, vy, angular velocity."""
        for i, part in enumerate(self.parts):
            if self.bodies[i] is self.space.static_body or self.clock == 0:
                out[i] = (*part.position, part.angle, *part.velocity, part.angular_velocity)
        if self.clock == 0 or not len(self.order):
            return
        self.buffer.clear()
        self.batch.get_space_bodies(self.space, self.fields, self.buffer)
        values = np.frombuffer(self.buffer.float_buf(), dtype=float).reshape(-1, 6)
        out[self.order] = values[self.rows]
        self.buffer.clear()
        self.batch.get_space_arbiters(self.space, self.pairs, self.buffer)
        touching = {self.place.get(i) for i in memoryview(self.buffer.int_buf()).cast("P").tolist()}
        for i in self.order.tolist():
            if i not in touching:
                out[i, 4] -= self.half

    def _begin(self, arbiter: Any, space: Any, data: Any) -> None:
        if self.question is not None and math.isnan(self.touch):
            first, second = arbiter.shapes
            if {first.place, second.place} == self.question:
                self.touch = self._when(arbiter)
        if not self.recording:
            self.recording = True
            space.on_collision(None, None, post_solve=self._record)

    def _when(self, arbiter: Any) -> float:
        """The moment of touch within the last substep, from the overlap and the closing speed, in frames."""
        first, second = arbiter.bodies
        points = arbiter.contact_point_set
        normal = points.normal
        back = 0.0
        for point in points.points:
            u = first.velocity_at_world_point(point.point_a)
            v = second.velocity_at_world_point(point.point_b)
            closing = (u.x - v.x) * normal.x + (u.y - v.y) * normal.y
            if closing > 1e-9:
                back = max(back, -point.distance / closing)
        return (self.clock - min(max(back / self.dt, 0.0), 1.0)) / self.substeps

    def _record(self, arbiter: Any, space: Any, data: Any) -> None:
        """Called for every touching pair at the end of a substep in which at least one contact began."""
        if not arbiter.is_first_contact:
            return
        first, second = arbiter.shapes
        a, b = sorted((first.place, second.place))
        impulse = arbiter.total_impulse
        size = math.hypot(impulse.x, impulse.y)
        time = self.clock / self.substeps
        bodies = self.scene.bodies
        last = self.latest.get((a, b))
        if last is not None and time - last[0] < MERGE:
            last[0] = time
            last[1].impulse += size
        else:
            contact = Contact(time, (bodies[a].name, bodies[b].name), size)
            self.contacts.append(contact)
            self.latest[a, b] = [time, contact]


def _to_pymunk(pymunk: Any, holder: Any, shape: Shape, part: Part | None) -> Any:
    """A pymunk shape on `holder`; `part` places the shape of a fixed part on the static body."""

    def at(point: tuple[float, float]) -> tuple[float, float]:
        if part is None:
            return point
        s, c = math.sin(part.angle), math.cos(part.angle)
        return part.position[0] + c * point[0] - s * point[1], part.position[1] + s * point[0] + c * point[1]

    if isinstance(shape, Circle):
        return pymunk.Circle(holder, shape.radius, at((0.0, 0.0)))
    if isinstance(shape, Polygon):
        return pymunk.Poly(holder, [at(vertex) for vertex in shape.vertices])
    return pymunk.Segment(holder, at(shape.start), at(shape.end), shape.radius)
