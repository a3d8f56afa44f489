"""The desk: from a letter to an answer."""
