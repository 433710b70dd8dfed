"""JSON and TOML texts: cut, deep, huge, not UTF-8, not what they should be."""

import json
import random

from tests.fuzz.mutations import damaged
from vdt_mlx.reading import MAX_DEPTH, read_json, read_toml

TITLE = "JSON and TOML"
GOOD = {"format": "x", "version": 1, "clips": [{"name": "a", "size": 64, "rate": 0.5}], "splits": {"train": [1, 2, 3]}}
TOML = b'format = "x"\nversion = 1\n[splits]\ntrain = [1, 2, 3]\nwhen = 2024-05-01\n[[clips]]\nname = "a"\nrate = 0.5\n'
NUMBERS = (
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "9" * 30,
    "-" + "9" * 30,
    "9" * 5000,
    "0x" + "f" * 40,
    "inf",
    "nan",
    "1_0",
)


def case(rng: random.Random, folder):
    toml = rng.random() < 0.4
    path = folder / ("a.toml" if toml else "a.json")
    good = TOML if toml else json.dumps(GOOD).encode()
    kind = rng.randrange(5)
    if kind == 0:
        data = good.replace(b"0.5", rng.choice(NUMBERS).encode())
    elif kind == 1:
        depth = rng.choice((MAX_DEPTH - 3, MAX_DEPTH + 3, 500, 5000, 200_000))
        opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ("[{a=" if toml else '[{"a":', "}]")))
        data = good.replace(b"0.5", (opening * depth + "1" + closing * (depth if rng.random() < 0.7 else 0)).encode())
    elif kind == 2:
        data = rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0")) + good
    else:
        data = damaged(rng, good)
    path.write_bytes(data)
    return (lambda: read_toml(path, "settings")) if toml else (lambda: read_json(path, "index"))


def check(result) -> str | None:
    for _ in range(2):
        result = json.loads(json.dumps(result, allow_nan=False, default=str))
    return None
