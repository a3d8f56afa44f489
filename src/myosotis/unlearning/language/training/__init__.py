"""The trainer of unlearning and its parts."""
