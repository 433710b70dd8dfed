"""Who continues a clip: models, folders of clips, functions, baselines."""

from evals.predictors.checkpoint import Checkpoint
from evals.predictors.folder import Folder
from evals.predictors.frames import Bad, FrameSource, Predictor, Start
from evals.predictors.python_code import Code
from evals.predictors.registry import Reconstruction, Truthful

__all__ = ["Bad", "Checkpoint", "Code", "Folder", "FrameSource", "Predictor", "Reconstruction", "Start", "Truthful"]
