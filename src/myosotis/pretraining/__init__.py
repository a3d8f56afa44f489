"""Masked image modelling: what is hidden, and how a network learns to fill it in."""
