"""A measured powder pattern that a run ranks its candidates by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crystalgraph.crystals.powder_similarity import PowderPattern
from crystalgraph.crystals.reflections import wavelength_of
from crystalgraph.io.powder_patterns import read_powder_pattern
from crystalgraph.screening.candidates import Candidates
from crystalgraph.screening.pattern_rank import ranked_by_pattern


@dataclass(frozen=True, kw_only=True)
class MeasuredPattern:
    """A pattern and where it comes from.

    Attributes:
        file: name of the file.
        sha256: of its bytes.
        radiation: as it was given.
        pattern: what crystals are compared with.
    """

    file: str
    sha256: str
    radiation: str
    pattern: PowderPattern

    @classmethod
    def read(cls, path: str | Path, radiation: str) -> MeasuredPattern:
        """Read a file.

        Args:
            path: see `crystalgraph.io.powder_patterns.read_powder_pattern`.
            radiation: see `crystalgraph.crystals.reflections.wavelength_of`.

        Raises:
            InputError: if the file is no pattern, or the radiation is not known.
        """
        wavelength = wavelength_of(radiation)
        angles, counts = read_powder_pattern(path)
        return cls(
            file=Path(path).name,
            sha256=hashlib.sha256(Path(path).read_bytes()).hexdigest(),
            radiation=radiation,
            pattern=PowderPattern.of(angles, counts, wavelength),
        )

    def rank(self, candidates: Candidates) -> tuple[Candidates, dict[str, Any]]:
        """The candidates ranked by similarity, and the record of that; see `ranked_by_pattern`."""
        ranked, width = ranked_by_pattern(candidates, self.pattern)
        angles = self.pattern.angles
        return ranked, {
            "file": self.file,
            "sha256": self.sha256,
            "radiation": self.radiation,
            "wavelength": self.pattern.wavelength,
            "two_theta": [float(angles[0]), float(angles[-1])],
            "line_width": width,
        }

    @property
    def caveat(self) -> str:
        """What a reader of the rank must know."""
        return (
            f"Ranked by similarity to the powder pattern {self.file} ({self.radiation}), where there are energies "
            "among the metastable only: the first is the most alike of these, not shown to be the sample."
        )
