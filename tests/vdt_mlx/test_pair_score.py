"""Quick centroid errors of clips."""

import numpy as np
import pytest

from vdt_mlx.pair_score import copy_last, score_clips


def test_scores_compare_with_repeating_the_last_frame():
    clip = np.full((16, 64, 64, 3), 230, np.uint8)
    for t, frame in enumerate(clip):
        frame[30:38, 2 * t : 2 * t + 8] = (220, 50, 47)
    truth = clip[None]
    perfect = score_clips(truth, truth)
    assert perfect["pair_error"] == 0 and perfect["presence"] == 1
    assert perfect["copy_last_pair_error"] == pytest.approx(2 * np.mean(np.arange(1, 9)), abs=0.01)
    assert score_clips(truth, copy_last(truth))["pair_error"] == perfect["copy_last_pair_error"]
    gone = truth.copy()
    gone[:, 8:] = 230
    assert score_clips(truth, gone) == {**perfect, "pair_error": 20.0, "pair_error_final": 20.0, "presence": 0.0}
