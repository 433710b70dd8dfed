"""The test clips, and what is true of them: from the simulator's clips to what is scored.

Which objects are asked for: the agent, the patient, and every distractor that moves. Where one is: the centre of the
body where all of it is in sight, else the centroid of the part that can be seen, read off instance masks at four times
the resolution: what any tracker could see at best. Where less than a quarter of it is in sight, it is not asked for.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.scoring.score import Prediction, Truth
from evals.tracking.tracker import Tracker
from evals.tracking.tracks import Tracks
from physics_sim.worlds import WORLD_VERSION, World, find_profile
from vdt_mlx.errors import VDTError

VISIBLE = 0.25
WHOLE = 0.97
FINE = 4
OUT = "ood"
"""The pseudo-split that goes through the out-of-distribution splits of a law in turn."""
OUT_SPLITS = ("ood_size", "ood_speed", "ood_gravity", "ood_both")


@dataclass(frozen=True)
class Group:
    """Clips of one scenario and split."""

    name: str
    scenario: str
    split: str
    title: str
    law: bool

    @property
    def in_distribution(self) -> bool:
        return self.split == "test"

    def splits(self, world: World = WORLD_VERSION) -> tuple[str, ...]:
        """The simulator's splits that its clips come from, in turn."""
        import physics_sim

        if self.split != OUT:
            return (self.split,)
        there = physics_sim.splits(self.scenario, world)
        return tuple(split for split in OUT_SPLITS if split in there)


@dataclass(frozen=True)
class Case:
    """One test clip with its truth, for one number of given frames."""

    id: str
    group: str
    clip: Any
    """`physics_sim.Clip`; None where it is no clip of the simulator."""
    given: int

    @property
    def frames(self) -> NDArray[np.uint8]:
        return self.clip.frames

    @property
    def given_frames(self) -> NDArray[np.uint8]:
        return self.frames[: self.given]

    @property
    def states(self) -> NDArray[np.float64]:
        """The true states in one row, for fingerprints."""
        return np.concatenate([self.clip.position.ravel(), self.clip.angle.ravel()])

    @property
    def colours(self) -> list[tuple[int, int, int]]:
        """Of the objects that are tracked and scored."""
        return [self.clip.bodies[i].colour for i in self.asked]

    @property
    def own_metrics(self) -> tuple[str, ...]:
        """Names of what its suite measures beside the metrics that every suite has."""
        return ()

    def own_scores(self, prediction: Prediction) -> dict[str, float]:
        """Those of a prediction."""
        return {}

    @cached_property
    def asked(self) -> list[int]:
        """Places, in the clip's bodies, of the objects that are tracked and scored."""
        bodies = self.clip.bodies
        return [
            i for i, b in enumerate(bodies) if b.role in ("agent", "patient") or (b.role != "static" and not b.fixed)
        ]

    @cached_property
    def tracker(self) -> Tracker:
        """Initialised from the given frames and their annotation, and from nothing later."""
        masks = self.clip.masks()[: self.given].astype(int) - 1
        place = np.full(len(self.clip.bodies) + 1, -2)
        place[-1] = -1
        place[self.asked] = np.arange(len(self.asked))
        return Tracker(self.given_frames, place[masks], [self.clip.bodies[i].name for i in self.asked])

    @cached_property
    def observed(self) -> Tracks:
        """The tracker on the given frames alone: all that a baseline may know."""
        return self.tracker.track(self.given_frames)

    @cached_property
    def roles(self) -> dict[str, int]:
        """role -> place among the asked objects, of the agent and the patient."""
        found = {self.clip.bodies[i].role: n for n, i in enumerate(self.asked)}
        return {role: found[role] for role in ("agent", "patient") if role in found}

    @cached_property
    def truth(self) -> Truth:
        clip = self.clip
        size = clip.frames.shape[1]
        position, share = in_sight(clip, self.asked)
        known = np.array([target is not None for target in self.tracker.targets])
        contact = clip.contact_time
        units = _units()
        law = clip.scenario in _laws()
        asks = not law and "patient" in self.roles and not contact < self.given - 1
        return Truth(
            frames=clip.frames,
            position=position,
            visible=(share >= VISIBLE) & known & np.isfinite(position).all(-1),
            whole=(share >= WHOLE) & known,
            tracked=self.tracker.track(clip.frames),
            names=self.tracker.names,
            inradius=np.array([target.inradius if target else 0.0 for target in self.tracker.targets]),
            mass=np.array([clip.bodies[i].mass for i in self.asked]),
            agent=self.roles["agent"],
            patient=self.roles.get("patient"),
            contact=bool(clip.contact) if asks else None,
            contact_time=contact if contact >= self.given - 1 else float("nan"),
            contact_times=np.array([touch.time for touch in clip.contacts]),
            pixels_per_metre=size / units.WORLD,
            fps=1 / units.FRAME_TIME,
            gravity=clip.scene.gravity * units.FRAME_TIME**2 * size / units.WORLD,
            conserves_momentum=law and clip.scene.gravity == 0,
            conserves_energy=law,
            after_contact_only=clip.scenario == "collision",
            given=self.given,
        )


def _units() -> Any:
    from physics_sim import units

    return units


def _laws() -> tuple[str, ...]:
    import physics_sim

    return tuple(physics_sim.LAWS)


def in_sight(clip: Any, asked: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions (T, N, 2) in pixels and the share (T, N) of each object that is in sight."""
    size = clip.frames.shape[1]
    masks = clip.masks(size * FINE)
    time, places = len(masks), len(clip.bodies) + 1
    frame, y, x = np.nonzero(masks)
    key = frame * places + masks[frame, y, x]
    count = np.bincount(key, minlength=time * places).reshape(time, places)[:, 1:][:, asked]
    with np.errstate(invalid="ignore", divide="ignore"):
        cx = np.bincount(key, (x + 0.5) / FINE, time * places).reshape(time, places)[:, 1:][:, asked] / count
        cy = np.bincount(key, (y + 0.5) / FINE, time * places).reshape(time, places)[:, 1:][:, asked] / count
    seen = np.stack([cx, cy], -1)
    pixel = (_units().WORLD / (size * FINE)) ** 2
    full = np.array([sum(part.area for part in clip.bodies[i].parts) / pixel for i in asked])
    single = np.array([len(clip.bodies[i].parts) == 1 and len(clip.bodies[i].parts[0].shapes) == 1 for i in asked])
    full = np.where(single, full, count.max(0, initial=1))  # pieces overlap: the most that was ever in sight
    share = count / np.maximum(full, 1)
    exact = (share >= WHOLE) & single
    position = np.where(exact[..., None], clip.pixels()[:, asked], seen)
    return np.where((count > 0)[..., None], position, np.nan), share


# ---- the suite


def known_groups(world: World = WORLD_VERSION) -> list[Group]:
    """The suite: every scenario and law on its frozen test split, and every law out of distribution."""
    import physics_sim

    laws = list(physics_sim.LAWS)
    scenarios = [name for name in physics_sim.SCENARIOS if name not in laws and find_profile(world).scenarios]
    groups = [Group(name, name, "test", name, law=False) for name in scenarios]
    groups += [Group(name, name, "test", f"{name} (law)", law=True) for name in laws]
    out = [Group(f"{name}:{OUT}", name, OUT, f"{name} (law), out of distribution", law=True) for name in laws]
    return groups + [group for group in out if group.splits(world)]


def choose_groups(wanted: Iterable[str], world: World = WORLD_VERSION) -> list[Group]:
    """Groups by name: a scenario or law, `NAME:SPLIT`, or `all`. Raises VDTError for an unknown one."""
    import physics_sim

    known = {group.name: group for group in known_groups(world)}
    everything = list(dict.fromkeys(group.scenario for group in known.values()))
    chosen: dict[str, Group] = {}
    for name in wanted:
        if name == "all":
            chosen |= known
            continue
        scenario, _, split = name.partition(":")
        if scenario not in everything:
            raise VDTError(f"Unknown scenario {scenario!r}: there are {', '.join(everything)}, and all.")
        if split in ("", "test"):
            chosen[scenario] = known[scenario]
            continue
        law = scenario in physics_sim.LAWS
        there = [*physics_sim.splits(scenario, world), *([OUT] if law else [])]
        if split not in there:
            raise VDTError(f"Unknown split {split!r} of {scenario}: there are {', '.join(there)}.")
        chosen[name] = known.get(name) or Group(name, scenario, split, f"{scenario}, {split}", law)
    return list(chosen.values())


def case_id(group: Group, index: int, world: World = WORLD_VERSION) -> str:
    """What the index-th clip of a group is called."""
    split, at = _place(group, index, world)
    return f"{group.scenario}-{split}-{at:04d}"


def make_case(
    group: Group,
    index: int,
    given: int,
    seed: int,
    size: int = 64,
    world: World = WORLD_VERSION,
    frames: int | None = None,
) -> Case:
    """The index-th clip of a group; `frames` long, or as long as the world's clips are."""
    import physics_sim

    split, at = _place(group, index, world)
    clip = physics_sim.make_clip(group.scenario, split, at, seed=seed, size=size, world=world, frames=frames)
    return Case(case_id(group, index, world), group.name, clip, given)


def _place(group: Group, index: int, world: World) -> tuple[str, int]:
    """Its split, and its number there."""
    splits = group.splits(world)
    return splits[index % len(splits)], index // len(splits)


# ---- what is made of a case


def as_prediction(case: Case, frames: NDArray[np.uint8]) -> Prediction:
    """Tracks a predicted clip (T, H, W, 3) with what was learned from the given frames."""
    truth = case.truth
    tracks = truth.tracked if frames is case.frames else case.tracker.track(frames)
    gap = tracks.gap(case.roles["agent"], case.roles["patient"]) if len(case.roles) == 2 else None
    return Prediction(tracks.position, frames=frames, tracks=tracks, gap=gap)


def fingerprint(cases: Iterable[Case]) -> str:
    """Of the true states, rounded to 1e-6."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(case.id.encode())
        digest.update((np.round(case.states, 6) + 0.0).tobytes())
    return digest.hexdigest()


def joined_fingerprint(parts: Iterable[str]) -> str:
    """One fingerprint from those of the parts of a suite, in order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
