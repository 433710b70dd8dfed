"""Results files that are compared, and labels of one's own clips: texts of the right kind with absurd contents."""

import contextlib
import copy
import encodings.ascii  # noqa: F401 (imported when first needed: that is no part of a case)
import io
import json
import random
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from evals.physics import compare
from evals.scoring.score import METRICS
from evals.suites.folder import FolderSuite
from tests.fuzz.mutations import damaged
from vdt_mlx.errors import VDTError

TITLE = "results and labels"
ODD = (
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    "",
    "x",
    "../../x",
    "\x1b[31m",
    "[/x]",
    [],
    [[]],
    {},
    {"a": []},
    [None],
    [1, "a"],
)


def case(rng: random.Random, folder):
    return rng.choice((_results, _results, _labels))(rng, folder)


def check(result) -> str | None:
    return None


def _results(rng: random.Random, folder):
    (folder / "a.json").write_text(good_results())
    (folder / "b.json").write_bytes(_text(rng, good_results()))
    pair = rng.choice((("a.json", "b.json"), ("b.json", "a.json"), ("b.json", "b.json")))

    def call():
        with contextlib.redirect_stdout(io.StringIO()):
            compare.show(folder / pair[0], folder / pair[1], ("ade", "contact"), None, rng.random() < 0.3)
        return True

    return call


def _labels(rng: random.Random, folder):
    np.savez(folder / "x.npz", frames=np.full((4, 16, 16, 3), 90, np.uint8))
    (folder / "x.json").write_bytes(_text(rng, good_label()))

    def call():
        suite = FolderSuite(folder, given=2)
        return suite.case(suite.groups[0], 0, 2).truth.position

    return call


def _text(rng: random.Random, text: str) -> bytes:
    """Damaged bytes, or one or two values of another kind."""
    if rng.random() < 0.3:
        return damaged(rng, text.encode())
    body = json.loads(text)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change(rng, body)
    return json.dumps(body).encode()


def _change(rng: random.Random, body) -> None:
    at = body
    while True:
        if not isinstance(at, dict | list) or not at:
            return
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if rng.random() < 0.35 or not isinstance(at[key], dict | list):
            break
        at = at[key]
    if rng.random() < 0.2:
        del at[key]
    else:
        at[key] = copy.deepcopy(rng.choice(ODD))


@lru_cache
def good_results() -> str:
    clips = {"one": ["a", "b", "c"], "two": ["d", "e"]}
    column = {"one": {"ade": [1.0, 2.0, None]}, "two": {"ade": [0.5, 0.1], "contact": [1.0, 0.0]}}
    groups = [
        {"name": n, "scenario": n, "split": "test", "title": n, "law": False, "in_distribution": True} for n in clips
    ]
    body = {
        "schema": "vdt-mlx-physics",
        "version": 1,
        "settings": {"given": [8], "clips": 3, "world": 2},
        "suite": {"fingerprint": "f", "groups": groups, "clips": clips},
        "predictors": [{"name": "net", "title": "net", "kind": "model", "about": "", "frames": True, "details": {}}],
        "metrics": [metric.described() for metric in METRICS.values()],
        "unions": {"scenarios": {"title": "the scenarios", "groups": list(clips)}},
        "rows": [],
        "differences": [],
        "values": {"net": {"8": column}},
    }
    return json.dumps(body)


@lru_cache
def good_label() -> str:
    places = [[5.0, 5.0], [6.0, 5.0], [7.0, 5.0], None]
    return json.dumps(
        {
            "objects": [
                {"name": "a", "role": "agent", "radius": 3, "positions": places, "colour": "#ff0000", "mass": 1},
                {
                    "name": "b",
                    "role": "patient",
                    "polygon": [[-2, -2], [2, -2], [0, 2]],
                    "positions": [*places[:3], [9, 9]],
                },
            ],
            "contact": False,
            "contact_time": None,
            "fps": 10,
        }
    )


def _warm() -> None:
    """Modules that are imported when they are first needed are imported now: that is no part of a case."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        body = json.loads(good_results())
        (folder / "a.json").write_text(good_results())
        body["values"]["net"]["8"]["one"]["ade"] = [3.0, 4.0, 5.0]
        (folder / "b.json").write_text(json.dumps(body))
        with contextlib.redirect_stdout(io.StringIO()):
            compare.show(folder / "a.json", folder / "b.json", ("ade",), None, False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "x.npz", frames=np.full((4, 16, 16, 3), 90, np.uint8))
        Image.new("L", (16, 16)).save(folder / "m.png")
        (folder / "x.json").write_text(json.dumps({**json.loads(good_label()), "map": "m.png"}))
        with contextlib.suppress(VDTError):
            FolderSuite(folder, given=2)


_warm()
