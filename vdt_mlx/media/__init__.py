"""Frames in and out: videos, pictures, masks."""
