"""From sources to examples: reading, checking, tokenising. Nothing is learnt here."""
