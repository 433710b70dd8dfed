"""The folder of a training run: its description, its log, and the manifests of its states."""

import copy
import json
import random

from tests.fuzz.mutations import damaged
from vdt_mlx.training import plot, state
from weights import info_text
from weights.info import about

TITLE = "training runs and their logs"
RUN = {
    "kind": "vdt",
    "config": {"name": "x", "loop": {"steps": 100, "batch": 2}, "vdt": {"num_frames": 4}},
    "provenance": {"from": "x"},
}
LOG = [
    {"step": 1, "loss": 0.5, "grad_norm": 1.5, "seconds": 0.1},
    {"step": 2, "loss": 0.4, "grad_norm": None, "seconds": 0.1},
    {"step": 2, "preview": {"pair_error": 3.5, "clips": 4, "presence": 0.5}},
]
MANIFEST = {"step": 2, "bytes": 3, "sha256": "0" * 64, "loss": {"smoothed": 0.5, "lowest": 0.4}}
ODD = (
    *(None, True, -1, 0, 2**63, 10**30, 1.5, -0.0, 1e300, float("nan"), float("inf"), float("-inf")),
    *("", "x", "\x1b[2J", "../x", "x" * 3000, [], [[]], {}, {"a": []}, [None], {"pair_error": []}, [1] * 500),
)


def case(rng: random.Random, folder):
    lines = copy.deepcopy(LOG) * rng.choice((1, 1, 3))
    body, manifest = copy.deepcopy(RUN), copy.deepcopy(MANIFEST)
    for table in rng.sample([body, body["config"], body["config"]["loop"], manifest, manifest["loss"], *lines], 3):
        table[rng.choice(list(table))] = copy.deepcopy(rng.choice(ODD))
    log = "".join(json.dumps(line) + "\n" for line in lines).encode()
    if rng.random() < 0.4:
        log = rng.choice((damaged(rng, log), log + b"[" * 100_000 + b"\n", log + b'{"step": ' + b"9" * 5000 + b"}\n"))
    (folder / state.RUN).write_bytes(damaged(rng, json.dumps(body).encode()) if rng.random() < 0.2 else _dump(body))
    (folder / state.LOG).write_bytes(log)
    kept = folder / state.STATES / "step-00000002"
    kept.mkdir(parents=True)
    (kept / state.ARRAYS).write_bytes(b"abc")
    text = _dump(manifest)
    (kept / state.MANIFEST).write_bytes(damaged(rng, text) if rng.random() < 0.3 else text)
    what = rng.randrange(4)
    if what == 0:
        return lambda: plot._panels(state.read_log(folder), str(state.read_run(folder).get("kind")))
    if what == 1:
        return lambda: info_text.lines(about(folder), verbose=rng.random() < 0.5)
    if what == 2:
        return lambda: [state.diverged(kept)]
    return lambda: state.load_state(folder)


def check(result) -> str | None:
    if not isinstance(result, list):
        return "a state of three bytes was read"
    texts = [line for line in result if isinstance(line, str)]
    return next((f"not one line: {line[:60]!a}" for line in texts if not line.isprintable()), None)


def _dump(body: object) -> bytes:
    return json.dumps(body).encode()
