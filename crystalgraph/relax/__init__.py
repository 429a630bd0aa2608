"""Energies: relaxation with a universal potential, and the convex hull of known phases."""
