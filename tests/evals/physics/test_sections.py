"""Parts beside the rows: found, run, resumed, gathered, and shown by the terminal and the page."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from evals.physics import results, sections
from evals.physics import run as job
from evals.physics.examiner import Examiner, Settings
from evals.predictors import Code
from evals.report.page import render
from evals.report.table import Grid
from evals.section import Section
from vdt_mlx.errors import VDTError

SMALL = Settings(scenarios=("uniform",), clips=1, models=(), library=1, sections=("counting",))


class Counting(Section):
    """Counts the frames of its models' clips."""

    name, title = "counting", "Counting <frames>"

    def __init__(self):
        self.ran = []

    def jobs(self, context):
        return ["a", "b"] if context.models else []

    def examine(self, job, context, tell):
        tell("counting")
        self.ran.append(job)
        return {"job": job, "seed": context.seed, "world": context.world, "frames": context.frames}

    def gather(self, parts, context):
        return {"version": 1, "jobs": sorted(parts), "frames": sum(part["frames"] for part in parts.values())}

    def verdict(self, found, body):
        return [{"text": f"It counted {found['frames']} frames.", "state": "plain"}]

    def grids(self, found, body):
        return [Grid("Counted", ["job", "frames"], [[job, "16"] for job in found["jobs"]], "A note & more.")]

    def figures(self, found, body):
        return [Markup("<figure id='drawn'></figure>")]


@pytest.fixture
def counting(monkeypatch):
    section = Counting()
    monkeypatch.setattr(sections, "known", lambda: {"counting": section})
    return section


def still(given):
    return np.repeat(given[-1:], 16 - len(given), 0)


def test_it_is_in_the_results_the_verdict_the_page_and_on_the_terminal(tmp_path, counting, monkeypatch, capsys):
    monkeypatch.setattr(job, "Examiner", lambda settings, allow_trained: Examiner(settings, [Code(still, "still")]))
    job.run(SMALL, out=tmp_path / "out", columns=("ade",), command=["x"])
    body = results.read(tmp_path / "out")
    assert body["counting"] == {"version": 1, "jobs": ["a", "b"], "frames": 32}
    assert body["verdict"][-1]["text"] == "It counted 32 frames."
    printed = capsys.readouterr().out
    assert "It counted 32 frames." in printed and "Counted" in printed and "A note & more." in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Counting &lt;frames&gt;" in page and "<figure id='drawn'>" in page and "A note &amp; more." in page
    assert counting.ran == ["a", "b"]


def test_what_is_done_is_not_done_again_and_what_is_damaged_is(tmp_path, counting):
    def run(resume):
        return Examiner(SMALL, [Code(still, "still")]).run(tmp_path, resume=resume)

    first = run(False)
    counting.ran.clear()
    assert run(True)["counting"] == first["counting"] and counting.ran == []
    (tmp_path / "work" / "counting.b.json").write_text("[" * 10_000)
    assert run(True)["counting"] == first["counting"] and counting.ran == ["b"]


def test_without_a_model_it_has_nothing_to_do(tmp_path, counting):
    body = Examiner(SMALL, []).run(tmp_path, resume=False)
    assert body is not None and "counting" not in body and counting.ran == []
    body["verdict"] = []
    assert "Counting" not in render(body, {}, ["x"], sections.shown(body))


def test_sections_by_name(counting):
    assert sections.choose(["all"]) == sections.choose(["counting"]) == [counting]
    assert sections.choose(["none"]) == sections.choose([]) == []
    with pytest.raises(VDTError, match="Unknown section 'probing'"):
        sections.choose(["probing"])
    with pytest.raises(VDTError, match="none"):
        sections.choose(["none", "counting"])
    with pytest.raises(VDTError, match="Unknown section"):
        Examiner(replace(SMALL, sections=("x",)), [])


def test_those_that_there_are_do_what_sections_do():
    importlib.reload(sections)
    folders = {path.parent.name for path in Path(sections.__file__).parents[1].glob("*/section.py")}
    assert len(sections.known()) == len(folders)
    for section in sections.known().values():
        assert section.title and not set(section.name) - set("abcdefghijklmnopqrstuvwxyz_")
