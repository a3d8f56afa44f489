"""A learner that goes on after it forgot: what continual learning and unlearning do together."""
