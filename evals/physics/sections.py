"""The parts of an examination that folders of `evals/` bring: found, chosen, run, kept on disk and shown."""

import json
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from evals.report.table import Part
from evals.section import Context, Section, Tell
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.reading import read_json

RESERVED = (
    *("schema", "version", "settings", "model", "versions", "machine", "device", "seconds", "suite", "unions"),
    *("predictors", "metrics", "rows", "differences", "curves", "values", "bad", "command", "verdict"),
)
"""Keys of results.json that no section may take."""


def known() -> dict[str, Section]:
    """Every section there is, by name, in the order in which they are run and shown."""
    found: list[Section] = []
    for path in sorted(Path(__file__).parents[1].glob("*/section.py")):
        section = import_module(f"evals.{path.parent.name}.section").SECTION
        if section.name in RESERVED or any(section.name == other.name for other in found):
            raise ValueError(f"{path}: the section's name {section.name!r} is taken")
        found.append(section)
    return {section.name: section for section in sorted(found, key=lambda section: (section.order, section.name))}


def choose(names: Iterable[str]) -> list[Section]:
    """Sections by name; `all` is every one, `none` is none. Raises VDTError for an unknown name."""
    every, names = known(), tuple(names)
    for name in names:
        if name not in (*every, "all", "none"):
            raise VDTError(f"Unknown section {name!r}: there are {', '.join([*every, 'all', 'none'])}.")
    if "none" in names and len(names) > 1:
        raise VDTError("`sections` none leaves no other section.")
    return [section for name, section in every.items() if "all" in names or name in names]


class SectionJob:
    """One job of a section, and its file."""

    def __init__(self, section: Section, name: str, work: Path) -> None:
        self.section, self.name = section, name
        self.path = work / f"{section.name}.{name}.json"

    def read(self) -> dict[str, Any] | None:
        """What it gave; None where it is still to be done, or its file is damaged."""
        try:
            body = read_json(self.path)
        except VDTError:
            return None
        return body if isinstance(body, dict) else None

    def run(self, context: Context, tell: Tell) -> None:
        tell(f"{self.section.title}: {self.name}")
        body = self.section.examine(self.name, context, tell)
        text = json.dumps(body, allow_nan=False, separators=(",", ":"))
        with atomic_path(self.path) as partial:
            partial.write_text(text, encoding="utf-8")


def jobs_of(sections: Sequence[Section], context: Context, work: Path) -> list[SectionJob]:
    return [SectionJob(section, name, work) for section in sections for name in section.jobs(context)]


def gather(sections: Sequence[Section], jobs: Sequence[SectionJob], context: Context) -> dict[str, Any]:
    """The sections of results.json, of those that had anything to do."""
    found = {}
    for section in sections:
        parts = {job.name: body for job in jobs if job.section is section and (body := job.read()) is not None}
        if parts:
            found[section.name] = section.gather(parts, context)
    return found


def shown(body: dict[str, Any]) -> list[Part]:
    """What the terminal and the page show of a results object's sections."""
    return [
        Part(section.title, section.grids(body[name], body), section.figures(body[name], body))
        for name, section in known().items()
        if name in body
    ]


def verdicts(body: dict[str, Any]) -> list[dict[str, str]]:
    """Sentences of a results object's sections."""
    return [line for name, section in known().items() if name in body for line in section.verdict(body[name], body)]
