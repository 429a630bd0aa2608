"""Verdicts on crystals: validity, matching, symmetry."""
