"""The world's measures and colours: metres and seconds, y up, in a square of 10 m."""

WORLD = 10.0
"""Side of the visible square, metres; (0, 0) is its lower left corner."""
FRAMES = 16
GIVEN = 8
"""Frames that a model is shown; the question is about the others."""
FRAME_TIME = 0.1
"""Seconds between frames."""
GRAVITY = 3.0
"""m/s^2. A third of ours: with 0.1 s a frame, Earth seen at 18 frames a second."""
SUBSTEPS = 40
"""Steps of the solver a frame."""

AGENT_COLOUR = (220, 50, 47)
PATIENT_COLOUR = (250, 200, 40)
BACKGROUNDS = ((226, 231, 237), (217, 225, 230), (232, 233, 236))
STATIC_COLOURS = ((118, 130, 145), (104, 120, 140), (132, 138, 146))
DISTRACTOR_COLOURS = ((66, 104, 176), (56, 138, 146), (118, 92, 168), (84, 140, 92), (86, 94, 108))
