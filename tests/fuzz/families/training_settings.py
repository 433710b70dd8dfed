"""Training configurations: TOML files and `--set`, with wrong kinds, absurd values and damage."""

import random
from dataclasses import fields, is_dataclass
from typing import get_type_hints

from tests.fuzz.mutations import damaged
from vdt_mlx.training.config import CONFIGS, TrainConfig, load_config

SECTIONS = {name: kind for name, kind in get_type_hints(TrainConfig).items() if is_dataclass(kind)}

TITLE = "training settings"
VALUES = (
    *(
        "0",
        "-1",
        "1",
        "17",
        "1e400",
        "-0.0",
        "nan",
        "inf",
        "9" * 30,
        "9" * 5000,
        "0.5",
        "true",
        "2024-05-01",
        "'a'",
        "''",
    ),
    *(
        "[]",
        "[1]",
        "[64, 64]",
        "[[[[]]]]",
        "[" * 3000,
        "{a = 1}",
        "~",
        "a b",
        "=",
        "\x1b[31m",
        "ü",
        "'" + "x" * 9000 + "'",
    ),
)


def case(rng: random.Random, folder):
    if rng.random() < 0.4:
        path = folder / "a.toml"
        path.write_bytes(damaged(rng, rng.choice(sorted(CONFIGS.glob("*.toml"))).read_bytes()))
        return lambda: load_config(str(path))
    section = rng.choice(list(SECTIONS))
    key = rng.choice([field.name for field in fields(SECTIONS[section])])
    change = rng.choice(
        (
            *[f"{section}.{key}={rng.choice(VALUES)}"] * 4,
            *(f"{section}={rng.choice(VALUES)}", f"{section}.{key}", f"{section}.{key}.x={rng.choice(VALUES)}"),
            *(f".={rng.choice(VALUES)}", "=", f"{section}.{key[:-1]}=1", f"{'a.' * 2000}b=1"),
        )
    )
    return lambda: load_config("physics", (change,))


def check(result) -> str | None:
    return None if result.to_dict() else "nothing"
