"""What a result was made with, for its record."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from crystalgraph import __version__

LIBRARIES = (
    *("torch", "torch-geometric", "pymatgen", "pymatgen-core", "gemmi", "spglib", "moyopy", "numpy", "scikit-learn"),
    *("ase", "chgnet"),
)
"""Packages whose versions can change a result."""


def versions(*more: str) -> dict[str, str]:
    """Versions of Python, crystalgraph and the libraries that can change a result, and of more where installed."""
    found = {"crystalgraph": __version__, "python": platform.python_version()}
    for name in (*LIBRARIES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
