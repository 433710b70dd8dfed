"""What the tasks are asked for: how many samples, frames and clips."""

CONDITIONAL = ("predict", "backward", "interpolate", "single-frame", "arbitrary")
"""Tasks in which whole frames are given."""
QUICK_SAMPLES, FULL_SAMPLES = 2, 4
SPREAD_SAMPLES = 8
SPREAD_GIVEN = 4
CONTEXT_FRAMES = (1, 2, 3, 4, 6, 8, 12)
FEW, MANY = 3, 8
LONG, LONG_FRAME, LONG_CLIPS = 64, 61, 3
"""Roll-outs: frames in all, the frame that is asked about, scenarios."""
