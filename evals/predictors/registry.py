"""Everything that stands beside the models, one row each: baselines, upper bounds, and answers without looking.

To add one, write its function (in `baselines.py`) and add its row here. The examiner runs it, and tables, figures and
verdict show it, from this list alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import physics_sim
from evals.predictors import baselines
from evals.predictors.checkpoint import Checkpoint
from evals.predictors.frames import Bad, Frames, FrameSource, whole_clip
from evals.scoring.cases import Case
from evals.scoring.score import Prediction

KINDS = {
    "model": "models",
    "baseline": "baselines",
    "bound": "upper bounds",
    "answer": "answers without looking",
}
"""What a predictor is, in results.json and as the tables head them."""

Remembered = Callable[[Case], baselines.Memory]
"""The first training clips of a case's scenario."""


@dataclass(frozen=True)
class Row:
    """A predictor that is no model."""

    name: str
    title: str
    kind: str
    told: str
    """What it is told, or what it does, in a few words."""
    states: Callable[[Case, Remembered], Prediction] | None = None
    """Predicts states: positions of the objects."""
    answers: Callable[[Case, Remembered], float] | None = None
    """Answers the contact question alone: how likely it holds a contact to be."""
    frames: Callable[[Sequence[Case], Checkpoint | None], Sequence[Frames]] | None = None
    """Draws frames, and sees the whole clip."""
    simple: bool = False
    """One of those that a model must beat to have learned anything."""
    pictures: bool = False
    """Its frames are scored as pictures too."""
    simulated: bool = False
    """Needs the simulator: it has nothing to say of clips of one's own."""
    remembers: bool = False
    """Learns from the training clips of a case's scenario: it has nothing to say of a scene that somebody drew."""
    figures: bool = True
    """Figures show it."""

    def knows(self, case: Case) -> bool:
        """Whether it has something to say of a case: of the simulator's own, of a drawn scene, of somebody's clip."""
        if case.clip is None:
            return not self.simulated
        return not self.remembers or case.clip.scenario in (*physics_sim.SCENARIOS, *physics_sim.LAWS)


def _true_frames(cases: Sequence[Case], checkpoint: Checkpoint | None) -> Sequence[Frames]:
    return [case.frames for case in cases]


def _autoencoded(cases: Sequence[Case], checkpoint: Checkpoint | None) -> Sequence[Frames]:
    assert checkpoint is not None
    pipeline = checkpoint.pipeline
    return list(pipeline.decode(pipeline.encode(np.stack([case.frames for case in cases]))))


_ROWS = [
    Row(
        "tracker",
        "true frames",
        "bound",
        "the tracker's own error",
        frames=_true_frames,
        pictures=True,
        figures=False,
    ),
    Row(
        "autoencoder",
        "true frames, autoencoded",
        "bound",
        "tracker after the model's autoencoder",
        frames=_autoencoded,
        pictures=True,
    ),
    Row(
        "copy_last",
        "copy the last frame",
        "baseline",
        "nothing moves",
        states=lambda case, remembered: baselines.copy_last(case),
        simple=True,
        pictures=True,
    ),
    Row(
        "constant_velocity",
        "constant velocity",
        "baseline",
        "tracked states, straight on",
        states=lambda case, remembered: baselines.constant_velocity(case),
        simple=True,
    ),
    Row(
        "constant_acceleration",
        "constant acceleration",
        "baseline",
        "tracked states, the parabola through the last three",
        states=lambda case, remembered: baselines.constant_acceleration(case),
        simple=True,
    ),
    Row(
        "nearest",
        "nearest training clip",
        "baseline",
        "moves as the most similar of the first training clips did",
        states=lambda case, remembered: baselines.nearest_training_clip(case, remembered(case)),
        simulated=True,
        remembers=True,
        simple=True,
    ),
    Row(
        "simulator",
        "simulator from tracked states",
        "bound",
        "knows masses and materials; only its start is tracked",
        states=lambda case, remembered: baselines.simulator(case),
        simulated=True,
    ),
    Row("chance", "chance", "answer", "a coin", answers=lambda case, remembered: 0.5, figures=False),
    Row(
        "majority",
        "majority answer",
        "answer",
        "the commoner answer of the training clips",
        answers=lambda case, remembered: float(remembered(case).majority),
        simulated=True,
        remembers=True,
        figures=False,
    ),
]
ROWS: dict[str, Row] = {row.name: row for row in _ROWS}


class Memories:
    """The first training clips of each scenario, made once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._made: dict[tuple[str, str, int], baselines.Memory] = {}

    def __call__(self, case: Case) -> baselines.Memory:
        key = (case.clip.scenario, str(case.clip.world), len(case.frames))
        if key not in self._made:
            self._made[key] = baselines.remember(case, self.count)
        return self._made[key]


class Bound(FrameSource):
    """An upper bound that draws frames: it sees the whole clip, so no prediction can be told from the truth better."""

    def __init__(self, row: Row, checkpoint: Checkpoint | None = None) -> None:
        super().__init__(row.name, row.title, row.kind, row.told)
        self.row, self.checkpoint = row, checkpoint

    def complete(self, cases: Sequence[Case]) -> list[list[Frames | Bad]]:
        assert self.row.frames is not None
        made = self.row.frames(cases, self.checkpoint)
        return [
            [
                frames if frames is case.frames else whole_clip(case, frames)
                for case, frames in zip(cases, made, strict=True)
            ]
        ]


class Truthful(Bound):
    """The true frames, tracked."""

    def __init__(self) -> None:
        super().__init__(ROWS["tracker"])


class Reconstruction(Bound):
    """The true clip through a checkpoint's autoencoder, which no prediction in its latents can beat."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(ROWS["autoencoder"], checkpoint)
