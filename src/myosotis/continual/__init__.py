"""Learning a stream of tasks without forgetting the earlier ones."""
