"""The seven tasks of mask modelling, each with a score of its own; spread against error; roll-outs."""
