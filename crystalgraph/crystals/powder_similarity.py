"""How alike crystals and a measured powder pattern are; ``report/pattern.js`` says the same to many digits.

The similarity is that of de Gelder, Wehrens and Hageman, J. Comput. Chem. 22, 273 (2001): the correlation of two
patterns, weighted by a triangle of the shift between them. A lattice that is a few percent too large or too small is
allowed for: the similarity is that at the best common scale of the cell's lengths. Lines of crystals are as wide as
suits the most similar of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log, nan, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystalgraph.crystals.reflections import reflections

if TYPE_CHECKING:
    from pymatgen.core import Structure

GRID = 0.02
"""Degrees, of measured patterns."""

_TRIANGLE = 0.4  # half the base of the triangle, degrees
_MOST_SCALED, _SCALE_STEP = 0.04, 0.002  # of the lengths of the cell
_WIDTHS = (0.04, 0.06, 0.09, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)  # of lines, degrees, that are tried
_USUAL_WIDTH = 0.15
_WIDEST_PEAK = 1.5  # degrees, half the width of what is taken as a peak and not as background
_SIGMA = 1 / sqrt(8 * log(2))  # of a Gaussian, over its full width at half maximum

Numbers = NDArray[np.float64]
Lines = tuple[Numbers, Numbers]
"""Angles (2θ, degrees) and intensities (percent of the strongest)."""


@dataclass(frozen=True, kw_only=True)
class PowderPattern:
    """A measured pattern on an even grid, without its background.

    Attributes:
        angles: 2θ, degrees, (n,).
        counts: percent of the highest, (n,).
        wavelength: Å.
    """

    angles: Numbers
    counts: Numbers
    wavelength: float

    @classmethod
    def of(cls, angles: Sequence[float], counts: Sequence[float], wavelength: float) -> PowderPattern:
        """Bring a pattern to the grid and take its background away.

        Args:
            angles: 2θ, degrees, rising, over more than ``GRID``.
            counts: one for each.
            wavelength: Å.
        """
        grid = angles[0] + GRID * np.arange(floor((angles[-1] - angles[0]) / GRID) + 1, dtype=np.float64)
        values = np.interp(grid, angles, counts)
        return cls(angles=grid, counts=_without_background(values), wavelength=wavelength)

    def similarities(self, structures: Sequence[Structure]) -> tuple[list[float], float]:
        """How alike the pattern and each of some crystals are.

        Args:
            structures: ordered structures.

        Returns:
            0 to 1 for each, NaN where it is not known how an element scatters or no line can be seen; and the width of
            lines (full at half maximum, degrees) that they were compared with.
        """
        lines = [_reflections(structure) for structure in structures]
        known = {k: own for k, own in enumerate(lines) if own is not None and len(own[0])}
        if not known:
            return [nan] * len(structures), _USUAL_WIDTH
        rough = {k: self._rough(own, _USUAL_WIDTH) for k, own in known.items()}
        best = max(rough, key=lambda k: rough[k][0])
        width = max(_WIDTHS, key=lambda one: self._fine(known[best], rough[best][1], one))
        found = {k: self._fine(own, rough[k][1], width) for k, own in known.items()}
        return [found.get(k, nan) for k in range(len(structures))], width

    def _rough(self, reflections_: Lines, width: float) -> tuple[float, float]:
        """Similarity by the lines alone, and the scale of the cell's lengths that it is reached at."""
        sigma = width * _SIGMA
        norm = float(self.counts @ _weighted(self.counts, _kernel(0)))
        blurred = np.append(
            _weighted(self.counts, _kernel(sigma)), 0.0
        )  # what rounds beyond the last angle has nothing
        kernel = _kernel(sigma * sqrt(2))
        first, last = self.angles[0], self.angles[-1]
        best = 0.0, 1.0
        most = round(_MOST_SCALED / _SCALE_STEP)
        for k in range(-most, most + 1):
            scale = 1 + k * _SCALE_STEP
            angles, parts = _powder_lines(reflections_, self.wavelength, scale)
            inside = (angles >= first) & (angles <= last)
            order = np.argsort(angles[inside], kind="stable")
            angles, parts = angles[inside][order], parts[inside][order]
            shared = float(parts @ blurred[_rounded((angles - first) / GRID)])
            length = sqrt(norm * _autocorrelation(angles, parts, kernel))
            similarity = shared / length if length > 0 else 0.0
            if similarity > best[0] + 1e-9:
                best = min(1.0, similarity), scale
        return best

    def _fine(self, reflections_: Lines, near: float, width: float) -> float:
        """Similarity near a scale, by profiles whose background is taken away as that of the pattern was."""
        own = _weighted(self.counts, _kernel(0))
        norm, best = float(self.counts @ own), 0.0
        for scale in (near - _SCALE_STEP / 2, near, near + _SCALE_STEP / 2):
            profile = _profile(_powder_lines(reflections_, self.wavelength, scale), self.angles, width)
            counts = _without_background(profile)
            length = sqrt(norm * float(counts @ _weighted(counts, _kernel(0))))
            best = max(best, min(1.0, float(counts @ own) / length) if length > 0 else 0.0)
        return best


def _reflections(structure: Structure) -> Lines | None:
    """1/d (1/Å) and strength of each."""
    lines: list[list[Any]] | None = reflections(structure, np.eye(3, dtype=np.int64))
    if lines is None:
        return None
    return np.array([line[0] for line in lines]), np.array([line[1] for line in lines])


def _powder_lines(reflections_: Lines, wavelength: float, scale: float) -> Lines:
    """Lines that can be seen with a wavelength (Å) where the lengths of the cell are scaled."""
    sine = reflections_[0] / scale * wavelength / 2
    seen = sine < 1
    theta = np.arcsin(sine[seen])
    parts = reflections_[1][seen] * (1 + np.cos(2 * theta) ** 2) / (sine[seen] ** 2 * np.cos(theta))
    return 360 * theta / np.pi, 100 * parts / parts.max() if len(parts) else parts


def _profile(lines: Lines, angles: Numbers, width: float) -> Numbers:
    """Lines as Gaussians of a full width at half maximum (degrees); the highest point is 100."""
    sigma, values = width * _SIGMA, np.zeros(len(angles))
    step = angles[1] - angles[0]
    for angle, part in zip(*lines, strict=True):
        first = max(0, floor((angle - 5 * sigma - angles[0]) / step))
        end = min(len(angles) - 1, ceil((angle + 5 * sigma - angles[0]) / step)) + 1
        if first < end:
            values[first:end] += part * np.exp(-0.5 * ((angles[first:end] - angle) / sigma) ** 2)
    highest = float(values.max())
    return 100 * values / highest if highest > 0 else values


def _without_background(values: Numbers) -> Numbers:
    """Counts without what is below the peaks; the highest is 100."""
    above = values - _background(_averaged(values, round(0.1 / GRID)))
    floor_ = max(0.0, float(np.sort(above)[len(values) // 2]))  # noise, where lines are few
    clean = np.maximum(0.0, above - floor_)
    return 100 * clean / (float(clean.max()) or 1.0)


def _averaged(values: Numbers, reach: int) -> Numbers:
    """The mean of each value and those around it."""
    sums, places = np.concatenate(([0.0], np.cumsum(values))), np.arange(len(values))
    first, end = np.maximum(0, places - reach), np.minimum(len(values), places + reach + 1)
    averages: Numbers = (sums[end] - sums[first]) / (end - first)
    return averages


def _background(values: Numbers) -> Numbers:
    """Peaks clipped again and again (SNIP; Morháč et al., Nucl. Instrum. Methods A 401, 113 (1997))."""
    clipped = np.log(np.log(np.sqrt(np.maximum(0.0, values) + 1) + 1) + 1)
    reach = round(_WIDEST_PEAK / GRID)
    while reach >= 1:
        if 2 * reach < len(clipped):
            across = (clipped[: -2 * reach] + clipped[2 * reach :]) / 2
            clipped[reach:-reach] = np.minimum(clipped[reach:-reach], across)
        reach -= 3 if reach > 12 else 1
    background: Numbers = (np.exp(np.exp(clipped) - 1) - 1) ** 2 - 1
    return background


def _kernel(sigma: float) -> Numbers:
    """Over shifts from zero on, in steps of ``GRID``: the triangle, blurred by a Gaussian."""
    shifts, shift = [], 0.0
    while shift <= _TRIANGLE + 4 * sigma:  # a sum, as the page has it
        shifts.append(shift)
        shift += GRID
    blur = np.arange(-4, 4.125, 0.25)
    weights = np.exp(-0.5 * blur * blur)
    triangles = np.maximum(0.0, 1 - np.abs(np.array(shifts)[:, None] + blur * sigma) / _TRIANGLE)
    kernel: Numbers = triangles @ weights / weights.sum()
    return kernel


def _weighted(counts: Numbers, kernel: Numbers) -> Numbers:
    """A pattern on the grid, weighted by a kernel."""
    reach = len(kernel) - 1
    return np.convolve(counts, np.concatenate((kernel[:0:-1], kernel)))[reach : reach + len(counts)]


def _autocorrelation(angles: Numbers, parts: Numbers, kernel: Numbers) -> float:
    """Sum over all pairs of lines of their intensities and the kernel of their shift; angles rise."""
    ends = np.searchsorted(angles, angles + GRID * len(kernel), side="right")
    n_after = ends - np.arange(len(angles)) - 1
    left = np.repeat(np.arange(len(angles)), n_after)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(n_after) - n_after, n_after)
    at = _rounded((angles[right] - angles[left]) / GRID)
    near = at < len(kernel)
    return float(parts @ parts * kernel[0] + 2 * (parts[left] * parts[right])[near] @ kernel[at[near]])


def _rounded(values: Numbers) -> NDArray[np.int64]:
    return np.floor(values + 0.5).astype(np.int64)
