"""Sweeps: every masker of pre-training at every masking ratio, over seeds."""
