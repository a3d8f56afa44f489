"""What several rooms measure with."""
