"""The job behind ``myosotis unlearn language``: configuration, inputs, work, result, report."""
