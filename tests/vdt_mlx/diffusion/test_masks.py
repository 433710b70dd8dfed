"""The seven tasks for any clip, beside the draws of the official release."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdt_mlx.diffusion.masks import GIVEN_TASKS, TASKS, BlockMask, align_mask, block_mask, passes, sample_mask
from vdt_mlx.errors import VDTError

OFFICIAL = {"single-frame": "single_frame", "arbitrary": "arbitrary_interpolation", "spatial": "spatial_temporal"}


@pytest.mark.parametrize("task", ["predict", "backward", "interpolate", "unconditional"])
def test_fixed_tasks_are_the_official_ones(golden, task) -> None:
    with np.load(golden / "masks.npz") as recorded:
        ours = sample_mask(task, 16, 16, 16, 2, np.random.default_rng(0))
        assert (recorded[task] == ours).all()


@pytest.mark.parametrize("task", ["single-frame", "arbitrary", "spatial"])
def test_random_tasks_look_like_the_official_ones(golden, task) -> None:
    rng = np.random.default_rng(0)
    ours = np.stack([sample_mask(task, 16, 16, 16, 2, rng) for _ in range(200)])
    with np.load(golden / "masks.npz") as recorded:
        theirs = recorded[OFFICIAL[task]]
    theirs = theirs[theirs.any(axis=(1, 2, 3))]  # without those that the official slip left empty
    assert abs(ours.mean() - theirs.mean()) < 0.12
    assert set(np.unique(ours)) == {0, 1}


@settings(max_examples=150, deadline=None)
@given(
    task=st.sampled_from(TASKS),
    frames=st.integers(2, 40),
    rows=st.integers(1, 8),
    columns=st.integers(1, 8),
    patch=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_every_mask_has_something_to_generate_and_follows_the_patches(task, frames, rows, columns, patch, seed) -> None:
    mask = sample_mask(task, frames, rows * patch, columns * patch, patch, np.random.default_rng(seed))
    assert mask.shape == (frames, rows * patch, columns * patch)
    assert mask.any()
    assert (align_mask(mask, patch) == mask).all()
    if task not in ("unconditional", "arbitrary") and not (task == "spatial" and rows * columns == 1):
        assert not mask.all()


@pytest.mark.parametrize("task", GIVEN_TASKS)
@pytest.mark.parametrize("frames", [2, 5, 16, 31])
def test_any_number_of_given_frames(task, frames) -> None:
    for given_frames in range(1, frames):
        mask = sample_mask(task, frames, 4, 4, 2, np.random.default_rng(3), given_frames)
        per_frame = mask.mean(axis=(1, 2))
        assert sorted(set(per_frame)) == [0, 1]
        assert (per_frame == 0).sum() == given_frames
        if task == "predict":
            assert not per_frame[:given_frames].any()
        if task == "backward":
            assert not per_frame[-given_frames:].any()
        if task == "interpolate":
            assert per_frame[0] == 0


def test_spatial_masks_are_never_empty_as_the_official_ones_can_be() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        mask = sample_mask("spatial", 16, 8, 8, 2, rng)
        touched = mask.any(axis=(1, 2))
        assert touched[6:10].all()
        assert mask[touched].mean() == 0.5
        assert (mask[touched] == mask[touched][0]).all()


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_block_masks_reach_their_ratio_exactly(ratio) -> None:
    rng = np.random.default_rng(0)
    assert all(block_mask(8, 8, rng, BlockMask(ratio)).sum() == round(64 * ratio) for _ in range(50))


@pytest.mark.parametrize(
    ("task", "frames", "given_frames"),
    [
        ("predict", 16, 0),
        ("predict", 16, 16),
        ("backward", 8, -1),
        ("spatial", 16, 4),
        ("unconditional", 16, 1),
        ("foretell", 16, None),
        ("predict", 1, None),
    ],
)
def test_bad_requests(task, frames, given_frames) -> None:
    with pytest.raises(VDTError):
        sample_mask(task, frames, 4, 4, 2, np.random.default_rng(0), given_frames)


def test_align_grows_to_whole_patches() -> None:
    mask = np.zeros((1, 4, 4))
    mask[0, 1, 2] = 1
    grown = align_mask(mask, 2)
    assert grown[0, :2, 2:].all()
    assert grown.sum() == 4


def future(*given: int, frames: int = 8) -> np.ndarray:
    """(B, frames, 2, 2): predictions from so many given frames."""
    mask = (np.arange(frames) >= np.array(given)[:, None]).astype(np.float32)
    return np.broadcast_to(mask[..., None, None], (len(given), frames, 2, 2))


@pytest.mark.parametrize(("given", "chunk", "count"), [((4,), 2, 2), ((3, 6), 2, 3), ((1,), 7, 1), ((5,), 99, 1)])
def test_passes_settle_a_chunk_at_a_time(given, chunk, count) -> None:
    found = passes(future(*given), chunk)
    assert len(found) == count
    for number, mask in enumerate(found):
        assert np.array_equal(mask, future(*(first + number * chunk for first in given)))
    settled = [mask.max(axis=(2, 3)) for mask in (*found, np.zeros_like(found[0]))]
    each = sum(before - after for before, after in itertools.pairwise(settled))
    assert np.array_equal(each, future(*given).max(axis=(2, 3)))  # every frame once


@pytest.mark.parametrize("task", ["backward", "interpolate", "unconditional", "spatial"])
def test_what_is_no_prediction_takes_one_pass(task) -> None:
    mask = sample_mask(task, 8, 4, 4, 2, np.random.default_rng(3))[None]
    assert passes(mask, 1)[0] is mask
    both = np.concatenate([future(4), 1 - future(4)])
    assert passes(both, 2)[0] is both
    assert len(passes(future(4), None)) == 1
