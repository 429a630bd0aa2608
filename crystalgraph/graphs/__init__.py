"""Crystals as periodic graphs, and datasets of them in PyG's form."""
