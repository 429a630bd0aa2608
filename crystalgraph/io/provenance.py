"""What a result was made with, for its record."""

from __future__ import annotations

import hashlib
import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import crystalgraph
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


@lru_cache
def code_checksum(*rooms: str) -> str:
    """SHA-256 over the modules and tables of some rooms of the package: other code may give another result."""
    package = Path(crystalgraph.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for room in rooms for path in (package / room).iterdir() if path.is_file()):
        for part in (path.relative_to(package).as_posix().encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
