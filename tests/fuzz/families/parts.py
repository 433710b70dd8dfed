"""Parts of an interrupted examination: a damaged one is made again, never an error."""

import copy
import json
import random
from dataclasses import asdict

import numpy as np

from evals.physics.units import Job, Unit, differing, is_done, load_unit, save_unit
from evals.scoring.cases import Group
from tests.fuzz.mutations import damaged

TITLE = "parts of an examination"
ODD = (None, True, -1, 10**30, 1.5, float("nan"), "", "x", "\x1b[2J", [], [[]], {}, {"a": {"b": 1}}, [None], [1, "a"])
IDENTITY = {
    "settings": {"clips": 3, "given": [8]},
    "predictors": [{"name": "net", "about": "", "content": "x", "options": {}}],
    "suite": "x",
    "code": "x",
    "device": {"device": "cpu", "tf32": "0"},
}
JOB = Job(Group("drop", "drop", "test", "Drop", False), 0, 2, 8)


def case(rng: random.Random, folder):
    if rng.random() < 0.3:
        return _identity(rng)
    unit = Unit(["a", "b"], "f", {"net": {"ade": [1.0, float("nan")]}}, {"net": [[1.0], [2.0]]}, [], {})
    unit.pictures["net/a"] = np.zeros((2, 4, 4, 3), np.uint8)
    path = folder / "unit.npz"
    kind = rng.randrange(3)
    save_unit(unit, path)
    if kind == 0:
        path.write_bytes(damaged(rng, path.read_bytes()))
    else:
        body = asdict(unit)
        pictures = body.pop("pictures")
        body[rng.choice([*body, "more"])] = copy.deepcopy(rng.choice(ODD))
        text = json.dumps(body).encode()
        if kind == 1:
            text = rng.choice((damaged(rng, text), b"[" * 100_000, b"9" * 5000, text[:-1] + b', "x": 1' + b"0" * 5000))
        record = np.array([{}], dtype=object) if rng.random() < 0.1 else np.frombuffer(text, np.uint8)
        np.savez_compressed(path, record=record, **pictures)
    return rng.choice((lambda: is_done(path, JOB), lambda: load_unit(path).fingerprint == "f"))


def check(result) -> str | None:
    return None if isinstance(result, bool | str) else f"{result!r}"


def _identity(rng: random.Random):
    theirs = copy.deepcopy(IDENTITY)
    theirs[rng.choice(list(theirs))] = copy.deepcopy(rng.choice(ODD))
    text = json.dumps(theirs)
    if rng.random() < 0.3:
        text = damaged(rng, text.encode()).decode("utf-8", "replace")
    return lambda: differing(text, json.dumps(IDENTITY))
