"""Verdicts on sets of crystals, and the metrics made of them."""
