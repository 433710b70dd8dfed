"""How much of the answer the first frame gives away: a logistic regression on what is seen there."""

from dataclasses import dataclass

import numpy as np

from physics_sim.clip import Clip
from physics_sim.sampling import make_clip
from physics_sim.scene import ROLES
from physics_sim.shapes import KINDS
from physics_sim.units import WORLD

THINGS = 6
"""Bodies other than agent and patient that enter the features; zeros if there are fewer."""


@dataclass(frozen=True)
class Leak:
    """Accuracies from 0 to 1 on clips that the regression was not fitted to."""

    scenario: str
    seen: float
    """From positions, angles, sizes and kinds at the first frame, worked up (see `features`): what one frame shows."""
    states: float
    """From all states at the first frame as they are stored, with the velocities, which no single frame shows."""
    informed: float
    """From the worked-up features and the velocities: what hindsight about the scenarios makes of them."""
    contact: float
    """Share of clips with contact: what a constant answer reaches, or one less that."""
    chaotic: float
    """Share of clips flagged as chaotic."""


def measure_leak(
    scenario: str, *, fitted: int = 400, tested: int = 300, split: str = "test", seed: int = 0, chaos: int = 0
) -> Leak:
    """Fits on `fitted` clips of the split `val`, tests on `tested` of `split`, and runs `chaos` of them finely."""
    fit = [make_clip(scenario, "val", i, seed=seed) for i in range(fitted)]
    test = [make_clip(scenario, split, i, seed=seed) for i in range(tested)]
    labels = np.array([clip.contact for clip in fit]), np.array([clip.contact for clip in test])
    scores = []
    for describe in (features, states, lambda clip: features(clip, velocities=True)):
        inputs = [np.array([describe(clip) for clip in clips]) for clips in (fit, test)]
        scores.append(accuracy(inputs[0], labels[0], inputs[1], labels[1]))
    wild = float(np.mean([clip.chaotic for clip in test[:chaos]])) if chaos else float("nan")
    return Leak(scenario, scores[0], scores[1], scores[2], float(labels[1].mean()), wild)


def states(clip: Clip) -> list[float]:
    """Position, angle, velocity and angular velocity of every body at the first frame, agent and patient first."""
    values: list[float] = []
    for i in _order(clip):
        values += [*clip.position[0, i], clip.angle[0, i], *clip.velocity[0, i], clip.angular_velocity[0, i]]
    return [*values, *[0.0] * (6 * (2 + THINGS) - len(values))]


def features(clip: Clip, velocities: bool = False) -> list[float]:
    """What the first frame shows, as numbers, in a scene turned so that the patient is on the agent's right."""
    order = _order(clip)
    place = {body.role: i for i, body in reversed(list(enumerate(clip.bodies)))}
    position = clip.position[0]
    flip = -1.0 if position[place["patient"], 0] < position[place["agent"], 0] else 1.0
    values: list[float] = []
    for i in order:
        body = clip.bodies[i]
        x, y = position[i]
        reach = max(shape.reach for part in body.parts for shape in part.shapes)
        values += [flip * (x - WORLD / 2), y, flip * clip.angle[0, i], reach, 1.0, abs(x - position[0, 0])]
        values += [float(body.shape["kind"] == kind) for kind in KINDS]
        if velocities:
            values += [flip * clip.velocity[0, i, 0], clip.velocity[0, i, 1], flip * clip.angular_velocity[0, i]]
    width = (6 + len(KINDS) + 3 * velocities) * (2 + THINGS)
    gap = position[place["patient"]] - position[place["agent"]]
    return [*values, *[0.0] * (width - len(values)), flip * gap[0], gap[1], float(np.hypot(*gap))]


def _order(clip: Clip) -> list[int]:
    roles = [ROLES.index(body.role) for body in clip.bodies]
    return sorted(range(len(roles)), key=lambda i: (roles[i], i))[: 2 + THINGS]


def accuracy(
    inputs: np.ndarray, labels: np.ndarray, tests: np.ndarray, truths: np.ndarray, *, ridge: float = 3.0
) -> float:
    """Test accuracy of a ridge-penalised logistic regression, fitted by Newton's method on standardised inputs."""
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0)
    spread[spread < 1e-9] = np.inf
    x = np.column_stack([(inputs - mean) / spread, np.ones(len(inputs))])
    weights = np.zeros(x.shape[1])
    penalty = ridge * np.eye(x.shape[1])
    for _ in range(30):
        odds = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (labels - odds) - penalty @ weights
        weights += np.linalg.solve((x * (odds * (1 - odds))[:, None]).T @ x + penalty, slope)
    answer = np.column_stack([(tests - mean) / spread, np.ones(len(tests))]) @ weights > 0
    return float((answer == truths).mean())
