"""macOS ends a GPU's work that keeps the screen waiting; what can be said against it before Metal starts."""

import os

VARIABLE = "AGX_RELAX_CDM_CTXSTORE_TIMEOUT"


def relax() -> None:
    """Asks Apple's GPU driver for patience, for work that runs for hours; nothing else looks at it.

    Must run before MLX first computes. Of help on some machines; short evaluations are on all.
    """
    os.environ.setdefault(VARIABLE, "1")
