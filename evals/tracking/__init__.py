"""From frames to tracks of objects."""
