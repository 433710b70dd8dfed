"""The contact question: will the agent touch the patient in the predicted frames?"""

CONTACT_GAP = 1.2
"""Pixels of 64: agent and patient touch when the gap between their outlines falls to this.

Chosen on the validation split with the tracker on true frames, never on the test split:
`python -m evals.physics calibrate` derives it again.
"""
