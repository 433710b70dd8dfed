"""Progress where there is no terminal: a line now and then, and nothing after the end."""

import time

import pytest

from vdt_mlx.progress import Bar, Progress, spoken


def test_lines_while_it_works_and_none_after(capsys):
    with Bar(4, "clips", "examining", interval=0.02) as bar:
        bar.tell("collide: a\x1b[31mname")
        bar.advance(1)
        time.sleep(0.15)
    said = capsys.readouterr().err.splitlines()
    assert len(said) >= 2
    assert said[-1].startswith("1 of 4 clips, collide: a") and "left" in said[-1]
    assert not any("\x1b" in line for line in said)
    time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_an_error_ends_it(capsys):
    with pytest.raises(ValueError), Bar(None, "steps", interval=0.01) as bar:
        bar.advance(2)
        assert bar.line().startswith("2 steps")
        raise ValueError
    assert bar._thread is not None and not bar._thread.is_alive()


def test_short_work_says_nothing(capsys):
    with Bar(2) as bar:
        bar.advance(2)
    assert capsys.readouterr().err == ""
    Progress().tell("nothing listens")
    Progress().advance(3)


@pytest.mark.parametrize(("seconds", "text"), [(3.4, "3 s"), (80, "1 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds, text):
    assert spoken(seconds) == text
