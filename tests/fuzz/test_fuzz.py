"""A part of what `python -m tests.fuzz` does in full, and checks that its watch is awake."""

import os
import time

import pytest

from tests.fuzz import frame
from vdt_mlx.errors import VDTError

FAMILIES = {family.name: family for family in frame.all_families()}


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name) -> None:
    """A few hundred cases: each ends in one sentence or is read; some are refused and some are read."""
    tally = frame.run(FAMILIES[name], max(16, round(300 * FAMILIES[name].share)), seed=1)
    assert tally.faults == []
    assert tally.verdicts["refused"] and tally.verdicts["read"]


def test_cases_repeat(tmp_path) -> None:
    texts = FAMILIES["texts"]
    made = []
    for name, index, seed in (("a", 5, 0), ("b", 5, 0), ("c", 5, 1)):
        (tmp_path / name).mkdir()
        texts.module.case(texts.rng(index, seed), tmp_path / name)
        made.append([path.read_bytes() for path in (tmp_path / name).iterdir()])
    assert made[0] == made[1] != made[2]


class Raw(VDTError):
    """An error whose text is not made harmless."""

    __str__ = Exception.__str__


class Planted:
    """A family with one fault."""

    __name__ = "planted"
    kind = "good"

    def case(self, rng, folder):
        def call():
            match self.kind:
                case "traceback":
                    raise KeyError("x")
                case "two lines":
                    raise Raw("one\ntwo")
                case "control":
                    raise Raw("\x1b[31m")
                case "left":
                    (folder / "PWNED").write_text("")
                case "ran":
                    os.system("true")
                case "hang":
                    time.sleep(5)
            return 1

        return call

    def check(self, result):
        return "wrong" if self.kind == "wrong" else None


@pytest.mark.parametrize("kind", ["traceback", "two lines", "control", "left", "ran", "hang", "wrong"])
def test_every_fault_is_noticed(kind, monkeypatch) -> None:
    monkeypatch.setattr(frame, "HANGS_AFTER", 1)
    planted = Planted()
    planted.kind = kind
    cases = 2 if kind == "hang" else 6
    tally = frame.run(frame.Family(planted), cases)
    assert len(tally.faults) >= (2 if kind == "ran" else cases)
    planted.kind = "good"
    assert frame.run(frame.Family(planted), 3).faults == []
