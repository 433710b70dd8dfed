"""For how long nothing can touch anything: so long a single step of the solver is as exact as many."""

import math
from typing import Any

import numpy as np

from physics_sim.bindings import outward_planes
from physics_sim.scene import Body, Scene

SLOP = 0.002
"""Metres of overlap that the solver leaves alone, so that resting contacts persist."""
STIFF = 1e-7
"""Differences of velocity (m/s, rad/s) in a chain below which it flies as one piece."""


def group_of(number: int, body: Body) -> int:
    """The group of the number-th body: parts of one group pass through each other."""
    return body.group or number + 1000


class FreeFlight:
    """What is known of a scene's parts, by their numbers: spheres around them, and planes of scenery."""

    def __init__(self, scene: Scene, dt: float) -> None:
        self.dt, self.fall = dt, 4 * scene.gravity
        self.until = 0
        """The clock until which nothing can touch anything."""
        owners = [body for body in scene.bodies for _ in body.parts]
        parts = [part for body in scene.bodies for part in body.parts]
        self.groups = [group_of(number, body) for number, body in enumerate(scene.bodies) for _ in body.parts]
        joined = {name for joint in scene.joints for name, _ in (joint.first, joint.second or joint.first)}
        groups = {self.groups[i] for i, body in enumerate(owners) if body.name in joined}
        self.chains = [[i for i, other in enumerate(self.groups) if other == group] for group in sorted(groups)]
        self.reach = [max(shape.reach for shape in part.shapes) for part in parts]
        self.moving = [i for i, body in enumerate(owners) if not body.fixed]
        self.planes: dict[int, list[Any]] = {
            i: [outward_planes(shape, parts[i]) for shape in parts[i].shapes]
            for i, body in enumerate(owners)
            if body.fixed
        }

    def substeps(self, state: np.ndarray, asleep: set[int], clock: int, least: int) -> int:
        """Substeps from `clock` on during which nothing can touch anything, or 0 if they are fewer than `least`.

        state: (P, 6) x, y, angle, vx, vy, angular velocity of the parts. What was found holds until then, so it is
        looked up first.
        """
        if self.until - clock >= least:
            return self.until - clock
        rows = state.tolist()
        if not self._stiff(rows):
            return 0
        time, shortest = math.inf, least * self.dt
        for i in self.moving:
            if i in asleep:
                continue
            for j in range(len(rows)):
                way = self._room(i, j, rows, asleep)
                if way is None:
                    continue
                speed, room = way
                if room <= 0:
                    return 0
                # room = speed t + gravity t^2, which is more than anything falls.
                rate = speed + math.sqrt(speed * speed + self.fall * room)
                if rate > 0:
                    time = min(time, 2 * room / rate)
                    if time < shortest:
                        return 0
        free = int(min(time / self.dt, 1e6))
        self.until = clock + free
        return free if free >= least else 0

    def _stiff(self, rows: list[list[float]]) -> bool:
        """Whether every chain flies as one piece."""
        for parts in self.chains:
            for column in (3, 4, 5):
                values = [rows[i][column] for i in parts]
                if max(values) - min(values) > STIFF or (column == 5 and max(map(abs, values)) > STIFF):
                    return False
        return True

    def _room(self, i: int, j: int, rows: list[list[float]], asleep: set[int]) -> tuple[float, float] | None:
        """How fast two parts could near each other and how far apart they are at least; None: another pair says it."""
        x, y, _, vx, vy, _ = rows[i]
        if j in self.planes:
            room = math.inf
            for planes, centre, radius in self.planes[j]:
                if planes is None:
                    gap = math.hypot(x - centre[0], y - centre[1]) - radius
                else:
                    gap = max(nx * x + ny * y - d for nx, ny, d in planes)
                room = min(room, gap)
            return math.hypot(vx, vy), room - self.reach[i] - 2 * SLOP
        if (i < j or (i > j and j in asleep)) and self.groups[i] != self.groups[j]:
            u, v, _, wx, wy, _ = rows[j]
            away = math.hypot(x - u, y - v) - self.reach[i] - self.reach[j] - 2 * SLOP
            return math.hypot(vx - wx, vy - wy), away
        return None
