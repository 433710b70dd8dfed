"""How often people are right about Physion's clips."""

from collections.abc import Iterable
from typing import Any

from evals.physion.labels import Label

SOURCE = (
    "github.com/cogtoolslab/physics-benchmarking-neurips2021, results/csv/summary/human_accuracy_by_scenario.csv "
    "(commit fd02f3f): mean over people, 95 % interval"
)
PUBLISHED = {
    "collide": (0.8102, 0.8016, 0.8194),
    "contain": (0.7670, 0.7581, 0.7750),
    "dominoes": (0.6943, 0.6855, 0.7035),
    "drape": (0.6784, 0.6632, 0.6925),
    "drop": (0.7456, 0.7382, 0.7531),
    "link": (0.6447, 0.6320, 0.6581),
    "roll": (0.8705, 0.8617, 0.8792),
    "support": (0.7649, 0.7573, 0.7717),
}
"""Accuracy and its interval, by scenario, over all clips of Core."""
OWN_SOURCE = "column `correct` of the label file: mean over the clips that were scored"


def people(scenario: str, labels: Iterable[Label]) -> dict[str, Any] | None:
    """{accuracy, low, high, source} for a scenario; of the very clips, where the label file tells. None if unknown."""
    shares = [label.human for label in labels]
    known = [share for share in shares if share is not None]
    if shares and len(known) == len(shares):
        return {"accuracy": sum(known) / len(known), "low": None, "high": None, "source": OWN_SOURCE}
    if scenario in PUBLISHED:
        accuracy, low, high = PUBLISHED[scenario]
        return {"accuracy": accuracy, "low": low, "high": high, "source": SOURCE}
    return None
