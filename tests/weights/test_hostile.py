"""Nothing in a checkpoint file is ever run, whatever it names; `tests/fuzz` has the other thousands of files."""

import random

import pytest

from tests.fuzz import checkpoint_files
from vdt_mlx.errors import VDTError
from weights.formats.source import open_source


def test_no_code_is_ever_loaded(tmp_path):
    """Every hostile name, in every way of calling it that the fuzzer knows, is refused by that name or its opcode."""
    for index in range(300):
        path = tmp_path / "x.pt"
        pickled = checkpoint_files.hostile_pickle(random.Random(index))
        path.write_bytes(checkpoint_files.contained(pickled, random.Random(index)))
        with pytest.raises(VDTError):
            open_source(path)
    assert list(tmp_path.iterdir()) == [path]


def test_every_kind_of_file_is_made():
    for kind, (_, make) in checkpoint_files.KINDS.items():
        assert isinstance(make(random.Random(kind)), bytes)
