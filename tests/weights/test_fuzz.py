"""A part of the fuzzing that `python tests/weights/fuzz.py` does in full, and a check that its watch is awake."""

import os
import random

import pytest

COUNT = 1500


@pytest.mark.slow
def test_damaged_and_hostile_files(fuzz, hostile):
    """Ten rounds of every kind: each ends in one sentence or in a right load, runs nothing, and is quick."""
    counts, faults, longest = fuzz.run(COUNT, seed=1)
    assert faults == []
    assert sum(counts.values()) == COUNT
    refused = {kind for kind, verdict in counts if verdict == "refused"}
    assert refused == set(hostile.KINDS)
    assert any(verdict == "loaded" for _, verdict in counts)
    assert longest < fuzz.LIMIT_SECONDS


def test_no_code_is_ever_loaded(fuzz, hostile, tmp_path):
    """Every hostile name, in every way of calling it that the fuzzer knows, is refused by that name or its opcode."""
    for index in range(300):
        path = tmp_path / "x.pt"
        path.write_bytes(hostile.contained(hostile.hostile_pickle(random.Random(index)), random.Random(index)))
        with pytest.raises(fuzz.VDTError):
            fuzz.open_source(path)
    assert list(tmp_path.iterdir()) == [path]


def test_the_watch_is_awake(fuzz):
    watch = fuzz.Watch()
    watch.active = True
    os.system("true")
    eval("1")
    watch.active = False
    assert any("os.system" in event for event in watch.seen)
    assert any("compile" in event for event in watch.seen)


def test_cases_repeat(fuzz):
    assert fuzz.case(17) == fuzz.case(17)
    assert fuzz.case(17) != fuzz.case(17, seed=1)
