"""Tune on one stream of tasks, evaluate on another."""
