"""The job of ``unlearn-classifier``: configuration, phases, result and report."""
