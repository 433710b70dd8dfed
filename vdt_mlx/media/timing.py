"""How many frames of equal length the pictures of an animation stand for."""

import math
from collections.abc import Sequence

UNIT = 10.0
"""Milliseconds in which a GIF counts: delays are rounded to it."""
LONGEST = 1000
"""Frames that one picture may stand for; a longer pause is cut to that."""


def repeats(delays: Sequence[float]) -> tuple[list[int], str | None]:
    """For how many frames each picture of an animation is shown, and a remark if that cannot be told exactly.

    Writers merge equal frames into one that is shown for longer. The base delay is the shortest one, averaged with
    those that differ from it by rounding; if the others are no multiples of it, it is their common divisor. Pictures
    without a delay count as one frame.

    Args:
        delays: in milliseconds, one a picture; 0 where the file does not say.
    """
    said = [delay for delay in delays if delay > 0]
    if not said:
        return [1] * len(delays), None
    shortest = min(said)
    close = [delay for delay in said if delay <= shortest + UNIT]
    base = sum(close) / len(close)
    counts = _counts(delays, base)
    odd = _not_multiples(delays, counts, base)
    if odd:
        divisor = math.gcd(*(round(delay / UNIT) for delay in said)) * UNIT
        if divisor >= 2 * UNIT and shortest / divisor <= 4:
            base, odd = divisor, []
            counts = _counts(delays, base)
    remark = None
    if odd:
        shown = ", ".join(str(index) for index in odd[:5]) + (" ..." if len(odd) > 5 else "")
        remark = f"the pictures {shown} are shown for no whole number of frames of {base:.0f} ms; that was rounded"
    if any(count > LONGEST for count in counts):
        counts = [min(count, LONGEST) for count in counts]
        remark = f"a picture that is shown for more than {LONGEST} frames was cut to that"
    return counts, remark


def _counts(delays: Sequence[float], base: float) -> list[int]:
    return [max(1, math.floor(delay / base + 0.5)) for delay in delays]


def _not_multiples(delays: Sequence[float], counts: Sequence[int], base: float) -> list[int]:
    return [
        index
        for index, (delay, count) in enumerate(zip(delays, counts, strict=True))
        if delay > 0 and abs(delay - count * base) > max(UNIT, base / 4) + count * UNIT / 20
    ]
