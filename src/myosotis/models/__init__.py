"""Models: how they are found and loaded."""
