"""sample.json files to replay: damaged, of wrong kinds, with absurd values."""

import json
import random
from dataclasses import asdict

from tests.fuzz.mutations import damaged
from vdt_mlx.commands.sample_settings import SampleSettings, read_settings

TITLE = "sample.json"
VALUES = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        17,
        2**31,
        2**63,
        2**64,
        10**25,
        0.5,
        -0.0,
        1e308,
        "",
        "a",
        "~",
        "\0",
        "8",
        "predict",
    ),
    *("x" * 5000, "\x1b[31m", "ü", "../..", [], [1], ["gif"], ["gif", 3], {}, {"a": 1}, [[]]),
)


def case(rng: random.Random, folder):
    body = {"settings": asdict(SampleSettings()), "metrics": {}, "outputs": {}}
    kind = rng.randrange(4)
    if kind == 0:
        body["settings"][rng.choice(list(body["settings"]))] = rng.choice(VALUES)
    elif kind == 1:
        body["settings"][rng.choice(("unknown", "stepz", "", "\n", "__class__"))] = rng.choice(VALUES)
    elif kind == 2:
        body = rng.choice((rng.choice(VALUES), {"settings": rng.choice(VALUES)}, {**body, "settings": list(body)}))
    data = json.dumps(body).encode()
    path = folder / "sample.json"
    path.write_bytes(damaged(rng, data) if kind == 3 else data)
    return lambda: read_settings(path)


def check(result) -> str | None:
    return None if isinstance(result, SampleSettings) and 1 <= result.samples <= 64 else repr(result)
