"""What somebody does before the first job: look at examples, write a configuration, check it."""
