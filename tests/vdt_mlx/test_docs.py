"""The documents' Python is run: block after block of a page, cell after cell of the notebook.

The model is a tiny one, as its quality does not matter; examiner, simulator and tracker are the real ones.
"""

import json
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md") if "```python" in path.read_text(encoding="utf-8"))


@pytest.fixture
def small(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in an empty folder, with a tiny checkpoint under the name of the shipped one and nothing left registered."""
    import weights.registry
    from physics_sim import names, scenarios

    monkeypatch.setattr(weights.registry, "resolve", lambda name, revision=None: tiny_checkpoint)
    monkeypatch.setattr(scenarios, "_registered", {})
    monkeypatch.setattr(names, "added", {})
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)


def run(source: str, name: str, space: dict) -> None:
    exec(compile(source, name, "exec"), space)


@pytest.mark.parametrize("name", PAGES)
def test_the_python_of_a_page_runs(name: str, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    module = type(sys)("page")
    monkeypatch.setitem(sys.modules, "page", module)
    module.__dict__["__name__"] = "page"
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        run(block, f"{name}, block {number + 1}", module.__dict__)


def test_the_notebook_runs_and_holds_no_output(small: None, capsys: pytest.CaptureFixture) -> None:
    book = json.loads((DOCS / "tour.ipynb").read_text(encoding="utf-8"))
    assert book["nbformat"] == 4 and len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    space: dict = {"__name__": "tour"}
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 6
    for number, cell in enumerate(cells):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        run("".join(cell["source"]), f"cell {number + 1}", space)
    said = capsys.readouterr().out
    assert "agent" in said and "constant_velocity" in said


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_every_page_is_reached_from_the_quickstart() -> None:
    start = (DOCS / "quickstart.md").read_text(encoding="utf-8")
    assert {path.name for path in DOCS.glob("*.md")} - {"quickstart.md"} <= set(re.findall(r"\(([\w-]+\.md)\)", start))
