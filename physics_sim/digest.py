"""A fingerprint of clips: the same states to 1e-6, the same digest."""

import hashlib
from collections.abc import Iterable

import numpy as np

from physics_sim.clip import Clip

QUANTUM = 1e-6


def fingerprint(clips: Iterable[Clip]) -> str:
    """SHA-256 (hexadecimal) over names, labels, contact times and states of clips, in their order, rounded to 1e-6."""
    digest = hashlib.sha256()
    for clip in clips:
        time = round(clip.contact_time / QUANTUM) if clip.contact else -1
        names = ",".join(f"{body.name}:{body.role}" for body in clip.bodies)
        head = f"{clip.scenario}/{clip.split}/{clip.seed}/{clip.index}/{int(clip.contact)}/{time}/{names};"
        digest.update(head.encode())
        for values in (clip.position, clip.angle, clip.velocity, clip.angular_velocity):
            digest.update(np.rint(values / QUANTUM).astype("<i8").tobytes())
    return digest.hexdigest()
