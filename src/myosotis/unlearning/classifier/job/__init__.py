"""The job of ``myosotis unlearn classifier``: configuration, phases, result and report."""
