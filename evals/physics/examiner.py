"""The examiner at work: clips in units, every predictor on each, unit files that make a run resumable, then results."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evals.physics import record, sections, units
from evals.physics.collect import gather, main_model
from evals.physics.ranks import ranks
from evals.physics.settings import Settings
from evals.physics.sources import build, refuse_equal_names, refuse_trained, suite_of
from evals.physics.units import Job, Unit
from evals.predictors.folder import Folder
from evals.predictors.frames import FrameSource
from evals.predictors.registry import Memories
from evals.scoring.cases import Case
from evals.section import Context
from vdt_mlx.errors import VDTError
from vdt_mlx.progress import Progress

__all__ = ["Examiner", "Settings"]


class Examiner:
    """Runs a suite. `sources` replaces the predictors of frames that the settings name (for use from Python)."""

    def __init__(
        self, settings: Settings, sources: Sequence[FrameSource] | None = None, *, allow_trained: bool = False
    ) -> None:
        self.settings = settings
        self.suite = suite_of(settings)
        self.groups = self.suite.groups
        if sources is None:
            if not allow_trained:
                refuse_trained(settings, self.groups, self.suite.facts)
            sources = build(settings, self.suite)
        self.sources = list(sources)
        refuse_equal_names(self.sources)
        self.jobs = units.jobs_of(settings, self.suite)
        self.memories = Memories(settings.library)
        self.sections = sections.choose(settings.sections) if settings.suite is None else []
        for source in self.sources:
            if isinstance(source, Folder):
                self._check(source)

    def _check(self, folder: Folder) -> None:
        """Raises VDTError if a folder of predictions has none that fits."""
        jobs = [job for job in self.jobs if job.given == self.settings.given[0]]
        place = {name: (job, i) for job in jobs for i, name in enumerate(job.ids(self.suite))}
        folder.check(list(place), lambda name: place[name][0].case(self.suite, place[name][1]))

    @property
    def model(self) -> str | None:
        """The predictor that the report is about: the first model."""
        return main_model(self.sources)

    def examine(self, job: Job, tell: Callable[[str], None] = lambda step: None) -> Unit:
        """What the clips of one job give."""
        batch: list[Case] = job.cases(self.suite)
        return record.examine(job, batch, self.sources, self.memories, self.settings.lpips, tell)

    @property
    def context(self) -> Context:
        """What the sections know of this examination."""
        s = self.settings
        return Context(
            sources=tuple(self.sources),
            memories=self.memories,
            groups=tuple(self.groups),
            clips=s.clips,
            given=s.headline,
            samples=s.samples,
            seed=s.seed,
            suite_seed=s.suite_seed,
            size=self.suite.size,
            world=s.world,
            frames=self.suite.frames,
        )

    @property
    def parts(self) -> int:
        """Of the work, as progress counts them: a clip, or a job of a section."""
        extra = sections.jobs_of(self.sections, self.context, Path())
        return sum(job.stop - job.start for job in self.jobs) + len(extra)

    def run(self, folder: Path, *, resume: bool, progress: Progress | None = None) -> dict[str, Any] | None:
        """Examines everything into `folder`; returns the results, or None on a rank other than 0.

        Raises VDTError if the folder holds another run, or cannot be written to.
        """
        began = time.perf_counter()
        rank, size, barrier = ranks()
        work = folder / "work"
        made = units.missing_folders(work)
        if rank == 0:
            try:
                units.claim(work, units.identity(self.settings, self.sources, self.suite), resume)
            except OSError as error:
                raise VDTError(f"{folder} cannot be written to ({error.strerror or error}).") from None
        barrier()
        extra = sections.jobs_of(self.sections, self.context, work)
        try:
            self._work(work, self.jobs[rank::size], progress or Progress())
            self._sections(extra[rank::size], progress or Progress())
        except BaseException:
            if rank == 0:
                units.tidy(work, made)
            raise
        barrier()
        if rank != 0:
            return None
        missing = [job.name for job in self.jobs if not (work / f"{job.name}.npz").is_file()]
        missing += [job.name for job in extra if not job.path.is_file()]
        if missing:
            raise VDTError(f"{len(missing)} parts are missing in {work}: all processes must write to one folder.")
        found = sections.gather(self.sections, extra, self.context)
        body = gather(self.settings, self.suite, self.jobs, self.sources, work, time.perf_counter() - began)
        return body | found

    def _work(self, work: Path, jobs: Sequence[Job], progress: Progress) -> None:
        for job in jobs:
            path = work / f"{job.name}.npz"
            if not units.is_done(path, job):
                units.save_unit(self.examine(job, progress.tell), path)
            progress.advance(job.stop - job.start)

    def _sections(self, jobs: Sequence[sections.SectionJob], progress: Progress) -> None:
        for job in jobs:
            if job.read() is None:
                job.run(self.context, progress.tell)
            progress.advance()
