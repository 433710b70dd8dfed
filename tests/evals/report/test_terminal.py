"""Tables on terminals of any width: nothing is cut, and text from elsewhere stays text."""

import io
import re

import pytest
from rich.console import Console

from evals.report import terminal
from evals.report.table import Grid


def printed(width, draw, encoding="utf-8"):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="replace", write_through=True)
    draw(Console(file=file, width=width, highlight=False, markup=False, emoji=False))
    return raw.getvalue().decode(encoding)


HEADS = ["", *(f"column {i} of many words ↓ px/frame" for i in range(9))]
ROWS = [[f"predictor {k} with a long name, and more", *(f"{k + i * 1.2345:.2f}" for i in range(9))] for k in range(4)]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_every_number_is_whole_at_every_width(width, encoding):
    out = printed(width, lambda console: terminal.show_table(console, "A title", HEADS, ROWS), encoding)
    assert max(len(line) for line in out.splitlines()) <= width
    assert "…" not in out
    found = re.findall(r"\d+\.\d\d", out)
    assert sorted(found) == sorted(cell for row in ROWS for cell in row[1:])


def test_columns_that_do_not_fit_follow_below():
    out = printed(60, lambda console: terminal.show_table(console, "A title", HEADS, ROWS))
    assert out.count("A title") == out.count("(more columns)") + 1 > 2
    assert out.count("predictor 0") == out.count("A title")


def test_text_from_elsewhere_is_no_markup_and_drives_no_terminal():
    names = ["run[lr=1e-3]", "[/data/x]", "[bold]", "a\x1b[31mred\x07", ":smile:"]
    grid = Grid("[title]", ["[x]", "n"], [[name, "1.0"] for name in names], "note [/]")
    out = printed(100, lambda console: terminal.show_grid(console, grid))
    for text in ("run[lr=1e-3]", "[/data/x]", "[bold]", "[title]", "[x]", "note [/]", ":smile:"):
        assert text in out
    assert "\x1b[31m" not in out and "\x07" not in out


def test_wide_letters_count_double():
    rows = [["模型一号", "1.25"], ["model", "2.50"]]
    out = printed(30, lambda console: terminal.show_table(console, "t", ["", "ADE"], rows))
    assert "模型一号" in out and "1.25" in out and "2.50" in out
