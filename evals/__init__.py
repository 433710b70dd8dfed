"""The examiner: tracks what a video model imagines and scores its trajectories, not its looks."""
