"""Low-rank adapters: how they start, by Fisher information, and how they are exported."""
