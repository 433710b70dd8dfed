"""PhyWorld's metric, as its `evaluate.py` computes it (github.com/phyworld/phyworld, commit ee0e473; arXiv 2411.02385).

A ball is where its colour is: pixels beyond 127 in its own channel and below in the others; its place is the mean index
of their columns and rows, by the size of the picture, times 10 m. Scored are frames 3 (counted from 0) to the last but
one, of a single ball only those in which all of it is in the picture, of two balls those in which neither has left it
at its own side. A ball that cannot be seen is set to the edge. Names are the script's own, with `phyworld_` in front.

**Its ruler is short.** Its pictures are drawn on 255 steps (pixel 0 is 0 m, pixel 255 is 10 m) and read as index / 256,
so everything seems to move 255/256 as fast as it does. At 2.5 m/s that is 0.0098 m/s, all of the error that true frames
have in the paper for uniform motion (0.0099). So each number stands here twice: by its ruler, and (`_unbiased`) by the
one that the file was drawn with. Predictors of states are measured by no ruler, as in its script.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from evals.scoring.score import Metric

Floats = NDArray[np.float64]

FIRST = 3
"""The first frame that is scored: three are given."""
SIDE = 10.0
"""Metres of a picture."""
SECONDS = 0.1
"""Between two frames."""
LEVEL = 127
JUMP = 0.1
"""m/s: a change of a ball's true velocity between frames that is a collision."""
SHAPE_FRAMES = 5
"""Of two balls the radius is watched in the first scored frames only."""
UNBIASED = "_unbiased"


def _rows() -> list[Metric]:
    """Every number that the script prints, and its twin by the unbiased ruler where a ruler has a part in it."""
    table = (
        ("vel_error", "velocity error", "m/s", "|mean over time of v_x - v|", True),
        ("abs_x_err_avg", "x error", "m", "mean over time of |x^ - x|", True),
        ("abs_y_err_avg", "y error", "m", "mean over time of |y^ - y|", True),
        ("pre_vel_error", "velocity error before", "m/s", "|mean v^_x - mean v_x| before the collision", True),
        ("post_vel_error", "velocity error after", "m/s", "|mean v^_x - mean v_x| after the collision", True),
        ("pre_x_err_avg", "x error before", "m", "mean |x^ - x| before the collision", False),
        ("post_x_err_avg", "x error after", "m", "mean |x^ - x| after the collision", False),
        ("pre_vel_err_avg", "velocity by frame before", "m/s", "mean |v^_x - v_x| before the collision", False),
        ("post_vel_err_avg", "velocity by frame after", "m/s", "mean |v^_x - v_x| after the collision", False),
        ("pre_momentum_error_avg", "momentum before", "kg m/s", "mean |P^ - P| before the collision", False),
        ("post_momentum_error_avg", "momentum after", "kg m/s", "mean |P^ - P| after the collision", False),
        ("pre_energy_error_avg", "energy before", "J", "mean |E^ - E| before the collision", False),
        ("post_energy_error_avg", "energy after", "J", "mean |E^ - E| after the collision", False),
    )  # fmt: skip
    found = []
    for name, label, unit, formula, shown in table:
        for tail, ruler in (("", "its ruler"), (UNBIASED, "unbiased")):
            said = f"{formula}; PhyWorld's `{name}`, " + ("by its own ruler" if not tail else "by an unbiased ruler")
            found.append(
                Metric(f"phyworld_{name}{tail}", f"{label}, {ruler}", unit, "lower", said, shown=shown, digits=4)
            )
    radius = "largest minus smallest radius seen, from the area; PhyWorld's `delta_r`"
    return [*found, Metric("phyworld_delta_r", "radius drift", "m", "lower", radius, digits=4)]


METRICS: dict[str, Metric] = {metric.name: metric for metric in _rows()}
LAWS = {
    "uniform": ("vel_error", "abs_x_err_avg", "abs_y_err_avg", "delta_r"),
    "parabola": ("abs_x_err_avg", "abs_y_err_avg", "delta_r"),
    "collision": (
        *("pre_vel_error", "post_vel_error", "pre_x_err_avg", "post_x_err_avg", "pre_vel_err_avg", "post_vel_err_avg"),
        *("pre_momentum_error_avg", "post_momentum_error_avg", "pre_energy_error_avg", "post_energy_error_avg"),
        "delta_r",
    ),
}
"""What its script prints of each law."""


def metrics_of(law: str) -> dict[str, Metric]:
    """The metrics of a law, in the order of the script, each followed by its unbiased twin."""
    wanted = [f"phyworld_{key}{tail}" for key in LAWS[law] for tail in ("", UNBIASED)]
    return {name: METRICS[name] for name in wanted if name in METRICS}


# ---- what is seen


@dataclass(frozen=True)
class Seen:
    """Where balls are by their colours. T frames, N balls; NaN where none of a ball is seen."""

    index: Floats
    """(T, N, 2): mean column, and mean row counted from the bottom, pixels from the first one's centre."""
    radius: Floats
    """(T, N) metres, from the area."""
    size: int


def look(frames: NDArray[np.uint8], colours: Sequence[int]) -> Seen:
    """Finds balls by colour in frames (T, S, S, 3), upright. `colours`: for each ball 0 (red) or 1 (blue)."""
    size = frames.shape[2]
    red, green, blue = (frames[:, ::-1, :, channel] for channel in range(3))  # its rows count from the bottom
    masks = [
        (red > LEVEL) & (green < LEVEL) & (blue < LEVEL)
        if colour == 0
        else (red < LEVEL) & (green < LEVEL) & (blue > LEVEL)
        for colour in colours
    ]
    index = np.full((len(frames), len(masks), 2), np.nan)
    radius = np.full((len(frames), len(masks)), np.nan)
    for n, mask in enumerate(masks):
        for t in np.flatnonzero(mask.any((1, 2))):
            rows, columns = np.nonzero(mask[t])
            index[t, n] = columns.mean(), rows.mean()
            radius[t, n] = np.sqrt(len(rows) / np.pi) / size * SIDE
    return Seen(index, radius, size)


@dataclass(frozen=True)
class Ruler:
    """How a file's pictures were drawn, so that they can be read without bias.

    `steps` is 255 for pictures of 256 pixels drawn as PhyWorld draws them (from the centre of the first pixel to the
    centre of the last); None for pictures whose edges are 0 and 10 m, as `physics_sim` draws them.
    """

    steps: int | None

    def metres(self, place: Floats) -> Floats:
        """Metres from places in a picture, in units of which it is 10 wide, from edge to edge."""
        if self.steps is None:
            return place
        return (place / SIDE * (self.steps + 1) - 0.5) / self.steps * SIDE

    def place(self, metres: Floats) -> Floats:
        """The inverse of `metres`."""
        if self.steps is None:
            return metres
        return (metres / SIDE * self.steps + 0.5) / (self.steps + 1) * SIDE

    def read(self, seen: Seen) -> Floats:
        """(T, N, 2) metres of what is seen, at any size of the picture."""
        return self.metres((seen.index + 0.5) / seen.size * SIDE)


def read_as_phyworld(seen: Seen) -> Floats:
    """(T, N, 2) metres by its own ruler: index by size."""
    return seen.index / seen.size * SIDE


# ---- scores


def scored_frames(init: Sequence[float], states: Floats) -> NDArray[np.intp]:
    """Which of the frames of true states (T, N, 2) its script scores, given the last frame is already left out."""
    inside = np.ones(len(states), bool)
    if states.shape[1] == 2:
        inside &= (states[:, 0, 0] - init[0] >= 0) & (states[:, 1, 0] + init[1] <= SIDE)
    else:
        for along in (states[:, 0, 0], states[:, 0, 1]):
            inside &= (along - init[0] >= 0) & (along + init[0] <= SIDE)
    inside[:FIRST] = False
    return np.flatnonzero(inside)


def score(law: str, init: Sequence[float], states: Floats, found: Floats, radius: Floats) -> dict[str, float]:
    """Its numbers of one clip by the names of its script, NaN where one has no frames.

    Args:
        init: `(r, v, ...)` or `(r1, r2, v1, v2)`, metres and m/s.
        states: (T, N, 2) true positions, metres, all frames of the clip.
        found: (T, N, 2) predicted ones, NaN where a ball is absent.
        radius: (T, N) predicted ones, NaN where unknown.
    """
    states, found, radius = states[:-1], found[:-1], radius[:-1]
    index = scored_frames(init, states)
    if not len(index):
        return {key: float("nan") for key in LAWS[law]}
    states, found, radius = states[index], found[index].copy(), _kept(radius[index])
    edges = (0.0, SIDE) if states.shape[1] == 2 else (SIDE,)
    for n, edge in enumerate(edges):
        absent = np.isnan(found[:, n]).any(1)
        found[absent, n, 0], found[absent, n, 1] = edge, np.nan
    found[..., 1] = _kept(found[..., 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean over no frames is NaN, as it is there
        values = _two(init, states, found[..., 0], radius) if len(edges) == 2 else _one(init, states, found, radius)
    return {key: float(values[key]) for key in LAWS[law]}


def _kept(values: Floats) -> Floats:
    """(T, N) with each NaN replaced by the value before it."""
    values = values.copy()
    for before, row in pairwise(values):
        row[np.isnan(row)] = before[np.isnan(row)]
    return values


def _one(init: Sequence[float], states: Floats, found: Floats, radius: Floats) -> dict[str, float]:
    velocity = np.diff(found[:, 0, 0]) / SECONDS
    error = np.abs(found - states)[:, 0].mean(0)
    return {
        "vel_error": abs(velocity.mean() - init[1]),
        "abs_x_err_avg": error[0],
        "abs_y_err_avg": error[1],
        "delta_r": np.ptp(radius),
    }


def _two(init: Sequence[float], states: Floats, x: Floats, radius: Floats) -> dict[str, float]:
    true = states[..., 0]
    true_velocity, velocity = np.diff(true, axis=0) / SECONDS, np.diff(x, axis=0) / SECONDS
    hit = len(true_velocity) - 1
    jumps = np.flatnonzero((np.abs(np.diff(true_velocity, axis=0)) > JUMP).any(1))
    if len(jumps):
        hit = int(jumps[0]) + 1
    parts = {"pre": (slice(hit), slice(hit + 1)), "post": (slice(hit + 1, None), slice(hit + 1, None))}
    mass = np.square(init[:2])
    momentum = velocity @ mass - (mass[0] * init[2] - mass[1] * init[3])
    energy = velocity**2 @ mass / 2 - (mass[0] * init[2] ** 2 + mass[1] * init[3] ** 2) / 2
    first, second = np.ptp(radius[:SHAPE_FRAMES], axis=0)
    values = {"delta_r": max(first, second)}
    for name, (steps, frames) in parts.items():
        off = velocity[steps].mean(0) - true_velocity[steps].mean(0)
        values[f"{name}_vel_error"] = np.abs(off).mean()
        values[f"{name}_x_err_avg"] = np.abs(x[frames] - true[frames]).mean()
        values[f"{name}_vel_err_avg"] = np.abs(velocity[steps] - true_velocity[steps]).mean()
        values[f"{name}_momentum_error_avg"] = np.abs(momentum[steps]).mean()
        values[f"{name}_energy_error_avg"] = np.abs(energy[steps]).mean()
    return values


def score_frames(
    law: str, init: Sequence[float], states: Floats, frames: NDArray[np.uint8], ruler: Ruler
) -> dict[str, float]:
    """METRICS of a clip of frames (T, S, S, 3): by PhyWorld's ruler, and by the unbiased one."""
    colours = (0, 1) if states.shape[1] == 2 else (int(init[2]) if len(init) == 3 else 0,)
    seen = look(frames, colours)
    return _both(law, init, states, read_as_phyworld(seen), ruler.read(seen), seen.radius)


def score_states(law: str, init: Sequence[float], states: Floats, found: Floats) -> dict[str, float]:
    """METRICS of predicted states (T, N, 2) in metres: no ruler has a part in it."""
    return _both(law, init, states, found, found, np.full(found.shape[:2], np.nan))


def _both(
    law: str, init: Sequence[float], states: Floats, biased: Floats, unbiased: Floats, radius: Floats
) -> dict[str, float]:
    values = {f"phyworld_{key}": value for key, value in score(law, init, states, biased, radius).items()}
    for key, value in score(law, init, states, unbiased, radius).items():
        if f"phyworld_{key}{UNBIASED}" in METRICS:
            values[f"phyworld_{key}{UNBIASED}"] = value
    return values
