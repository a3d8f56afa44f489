"""The job behind ``unlearn-language``: configuration, inputs, work, result, report."""
