"""Forgetting in what this package has learned: to the bit where heads are sums, by gradient elsewhere."""
