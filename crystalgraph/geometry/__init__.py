"""Tensor functions on lattices and distances; they know no classes but the crystals themselves."""
