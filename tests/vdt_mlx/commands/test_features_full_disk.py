"""`vdt-mlx features` on a full disk: one sentence, and what was there stays."""

import numpy as np
import pytest

from tests.full_disk import full_disk
from vdt_mlx import cli
from vdt_mlx.commands.features import features


def test_features_of_before_stay(tiny_checkpoint, tmp_path, capfd) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "clip.npz", frames=rng.integers(0, 256, (16, 64, 64, 3), dtype=np.uint8))
    out = tmp_path / "features.npz"
    out.write_bytes(b"before")
    with full_disk(1_000), pytest.raises(SystemExit) as ended:
        cli.run(features, args=[str(tmp_path / "clip.npz"), "--model", str(tiny_checkpoint), "--out", str(out)])
    err = capfd.readouterr().err
    assert ended.value.code == 2 and "Traceback" not in err and err.strip().splitlines()[-1].startswith("Error: ")
    assert out.read_bytes() == b"before" and {path.name for path in tmp_path.iterdir()} == {"clip.npz", "features.npz"}
