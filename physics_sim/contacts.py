"""Contacts of a run: when they begin, between whom, how hard; and when the agent first touches the patient."""

import math
from dataclasses import dataclass
from typing import Any

from physics_sim.scene import Scene

MERGE = 0.5
"""Touches of the same two bodies less than this many frames apart count as one contact."""


@dataclass
class Contact:
    """Two bodies begin to touch: when (frames since the first), who, and the impulse of the first substep (N s)."""

    time: float
    bodies: tuple[str, str]
    impulse: float


class Contacts:
    """Listens to one pymunk space. Shapes say in `.place` which body of the scene they belong to."""

    def __init__(self, scene: Scene, dt: float, substeps: int) -> None:
        self.scene, self.dt, self.substeps = scene, dt, substeps
        self.clock = 0
        """Fine substeps since the beginning: the run counts them here."""
        self.touch = math.nan
        """When the agent first touches the patient, in frames."""
        self.found: list[Contact] = []
        self.begun: list[tuple[int, int, Any]] = []
        """Contacts that began in this substep: two places in the scene, pymunk's arbiter."""
        self._latest: dict[tuple[int, int], list[Any]] = {}
        """Of two bodies: when they last began to touch, and the contact that it counts to."""
        agent, patient = scene.index("agent"), scene.index("patient")
        self._question = None if agent is None or patient is None else {agent, patient}

    def begin(self, arbiter: Any, space: Any, data: Any) -> None:
        """pymunk calls it when two shapes begin to touch."""
        first, second = arbiter.shapes
        a, b = first.place, second.place
        if self._question is not None and math.isnan(self.touch) and {a, b} == self._question:
            self.touch = self._when(arbiter)
        a, b = min(a, b), max(a, b)
        last = self._latest.get((a, b))
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

    def record(self) -> None:
        """Notes the contacts that began in the substep just made, with the impulses that it gave.

        In the order in which they began: pymunk's own set of arbiters is ordered by their addresses in memory.
        """
        time = self.clock / self.substeps
        bodies = self.scene.bodies
        for a, b, arbiter in self.begun:
            # The arbiter of a contact lives on until some steps after its end.
            size = math.hypot(*arbiter.total_impulse)
            last = self._latest.get((a, b))
            if last is not None and last[0] == time:
                # Another piece of the same two bodies.
                last[1].impulse += size
            else:
                contact = Contact(time, (bodies[a].name, bodies[b].name), size)
                self.found.append(contact)
                self._latest[a, b] = [time, contact]
        self.begun.clear()
