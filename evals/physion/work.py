"""What is done of a score, kept by scenario and seed so that a stopped run can go on."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.physion.extract import PROTOCOLS
from evals.report.out import check_folder, usual_folder
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.media.video import write_npz
from vdt_mlx.reading import read_json, read_npz

WORK = "work"
CHOICES = ("scenarios", "seeds", "clips")
"""Settings that may differ when a run goes on: they say which parts there are, not what is in them."""


def out_folder(out: Path | None, resume: bool) -> Path:
    """Where results go; raises VDTError, before any work, if they cannot. Nothing is made yet."""
    if out is None:
        out = usual_folder("physion", last=resume)
    check_folder(out)
    begun = (out / WORK).is_dir()
    if resume and not begun:
        raise VDTError(f"There is no stopped run in {out} to `resume`.")
    if begun and not resume:
        raise VDTError(f"There is a stopped run in {out}: `resume` goes on with it, or give another `out`.")
    return out


class Work:
    """The parts of a run in `folder`/work. Raises VDTError if a run with other settings or weights was begun there."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder / WORK
        known = json.loads(json.dumps({key: value for key, value in identity.items() if key not in CHOICES}))
        self._identity = known
        path = self.folder / "identity.json"
        if path.is_file():
            before = read_json(path, "identity of a run")
            other = sorted(key for key in known if not isinstance(before, dict) or before.get(key) != known[key])
            if other:
                raise VDTError(
                    f"The run in {folder} was begun with other values of {', '.join(other)}; give another `out`."
                )

    def read(self, scenario: str, seed: int, names: Sequence[str]) -> dict[str, NDArray[np.float64]] | None:
        """The probabilities of these clips by protocol, if they are done."""
        path = self._path(scenario, seed)
        if not path.is_file():
            return None
        arrays = read_npz(path, what="part of a run")
        if set(arrays) != {*PROTOCOLS, "names"} or arrays["names"].tolist() != list(names):
            return None
        return {name: arrays[name] for name in PROTOCOLS}

    def write(self, scenario: str, seed: int, names: Sequence[str], found: Mapping[str, NDArray[np.float64]]) -> None:
        path = self.folder / "identity.json"
        if not path.is_file():
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(self._identity) + "\n", encoding="utf-8")
        write_npz(self._path(scenario, seed), names=np.array(list(names)), **found)

    def clear(self) -> None:
        """Nothing of it is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, scenario: str, seed: int) -> Path:
        return self.folder / f"{scenario}-seed{seed}.npz"
