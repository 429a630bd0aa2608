"""All ways to place a formula on the Wyckoff positions of a space group.

Positions without a free parameter hold one orbit at most; the others any number.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from crystalgraph.symmetry.template import Templates
from crystalgraph.symmetry.wyckoff import N_SPACE_GROUPS, wyckoff_table

#: Most placements of one element that are listed; the first are those with the fewest orbits.
MAX_PLACEMENTS = 20_000

#: In `random_templates`: most templates of one composition and group, and how often more are looked for than would do
#: if all fitted.
PER_TRY = 32
TRIES = 4


@lru_cache(maxsize=4096)
def placements(space_group_number: int, num_atoms: int, max_sites: int) -> tuple[tuple[int, ...], ...]:
    """Ways to place atoms of one element, fewest orbits first.

    Args:
        space_group_number: 1 to 230.
        num_atoms: atoms of the element in the primitive cell.
        max_sites: most orbits.

    Returns:
        Sorted rows of the Wyckoff table, at most ``MAX_PLACEMENTS`` of them.
    """
    table = wyckoff_table()
    rows = list(table.positions(space_group_number))
    size = {row: int(table.multiplicity[row]) for row in rows}
    free = {row: bool(table.free[row].any()) for row in rows}
    level: list[tuple[tuple[int, ...], int]] = [((), 0)]
    placed: list[tuple[int, ...]] = []
    for _ in range(max_sites):
        following = []
        for chosen, used in level:
            start = 0 if not chosen else rows.index(chosen[-1]) + (not free[chosen[-1]])
            for row in rows[start:]:
                if used + size[row] == num_atoms:
                    placed.append((*chosen, row))
                elif used + size[row] < num_atoms:
                    following.append(((*chosen, row), used + size[row]))
        if len(placed) >= MAX_PLACEMENTS or not following:
            break
        level = following[: 10 * MAX_PLACEMENTS]
    return tuple(placed[:MAX_PLACEMENTS])


def is_possible(space_group_number: int, counts: dict[int, int], max_sites: int) -> bool:
    """Whether some placement of all elements exists.

    Args:
        space_group_number: 1 to 230.
        counts: atomic number -> atoms in the primitive cell.
        max_sites: most orbits for each element.
    """
    table = wyckoff_table()

    def place(elements: list[int], taken: frozenset[int]) -> bool:
        if not elements:
            return True
        for chosen in placements(space_group_number, counts[elements[0]], max_sites):
            fixed = {row for row in chosen if not bool(table.free[row].any())}
            if not fixed & taken and place(elements[1:], taken | fixed):
                return True
        return False

    return place(sorted(counts, key=lambda z: counts[z]), frozenset())


def possible_sizes(space_group_number: int, formula: dict[int, int], max_atoms: int, max_sites: int) -> list[int]:
    """Sizes of the primitive cell, in atoms, at which a formula fits a group.

    Args:
        space_group_number: 1 to 230.
        formula: atomic number -> atoms in the reduced formula.
        max_atoms: largest size tried.
        max_sites: most orbits for each element.
    """
    unit = sum(formula.values())
    return [
        n * unit
        for n in range(1, max_atoms // unit + 1)
        if is_possible(space_group_number, {z: n * count for z, count in formula.items()}, max_sites)
    ]


def random_templates(
    compositions: Templates, n: int, rng: torch.Generator, *, max_sites: int, space_group_number: int | None = None
) -> Templates:
    """Distinct templates of compositions in space groups, both picked at random.

    Args:
        compositions: templates whose atoms in the primitive cell are to be placed anew.
        n: most templates.
        rng: makes all choices.
        max_sites: most orbits for each element.
        space_group_number: the one to use; all are as likely if None.

    Returns:
        At most n; few or none where hardly anything fits.
    """
    templates, n_templates = compositions[:0], 0
    for _ in range(TRIES * n // PER_TRY):
        if n_templates >= n:
            break
        picked = compositions[int(torch.randint(len(compositions), (1,), generator=rng))]
        group = space_group_number or int(torch.randint(1, N_SPACE_GROUPS + 1, (1,), generator=rng))
        counts: dict[int, int] = {}
        for z, multiplicity in zip(picked.atomic_numbers.tolist(), picked.multiplicity.tolist(), strict=True):
            counts[z] = counts.get(z, 0) + multiplicity
        more = enumerate_templates(group, counts, max_sites=max_sites, limit=PER_TRY, rng=rng)
        if more is not None:
            templates, n_templates = Templates.concatenate([templates, more]), n_templates + len(more)
    first, _ = templates.distinct()
    return templates[first[:n]]


def enumerate_templates(
    space_group_number: int, counts: dict[int, int], *, max_sites: int, limit: int, rng: torch.Generator
) -> Templates | None:
    """Distinct templates of a composition in a group; a random selection where there are more than ``limit``.

    Args:
        space_group_number: 1 to 230.
        counts: atomic number -> atoms in the primitive cell.
        max_sites: most orbits for each element.
        limit: most templates.
        rng: chooses which.

    Returns:
        Templates with different keys, or None where there is none.
    """
    table = wyckoff_table()
    elements = sorted(counts)
    options = [placements(space_group_number, counts[z], max_sites) for z in elements]
    if not all(options):
        return None
    total = 1
    for option in options:
        total *= len(option)
    tried = torch.randint(total, (20 * limit,), generator=rng).tolist() if total > 20 * limit else range(total)
    rows: list[list[tuple[int, int]]] = []
    for code in dict.fromkeys(tried):
        chosen: list[tuple[int, int]] = []
        for z, option in zip(elements, options, strict=True):
            code, index = divmod(code, len(option))
            chosen += [(row, z) for row in option[index]]
        fixed = [row for row, _ in chosen if not bool(table.free[row].any())]
        if len(set(fixed)) == len(fixed):
            rows.append(chosen)
    if not rows:
        return None
    templates = Templates(
        space_group_number=torch.full((len(rows),), space_group_number),
        num_sites=torch.tensor([len(r) for r in rows]),
        position=torch.tensor([row for r in rows for row, _ in r]),
        atomic_numbers=torch.tensor([z for r in rows for _, z in r]),
    )
    first, _ = templates.distinct()
    return templates[first[:limit]]
