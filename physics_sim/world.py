"""A scene, run in pymunk: the states of every part at every frame, and every contact."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from physics_sim.bindings import new_buffer, outward_planes, stepper, to_pymunk
from physics_sim.errors import SimulationError
from physics_sim.scene import Body, Part, Scene
from physics_sim.units import FRAME_TIME, FRAMES, SUBSTEPS

SLOP = 0.002
"""Metres of overlap that the solver leaves alone, so that resting contacts persist."""
MERGE = 0.5
"""Touches of the same two bodies less than this many frames apart count as one contact."""
STIFF = 1e-7
"""Differences of velocity (m/s, rad/s) in a chain below which it flies as one piece."""
CHUNKS = 4
"""Parts of a frame; in those during which nothing can touch, a single step is as exact as many."""


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
    """Runs a scene. `stop(time)` is asked when the agent first touches the patient; True raises Stopped."""
    if substeps < CHUNKS or substeps % CHUNKS:
        raise SimulationError(f"substeps must be a multiple of {CHUNKS}, not {substeps!r}.")
    run = _Run(scene, FRAME_TIME / substeps, substeps)
    state = np.empty((frames, len(run.parts), 6))
    run.read(state[0])
    for frame in range(1, frames):
        for _ in run.chunks():
            if stop is not None and not math.isnan(run.touch):
                if stop(run.touch):
                    raise Stopped(run.touch)
                stop = None
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
    """One pymunk space and the bookkeeping around it.

    pymunk moves bodies before it accelerates them (explicit Euler), which is exact for a parabola if velocities are
    those of half a step later. So bodies carry `lead`, half a step's gain of velocity, and it is taken off what is
    reported of those in free flight. Bodies that rest at first sleep until something touches them.
    """

    def __init__(self, scene: Scene, dt: float, substeps: int) -> None:
        import pymunk
        from pymunk import batch

        self.pymunk, self.batch = pymunk, batch
        self.scene, self.dt, self.substeps = scene, dt, substeps
        self.clock = 0
        """Fine substeps since the beginning."""
        self.free_until = 0
        """The clock until which nothing can touch anything."""
        self.touch = math.nan
        self.contacts: list[Contact] = []
        self.latest: dict[tuple[int, int], list[Any]] = {}
        """Of two bodies: when they last began to touch, and the contact that it counts to."""
        self.parts: list[Part] = []
        self.holders: list[Any] = []
        """pymunk bodies of the parts; the space's static body for fixed ones."""
        agent, patient = scene.index("agent"), scene.index("patient")
        self.question = None if agent is None or patient is None else {agent, patient}
        self.lead = -0.5 * scene.gravity * dt

        self.space = space = pymunk.Space()
        space.gravity = (0.0, -scene.gravity)
        space.collision_slop = SLOP
        self.step = stepper(space)
        self.begun: list[tuple[int, int, Any]] = []
        """Contacts that began in this substep: two places in the scene, pymunk's arbiter."""
        for number, body in enumerate(scene.bodies):
            group = pymunk.ShapeFilter(group=_group(number, body))
            for part in body.parts:
                self._add(number, body, part, group)
        self._join()
        moving = [i for i, holder in enumerate(self.holders) if holder is not space.static_body]
        self.place = {self.holders[i].id: i for i in moving}
        self._sleep()
        space.on_collision(None, None, begin=self._begin)

        self.state = np.empty((len(self.parts), 6))
        for i, part in enumerate(self.parts):
            self.state[i] = (*part.position, part.angle, *part.velocity, part.angular_velocity)
        self.touching: set[int | None] = set()
        """Parts that touch something now."""
        self.buffer = new_buffer()
        self.order: tuple[bytes, list[int], list[int]] = (b"", [], [])
        """Of the bodies that pymunk lists: their ids, the rows of those that are parts, and which parts."""
        fields = batch.BodyFields
        self.fields = fields.BODY_ID | fields.POSITION | fields.ANGLE | fields.VELOCITY | fields.ANGULAR_VELOCITY
        pairs = batch.ArbiterFields
        self.pairs = pairs.BODY_A_ID | pairs.BODY_B_ID

    def _add(self, number: int, body: Body, part: Part, group: Any) -> None:
        space = self.space
        if body.fixed:
            holder = space.static_body
        else:
            moment = sum(shape.moment(body.density * shape.area) for shape in part.shapes)
            holder = self.pymunk.Body(body.density * part.area, moment)
            holder.position = part.position
            holder.angle = part.angle
            if not body.asleep:
                holder.velocity = part.velocity[0], part.velocity[1] + self.lead
                holder.angular_velocity = part.angular_velocity
            space.add(holder)
        for shape in part.shapes:
            made = to_pymunk(self.pymunk, holder, shape, part if body.fixed else None)
            made.elasticity, made.friction = body.elasticity, body.friction
            made.filter = group
            made.place = number
            space.add(made)
        self.parts.append(part)
        self.holders.append(holder)

    def _join(self) -> None:
        places = {}
        holders = iter(self.holders)
        for body in self.scene.bodies:
            for offset in range(len(body.parts)):
                places[body.name, offset] = next(holders)
        for joint in self.scene.joints:
            other = self.space.static_body if joint.second is None else places[joint.second]
            pivot = self.pymunk.PivotJoint(places[joint.first], other, joint.point)
            pivot.collide_bodies = False
            self.space.add(pivot)

    def _sleep(self) -> None:
        """Puts to sleep what rests at first, and prepares what `_free` asks of the others."""
        owners = [body for body in self.scene.bodies for _ in body.parts]
        self.asleep = {i for i, body in enumerate(owners) if body.asleep}
        if self.asleep:
            self.space.sleep_time_threshold = 1e9
            first: dict[int, Any] = {}
            for i in sorted(self.asleep):
                # What hangs together wakes together.
                group, holder = owners[i].group, self.holders[i]
                if group and first.setdefault(group, holder) is not holder:
                    holder.sleep_with_group(first[group])
                else:
                    holder.sleep()
        self.groups = [_group(number, body) for number, body in enumerate(self.scene.bodies) for _ in body.parts]
        anchors = {joint.first for joint in self.scene.joints if joint.second is None}
        names = [(body.name, offset) for body in self.scene.bodies for offset in range(len(body.parts))]
        self.anchors = {i for i, name in enumerate(names) if name in anchors}
        joined = {name for joint in self.scene.joints for name, _ in (joint.first, joint.second or joint.first)}
        groups = {self.groups[i] for i, body in enumerate(owners) if body.name in joined}
        self.chains = [[i for i, other in enumerate(self.groups) if other == group] for group in sorted(groups)]
        self.reach = [max(shape.reach for shape in part.shapes) for part in self.parts]
        self.planes = {
            i: [outward_planes(shape, self.parts[i]) for shape in self.parts[i].shapes]
            for i, body in enumerate(owners)
            if body.fixed
        }

    def chunks(self) -> Iterator[None]:
        """Runs one frame, and yields after each of its pieces: whole chunks while nothing can touch anything."""
        left, chunk = self.substeps, self.substeps // CHUNKS
        while left:
            free = self._free(chunk if left > chunk else left)
            quiet = free >= min(left, chunk)
            if quiet:
                steps = left if free >= left else free - free % chunk
                self.clock += steps
                self._change_lead(steps)
                self.step(self.dt * steps)
                self._change_lead(1)
            else:
                steps = left if self.touching or self.anchored else min(left, chunk)
                self._advance(steps)
            left -= steps
            self._update(quiet)
            yield

    @property
    def anchored(self) -> bool:
        """Whether something swings from a fixed point: it is never free."""
        return not self.anchors <= self.asleep

    def _advance(self, steps: int) -> None:
        step, dt, begun = self.step, self.dt, self.begun
        for _ in range(steps):
            self.clock += 1
            step(dt)
            if begun:
                self._record()

    def _change_lead(self, steps: int) -> None:
        lead = -0.5 * self.scene.gravity * self.dt * steps
        if lead != self.lead:
            for i in self.place.values():
                if i not in self.asleep:
                    x, y = self.holders[i].velocity
                    self.holders[i].velocity = x, y + lead - self.lead
            self.lead = lead

    def _free(self, least: int) -> int:
        """Substeps during which nothing can touch anything, or 0 if they are fewer than `least`.

        By spheres around parts and planes of scenery. What was found holds until then, so it is looked up first.
        """
        if self.touching or self.anchored:
            return 0
        if self.free_until - self.clock >= least:
            return self.free_until - self.clock
        rows = self.state.tolist()
        for parts in self.chains:
            for column in (3, 4, 5):
                values = [rows[i][column] for i in parts]
                if max(values) - min(values) > STIFF or (column == 5 and max(map(abs, values)) > STIFF):
                    return 0
        fall = 4 * self.scene.gravity
        time, shortest = math.inf, least * self.dt
        for i in self.place.values():
            if i in self.asleep:
                continue
            x, y, _, vx, vy, _ = rows[i]
            for j, (u, v, _, wx, wy, _) in enumerate(rows):
                if j in self.planes:
                    speed, room = math.hypot(vx, vy), math.inf
                    for planes, centre, radius in self.planes[j]:
                        if planes is None:
                            gap = math.hypot(x - centre[0], y - centre[1]) - radius
                        else:
                            gap = max(nx * x + ny * y - d for nx, ny, d in planes)
                        room = min(room, gap)
                    room -= self.reach[i] + 2 * SLOP
                elif (i < j or (i > j and j in self.asleep)) and self.groups[i] != self.groups[j]:
                    speed = math.hypot(vx - wx, vy - wy)
                    room = math.hypot(x - u, y - v) - self.reach[i] - self.reach[j] - 2 * SLOP
                else:
                    continue
                if room <= 0:
                    return 0
                # room = speed t + gravity t^2, which is more than anything falls.
                rate = speed + math.sqrt(speed * speed + fall * room)
                if rate > 0:
                    time = min(time, 2 * room / rate)
                    if time < shortest:
                        return 0
        free = int(min(time / self.dt, 1e6))
        self.free_until = self.clock + free
        return free if free >= least else 0

    def _update(self, quiet: bool) -> None:
        """Reads all states, with two calls for all bodies; velocities are those of this moment."""
        if not self.place:
            return
        buffer, place = self.buffer, self.place
        buffer.clear()
        self.batch.get_space_bodies(self.space, self.fields, buffer)
        ids = bytes(buffer.int_buf())
        if ids != self.order[0]:
            # Bodies that fall asleep or wake change their order.
            numbers = memoryview(ids).cast("P").tolist()
            rows = [row for row, number in enumerate(numbers) if number in place]
            self.order = ids, rows, [place[numbers[row]] for row in rows]
        values = np.frombuffer(buffer.float_buf(), dtype=float).reshape(-1, 6)
        self.state[self.order[2]] = values[self.order[1]]
        if not quiet:
            buffer.clear()
            self.batch.get_space_arbiters(self.space, self.pairs, buffer)
            self.touching = {place.get(i) for i in memoryview(buffer.int_buf()).cast("P").tolist()}
        if self.asleep:
            self.asleep = {i for i in self.asleep if self.holders[i].is_sleeping}
        if self.lead:
            flying = [i for i in place.values() if i not in self.touching and i not in self.asleep]
            if flying:
                self.state[flying, 4] -= self.lead

    def read(self, out: np.ndarray) -> None:
        """Writes (P, 6): x, y, angle, vx, vy, angular velocity."""
        out[:] = self.state

    def _begin(self, arbiter: Any, space: Any, data: Any) -> None:
        first, second = arbiter.shapes
        a, b = first.place, second.place
        if self.question is not None and math.isnan(self.touch) and {a, b} == self.question:
            self.touch = self._when(arbiter)
        a, b = min(a, b), max(a, b)
        last = self.latest.get((a, b))
        time = self.clock / self.substeps
        if last is not None and last[0] < time < last[0] + MERGE:
            last[0] = time
        else:
            self.begun.append((a, b, arbiter))

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

    def _record(self) -> None:
        """Notes the contacts that began in the substep just made, with the impulses that it gave.

        In the order in which they began: pymunk's own set of arbiters is ordered by their addresses in memory.
        """
        time = self.clock / self.substeps
        bodies = self.scene.bodies
        for a, b, arbiter in self.begun:
            # The arbiter of a contact lives on until some steps after its end.
            size = math.hypot(*arbiter.total_impulse)
            last = self.latest.get((a, b))
            if last is not None and last[0] == time:
                # Another piece of the same two bodies.
                last[1].impulse += size
            else:
                contact = Contact(time, (bodies[a].name, bodies[b].name), size)
                self.contacts.append(contact)
                self.latest[a, b] = [time, contact]
        self.begun.clear()


def _group(number: int, body: Body) -> int:
    return body.group or number + 1000
