"""Forgetting that is exact: records are taken out of the sums that a head on a frozen body is a function of."""
