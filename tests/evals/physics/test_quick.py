import numpy as np
import pytest

import physics_sim
from evals.physics.quick import quick_score
from vdt_mlx.errors import VDTError


@pytest.fixture(scope="module")
def clips():
    return [physics_sim.make_clip("collide", "val", i) for i in range(2)]


def test_the_truth_scores_well_and_beats_the_baselines(clips):
    found = quick_score(lambda frames, given: frames, clips)
    assert found["ade"] < 0.05 < min(found["ade_constant_velocity"], found["ade_copy_last"])
    assert found["presence"] == found["identity_kept"] == found["contact"] == 1


def test_copying_scores_as_copying(clips):
    def copy(frames, given):
        out = frames.copy()
        out[:, given:] = frames[:, given - 1 : given]
        return out

    found = quick_score(copy, clips)
    assert found["ade"] == pytest.approx(found["ade_copy_last"], abs=0.02)


def test_an_empty_scene_costs_the_cutoff(clips):
    found = quick_score(lambda frames, given: np.full_like(frames, 228), clips)
    assert found["ade"] == 20 and found["presence"] == 0


def test_output_of_another_shape_is_refused(clips):
    with pytest.raises(VDTError, match="frames"):
        quick_score(lambda frames, given: frames[:, :5], clips)
    with pytest.raises(VDTError, match="uint8"):
        quick_score(lambda frames, given: frames.astype(float), clips)
    with pytest.raises(VDTError, match="no clips"):
        quick_score(lambda frames, given: frames, [])


def test_the_command_prints_one_json_object(checkpoint):
    import json

    from click.testing import CliRunner

    from evals.physics.quick import command

    result = CliRunner().invoke(command, [str(checkpoint), "--clips", "2", "--steps", "1"], catch_exceptions=False)
    found = json.loads(result.output)
    assert found["ade"] > found["ade_constant_velocity"] and set(found) >= {"presence", "ade_copy_last", "contact"}
