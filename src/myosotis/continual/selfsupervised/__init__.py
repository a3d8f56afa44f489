"""Continual self-supervised learning."""
