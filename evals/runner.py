"""`evals.physics.examiner` and its settings, under the name that they had before."""

from evals.physics.examiner import Examiner, Settings  # noqa: F401
