"""Crystals in and out, in one place: convert, read, write."""

from crystalgraph.io.conversion import from_atoms, from_structures, to_atoms, to_structures
from crystalgraph.io.reading import ReadResult, read_structures
from crystalgraph.io.writing import EXTXYZ_FILE, FORMATS, write_structures

__all__ = [
    "EXTXYZ_FILE",
    "FORMATS",
    "ReadResult",
    "from_atoms",
    "from_structures",
    "read_structures",
    "to_atoms",
    "to_structures",
    "write_structures",
]
