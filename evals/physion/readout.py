"""The readout: logistic regression from features to "the agent touches the patient", scenario by scenario.

As Physion's `physopt` has it: standardised features, an L2 penalty chosen from 1e-8 to 1e8 by five-fold
cross-validation, as many fitted clips with contact as without. The threshold is fixed at 0.5 and never tuned.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdt_mlx.errors import VDTError

THRESHOLD = 0.5
STRENGTHS = np.logspace(-8, 8, 17)
"""Of the penalty's inverse, scikit-learn's C."""
INNER, OUTER = 5, 5
"""Folds that choose the penalty, and folds that are answered by a readout fitted on the others."""
ITERATIONS = 200
LEAST = 5
"""Clips with contact, and without, that a readout needs."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def check_installed() -> None:
    """Raises VDTError if scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise VDTError("The readout needs scikit-learn: pip install 'vdt-mlx[physion]'.") from None


def answers(features: Floats, contact: Bools, seed: int) -> Floats:
    """(N,) the probability of contact of every clip, by a readout that was fitted on other clips.

    Args:
        features: (N, D).
        contact: (N,).
        seed: shares the clips out among OUTER folds, with equal parts of both answers.
    """
    from sklearn.model_selection import StratifiedKFold

    result = np.full(len(contact), np.nan)
    for fit, ask in StratifiedKFold(OUTER, shuffle=True, random_state=seed).split(features, contact):
        result[ask] = fitted_answers(features[fit], contact[fit], features[ask], seed)
    return result


def fitted_answers(features: Floats, contact: Bools, asked: Floats, seed: int) -> Floats:
    """(M,) the probability of contact of the `asked` (M, D), by a readout fitted on `features` (N, D)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    kept = balanced(contact, seed)
    features, contact = features[kept], contact[kept]
    features, asked = _rotated(*_standardised(features, asked))
    folds = StratifiedKFold(min(INNER, int(contact.sum())), shuffle=True, random_state=seed)
    search: Any = GridSearchCV(LogisticRegression(max_iter=ITERATIONS), {"C": STRENGTHS}, cv=folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # with next to no penalty there is no end
        search.fit(features, contact)
    return search.predict_proba(asked)[:, 1]


def enough(contact: Bools) -> bool:
    """Whether there are clips of both kinds for a readout."""
    return min(int(contact.sum()), int((~contact).sum())) >= LEAST


def balanced(contact: Bools, seed: int) -> NDArray[np.intp]:
    """As many clips with contact as without, drawn at random, in order."""
    rng = np.random.default_rng([17, seed])
    yes, no = np.flatnonzero(contact), np.flatnonzero(~contact)
    count = min(len(yes), len(no))
    return np.sort(np.concatenate([rng.permutation(kind)[:count] for kind in (yes, no)]))


def _standardised(features: Floats, asked: Floats) -> tuple[Floats, Floats]:
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-9 * max(1e-9, float(np.abs(mean).max())), spread, np.inf)  # constants say nothing
    return (features - mean) / spread, (asked - mean) / spread


def _rotated(features: Floats, asked: Floats) -> tuple[Floats, Floats]:
    """Both in the coordinates of the space that the fitted clips span.

    An L2 penalty leaves no weight outside it, so the readout is the same one, in N numbers a clip and not in thousands.
    """
    if features.shape[1] <= features.shape[0]:
        return features, asked
    axes = np.linalg.svd(features, full_matrices=False)[2]
    return features @ axes.T, asked @ axes.T
