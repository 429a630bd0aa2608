"""Which atoms see each other: exact periodic neighbour lists of a whole batch of crystals at once.

No image cells are tried and thrown away. With the axes turned so that the lattice is lower triangular, the height of a
neighbour above the a–b plane depends on its third shift alone, its distance from the a axis on the last two shifts,
and what is left bounds the first shift. Three rounds of "count the integers in an interval, then list them" therefore
enumerate exactly the neighbours, for every pair of atoms of every crystal together, in a few dozen of torch's compiled
kernels and on any device.

Reference:
    U. Fincke and M. Pohst, Mathematics of Computation 44, 463 (1985) (all lattice points in a ball).
"""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 1e-8
"""Å added to every cutoff, so that rounding does not decide about a neighbour that sits exactly on it."""

MAX_CANDIDATES = 20_000
"""Bound on the neighbours of one atom beyond which a cell is degenerate. At 5 Å the corpus stays below 1,000."""

_CHUNK = 2**20
"""Candidates searched at a time, some hundred ordinary crystals; keeps the work near the processor's caches."""


@torch.no_grad()
def searchable_cells(
    lattice: Tensor,
    frac_coords: Tensor,
    num_atoms: Tensor,
    cutoff: float | Tensor,
    *,
    max_candidates: int = MAX_CANDIDATES,
) -> Tensor:
    """Whether each cell can be searched: finite, not flat, and not so dense that an atom has absurdly many neighbours.

    Args:
        lattice: lattice vectors as rows, (n_crystals, 3, 3), Å.
        frac_coords: fractional coordinates, crystal after crystal, (n_atoms, 3).
        num_atoms: atoms per crystal, (n_crystals,).
        cutoff: Å, one for all or one per crystal, (n_crystals,).
        max_candidates: largest allowed bound on the neighbours of one atom: the atoms in the cell times the number of
            cells in a box around the ball.

    Returns:
        (n_crystals,), bool, on the device of ``lattice``.
    """
    radius = _radius(lattice, cutoff)
    candidates = num_atoms.to(lattice.device) * _images(_triangular(lattice.double()), radius)
    owner = torch.repeat_interleave(num_atoms)
    # Beyond 2³¹ cells from the origin a coordinate has lost its digits.
    misplaced = (~(frac_coords.abs() < 2**31)).any(1).long()
    stray = torch.zeros_like(num_atoms).index_add(0, owner, misplaced)
    return (candidates <= max_candidates) & (stray == 0) & lattice.isfinite().flatten(1).all(1)


@torch.no_grad()
def neighbor_list(
    lattice: Tensor,
    frac_coords: Tensor,
    num_atoms: Tensor,
    cutoff: float | Tensor,
    *,
    searchable: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find all pairs of atoms within a cutoff, periodic images included, in every crystal of a batch.

    A pair is a centre i, a neighbour j and an integer shift S, with vector r_j − r_i + S · L. Every pair comes with its
    mirror image (j, i, −S); an atom is a neighbour of its own images but not of itself. The search is done in float64
    and is exact: a distance counts when it is at most ``cutoff`` (plus 1e-8 Å). The order of the pairs is
    reproducible but has no meaning. No gradient passes.

    The cost grows with the pairs of atoms in each cell, found or not: fine up to some thousand atoms a cell.

    Args:
        lattice: lattice vectors as rows, (n_crystals, 3, 3), Å, either handedness.
        frac_coords: fractional coordinates, crystal after crystal, (n_atoms, 3); need not lie in [0, 1).
        num_atoms: atoms per crystal, (n_crystals,).
        cutoff: Å, one for all or one per crystal, (n_crystals,).
        searchable: which crystals to search, (n_crystals,), bool, as ``searchable_cells`` gives it; the others get no
            neighbours. None means all of them, and a cell that cannot be searched is an error.

    Returns:
        Centres i (n_pairs,), neighbours j (n_pairs,) and shifts S (n_pairs, 3), int64, on the device of ``lattice``.

    Raises:
        ValueError: if no mask is given and a cell is not finite, flat, or too dense to search.
    """
    device = lattice.device
    num_atoms, frac_coords = num_atoms.to(device), frac_coords.double()
    radius = _radius(lattice, cutoff)
    triangular = _triangular(lattice.double())
    if searchable is None:
        searchable = searchable_cells(lattice, frac_coords, num_atoms, cutoff)
        if not bool(searchable.all()):
            bad = (~searchable).nonzero()[:, 0].tolist()
            raise ValueError(
                f"crystal {bad[0]} ({len(bad)} of {len(num_atoms)}) has a flat, collapsed or non-finite cell; "
                "drop it, or pass searchable=searchable_cells(...) to give it no neighbours"
            )
    last_atom = torch.cumsum(num_atoms, 0)
    pairs = torch.where(searchable, num_atoms.double() ** 2 * _images(triangular, radius), 0.0)
    chunk = (torch.cumsum(pairs, 0) / _CHUNK).floor().long()
    pairs_of_chunks = []
    for first, last in _groups(chunk):
        atoms = slice(int(last_atom[first] - num_atoms[first]), int(last_atom[last - 1]))
        part = slice(first, last)
        i, j, shift = _search(triangular[:, part], frac_coords[atoms], num_atoms[part], radius[part], searchable[part])
        pairs_of_chunks.append((i + atoms.start, j + atoms.start, shift))
    if not pairs_of_chunks:
        empty = torch.zeros(0, dtype=torch.long, device=device)
        return empty, empty, empty.new_zeros(0, 3)
    i, j, shift = (torch.cat(parts) for parts in zip(*pairs_of_chunks, strict=True))
    return torch.cat([i, j]), torch.cat([j, i]), torch.cat([shift, -shift])


def _radius(lattice: Tensor, cutoff: float | Tensor) -> Tensor:
    """Search radius of each crystal, (n_crystals,), Å."""
    return torch.as_tensor(cutoff, dtype=torch.float64, device=lattice.device).expand(len(lattice)) + TOLERANCE


def _triangular(lattice: Tensor) -> Tensor:
    """The lattices turned so that a ∥ x and b in the x–y plane: t₁₁, t₂₁, t₂₂, t₃₁, t₃₂, t₃₃, (6, n_crystals), Å."""
    a, b, c = lattice.unbind(1)
    normal = torch.linalg.cross(a, b)
    x = a / a.norm(dim=1, keepdim=True)
    z = normal / normal.norm(dim=1, keepdim=True)
    y = torch.linalg.cross(z, x)
    # A left-handed cell is mirrored at the a–b plane: no distance changes.
    entries = [(a * x), (b * x), (b * y), (c * x), (c * y), (c * z)]
    t = torch.stack([entry.sum(1) for entry in entries])
    return torch.cat([t[:5], t[5:].abs()])


def _images(triangular: Tensor, radius: Tensor) -> Tensor:
    """Upper bound on the images of one atom that another can see, (n_crystals,); NaN or infinite for a flat cell."""
    return (2 * radius / triangular[[0, 2, 5]] + 1).prod(0)


def _groups(labels: Tensor) -> list[tuple[int, int]]:
    """Runs of equal labels as (first, past the last)."""
    stops = torch.cumsum(torch.unique_consecutive(labels, return_counts=True)[1], 0).tolist()
    return list(zip([0, *stops], stops, strict=False))


def _integers(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """List the integers of many intervals.

    Args:
        low: first integer of each interval, (n_intervals,), float64.
        high: last integer, (n_intervals,), float64; below ``low`` when there is none.

    Returns:
        The interval of each integer, int64, and the integer, float64.
    """
    count = (high - low + 1).clamp(min=0).long()
    stop = torch.cumsum(count, 0)
    interval = torch.repeat_interleave(count)
    base = (low - (stop - count)).index_select(0, interval)
    return interval, base + torch.arange(len(interval), dtype=low.dtype, device=low.device)


def _search(
    triangular: Tensor, frac_coords: Tensor, num_atoms: Tensor, radius: Tensor, searchable: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One of each two mirror-image pairs: i < j, or i = j with a shift whose last non-zero number is positive."""
    f1, f2, f3 = frac_coords.t().contiguous().unbind(0)
    owner = torch.repeat_interleave(num_atoms)
    t11, t21, t22, t31, t32, t33 = triangular.unbind(0)

    atom = torch.arange(len(owner), device=owner.device)
    partners = torch.where(searchable[owner], torch.cumsum(num_atoms, 0)[owner], atom)
    i_pair, j_pair = _integers(atom.double(), (partners - 1).double())
    j_pair = j_pair.long()
    crystal = owner.index_select(0, i_pair)

    # The third shift: height above the a–b plane, z = (d₃ + s₃) t₃₃.
    d3 = f3.index_select(0, j_pair) - f3.index_select(0, i_pair)
    reach = (radius / t33).index_select(0, crystal)
    pair, s3 = _integers(torch.ceil(-d3 - reach), torch.floor(reach - d3))
    i, j = i_pair.index_select(0, pair), j_pair.index_select(0, pair)
    crystal = crystal.index_select(0, pair)
    u3 = d3.index_select(0, pair) + s3
    z = u3 * t33.index_select(0, crystal)
    left = ((radius**2).index_select(0, crystal) - z * z).clamp(min=0)

    # The second shift: y = (d₂ + s₂) t₂₂ + (d₃ + s₃) t₃₂ within what z has left of the radius.
    d2 = f2.index_select(0, j) - f2.index_select(0, i)
    offset = torch.addcmul(d2, u3, (t32 / t22).index_select(0, crystal))
    reach = left.sqrt() / t22.index_select(0, crystal)
    row, s2 = _integers(torch.ceil(-offset - reach), torch.floor(reach - offset))
    i, j = i.index_select(0, row), j.index_select(0, row)
    crystal = crystal.index_select(0, row)
    u2, u3, s3 = d2.index_select(0, row) + s2, u3.index_select(0, row), s3.index_select(0, row)
    y = (offset.index_select(0, row) + s2) * t22.index_select(0, crystal)
    left = (left.index_select(0, row) - y * y).clamp(min=0)

    # The first shift: x within what y and z have left.
    offset = f1.index_select(0, j) - f1.index_select(0, i)
    offset = torch.addcmul(offset, u2, (t21 / t11).index_select(0, crystal))
    offset = torch.addcmul(offset, u3, (t31 / t11).index_select(0, crystal))
    reach = left.sqrt() / t11.index_select(0, crystal)
    low, high = torch.ceil(-offset - reach), torch.floor(reach - offset)
    own = i == j
    backward = own & ((s3 < 0) | ((s3 == 0) & (s2 < 0)))
    high = torch.where(backward, low - 1, high)
    low = torch.where(own & (s3 == 0) & (s2 == 0), 1.0, low)
    line, s1 = _integers(low, high)
    shift = torch.stack([s1, s2.index_select(0, line), s3.index_select(0, line)], 1)
    return i.index_select(0, line), j.index_select(0, line), shift.long()
