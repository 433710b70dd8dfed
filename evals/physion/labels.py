"""Label files of Physion: a CSV that says of each clip whether the agent touches the patient."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from vdt_mlx.errors import VDTError
from vdt_mlx.reading import read_bytes

NAMES = ("stim_id", "stimulus_name", "stimulus", "name", "clip", "video", "")
"""Columns that may hold the clip's name, in the order in which they are looked for; "" is one without a title."""
ANSWERS = ("label", "ground truth outcome", "contact", "target_hit_zone_label", "outcome")
"""Columns that may hold the answer."""
HUMAN = "correct"
"""The column with the share of people who were right, where there is one."""
TRUE, FALSE = frozenset(("true", "1", "1.0", "yes")), frozenset(("false", "0", "0.0", "no"))
MAX_BYTES = 64 << 20
MAX_ROWS = 1_000_000

OTHER_NAMES = {
    "collision": "collide",
    "containment": "contain",
    "clothiness": "drape",
    "linking": "link",
    "rollingsliding": "roll",
    "towers": "support",
}
"""What the repository calls scenarios in some of its files, and what the paper calls them."""


@dataclass(frozen=True)
class Label:
    """What a label file says of one clip."""

    contact: bool
    human: float | None = None
    """Share of people who were right."""
    scenario: str | None = None


def stem_of(name: str) -> str:
    """A clip's name without what its files add to it: `X-redyellow_img.mp4`, `X_img.mp4` and `X_map.png` are of X."""
    base = re.sub(r"\.(mp4|png|hdf5|mov|avi|mkv|webm)$", "", Path(name.strip()).name, flags=re.IGNORECASE)
    return re.sub(r"([-_](redyellow|img|map))+$", "", base, flags=re.IGNORECASE)


def scenario_of(name: str) -> str:
    """The paper's name of a scenario that a folder or a label file names: `Collide_readout_MP4s` is collide."""
    plain = re.sub(r"_(pilot|readout|testing|training|dynamics|mp4s|hdf5s).*$", "", name.strip().lower())
    return OTHER_NAMES.get(plain, plain)


def read_labels(path: Path) -> dict[str, Label]:
    """Labels by clip name (`stem_of`).

    Raises VDTError: it is missing or no CSV, has no column for names or answers, an answer is neither true nor false,
    or two rows of one clip differ.
    """
    rows = _rows(path)
    titles = [title.strip().lower() for title in rows[0]]
    name = _column(titles, NAMES, path, "the clips' names")
    answer = _column(titles, ANSWERS, path, "the answers")
    human = titles.index(HUMAN) if HUMAN in titles else None
    group = titles.index("scenario") if "scenario" in titles else None
    found: dict[str, Label] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(titles):
            raise VDTError(f"The label file {path} has {len(row)} cells in line {number}, and {len(titles)} titles.")
        said = row[answer].strip().lower()
        if said not in TRUE | FALSE:
            raise VDTError(f"The label file {path} says {row[answer]!r} in line {number}: True or False is expected.")
        label = Label(
            said in TRUE,
            _share(row[human], path, number) if human is not None else None,
            scenario_of(row[group]) if group is not None else None,
        )
        stem = stem_of(row[name])
        if found.setdefault(stem, label).contact != label.contact:
            raise VDTError(f"The label file {path} says of {stem} that there is a contact, and that there is none.")
    if not found:
        raise VDTError(f"The label file {path} has no labels in it.")
    return found


def _rows(path: Path) -> list[list[str]]:
    data = read_bytes(path, "label file", MAX_BYTES)
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise VDTError(f"The label file {path} is no CSV of UTF-8 text ({error}).") from None
    if len(rows) > MAX_ROWS:
        raise VDTError(f"The label file {path} has more than {MAX_ROWS:,} rows.")
    if not rows:
        raise VDTError(f"The label file {path} is empty.")
    return rows


def _column(titles: list[str], wanted: tuple[str, ...], path: Path, what: str) -> int:
    for title in wanted:
        if title in titles:
            return titles.index(title)
    shown = ", ".join(title or "(no title)" for title in titles[:8])
    usual = ", ".join(title for title in wanted if title)
    raise VDTError(f"The label file {path} has no column for {what} ({usual}); it has {shown}.")


def _share(cell: str, path: Path, number: int) -> float | None:
    if not cell.strip():
        return None
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise VDTError(f"The label file {path} says {cell!r} in line {number}: a share from 0 to 1 is expected.")
    return value
