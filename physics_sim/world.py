"""A scene, run in pymunk: the states of every part at every frame, and every contact."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from physics_sim.bindings import new_buffer, stepper, to_pymunk
from physics_sim.contacts import Contact, Contacts
from physics_sim.errors import SimulationError
from physics_sim.free_flight import SLOP, FreeFlight, group_of
from physics_sim.scene import Body, Part, Scene
from physics_sim.units import FRAME_TIME, FRAMES, SUBSTEPS

PIECES = 4
"""Parts of a frame; in those during which nothing can touch, a single step is as exact as many."""


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

    def copy(self) -> "Trajectory":
        """One with arrays and a list of its own."""
        return Trajectory(
            self.position.copy(),
            self.angle.copy(),
            self.velocity.copy(),
            self.angular_velocity.copy(),
            list(self.contacts),
            self.touch,
        )


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
    if substeps < PIECES or substeps % PIECES:
        raise SimulationError(f"substeps must be a multiple of {PIECES}, not {substeps!r}.")
    run = _Run(scene, FRAME_TIME / substeps, substeps)
    state = np.empty((frames, len(run.parts), 6))
    run.read(state[0])
    for frame in range(1, frames):
        for _ in run.pieces():
            if stop is not None and not math.isnan(run.contacts.touch):
                if stop(run.contacts.touch):
                    raise Stopped(run.contacts.touch)
                stop = None
        run.read(state[frame])
    return Trajectory(
        state[..., 0:2].copy(),
        state[..., 2].copy(),
        state[..., 3:5].copy(),
        state[..., 5].copy(),
        run.contacts.found,
        run.contacts.touch,
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
        self.contacts = Contacts(scene, dt, substeps)
        self.flight = FreeFlight(scene, dt)
        self.parts: list[Part] = []
        self.holders: list[Any] = []
        """pymunk bodies of the parts; the space's static body for fixed ones."""
        self.lead = -0.5 * scene.gravity * dt

        self.space = space = pymunk.Space()
        space.gravity = (0.0, -scene.gravity)
        space.collision_slop = SLOP
        self.step = stepper(space)
        for number, body in enumerate(scene.bodies):
            group = pymunk.ShapeFilter(group=group_of(number, body))
            for part in body.parts:
                self._add(number, body, part, group)
        self._join()
        moving = [i for i, holder in enumerate(self.holders) if holder is not space.static_body]
        self.place = {self.holders[i].id: i for i in moving}
        self._sleep()
        space.on_collision(None, None, begin=self.contacts.begin)

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
        """Puts to sleep what rests at first, and notes what hangs from fixed points."""
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
        anchors = {joint.first for joint in self.scene.joints if joint.second is None}
        names = [(body.name, offset) for body in self.scene.bodies for offset in range(len(body.parts))]
        self.anchors = {i for i, name in enumerate(names) if name in anchors}

    def pieces(self) -> Iterator[None]:
        """Runs one frame, and yields after each of its pieces: whole ones while nothing can touch anything."""
        left, piece = self.substeps, self.substeps // PIECES
        while left:
            least = min(left, piece)
            free = 0
            if not self.touching and not self.anchored:
                free = self.flight.substeps(self.state, self.asleep, self.contacts.clock, least)
            quiet = free >= least
            if quiet:
                steps = left if free >= left else free - free % piece
                self.contacts.clock += steps
                self._change_lead(steps)
                self.step(self.dt * steps)
                self._change_lead(1)
            else:
                steps = left if self.touching or self.anchored else least
                self._advance(steps)
            left -= steps
            self._update(quiet)
            yield

    @property
    def anchored(self) -> bool:
        """Whether something swings from a fixed point: it is never free."""
        return not self.anchors <= self.asleep

    def _advance(self, steps: int) -> None:
        step, dt, contacts = self.step, self.dt, self.contacts
        begun = contacts.begun
        for _ in range(steps):
            contacts.clock += 1
            step(dt)
            if begun:
                contacts.record()

    def _change_lead(self, steps: int) -> None:
        lead = -0.5 * self.scene.gravity * self.dt * steps
        if lead != self.lead:
            for i in self.place.values():
                if i not in self.asleep:
                    x, y = self.holders[i].velocity
                    self.holders[i].velocity = x, y + lead - self.lead
            self.lead = lead

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
