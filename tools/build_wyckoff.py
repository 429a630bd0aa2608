"""Write the Wyckoff positions of the 230 space groups, taken from PyXtal, as one compact file of arrays.

The package reads the file at run time, so that neither PyXtal nor its start-up time is needed to generate.

    python tools/build_wyckoff.py crystalgraph/symmetry/wyckoff.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pyxtal.symmetry import Group

#: Primitive vectors as rows in the basis of the conventional cell (obverse setting for R).
PRIMITIVE: dict[str, list[list[float]]] = {
    "P": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "A": [[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]],
    "C": [[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]],
    "I": [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]],
    "F": [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    "R": [[2 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, 1 / 3], [-1 / 3, -2 / 3, 1 / 3]],
}


def primitive_operators(ops: list, to_primitive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Operators u -> primitive fractional coordinates, those equal up to a lattice vector kept once."""
    rotations: list[np.ndarray] = []
    translations: list[np.ndarray] = []
    for op in ops:
        rotation = to_primitive @ op.rotation_matrix
        translation = to_primitive @ op.translation_vector
        if not any(
            np.allclose(rotation, r) and np.allclose(translation - t, np.round(translation - t), atol=1e-6)
            for r, t in zip(rotations, translations, strict=True)
        ):
            rotations.append(rotation)
            translations.append(translation)
    return np.array(rotations), np.array(translations)


def build() -> dict[str, np.ndarray]:
    """Collect the arrays described in ``crystalgraph.symmetry.wyckoff``."""
    centring, rows, ops_r, ops_t = np.zeros((231, 3, 3)), [], [], []
    alternatives, alternative_group = [], []
    centring[0] = np.eye(3)
    for number in range(1, 231):
        group = Group(number)
        centring[number] = PRIMITIVE[group.symbol[0]]
        to_primitive = np.linalg.inv(centring[number]).T
        positions = sorted(group.Wyckoff_positions, key=lambda p: (p.letter == "A", p.letter))
        letters = [p.letter for p in positions]
        for position in positions:
            rotations, translations = primitive_operators(position.ops, to_primitive)
            first = position.ops[0]
            rows.append((number, position.letter, len(rotations), first.rotation_matrix, first.translation_vector))
            ops_r.append(rotations)
            ops_t.append(translations)
        for line in group.get_alternatives()["Transformed WP"]:
            images = line.split()
            if sorted(images) != sorted(letters):
                raise ValueError(f"group {number}: {images} is not a permutation of {letters}")
            permutation = np.full(27, -1, dtype=np.int8)
            permutation[: len(letters)] = [letters.index(image) for image in images]
            alternatives.append(permutation)
            alternative_group.append(number)
    rotations = np.concatenate(ops_r)
    if not np.allclose(rotations, np.round(rotations)):
        raise ValueError("an operator into the primitive cell has a rotation that is not integer")
    return {
        "centring": centring,
        "space_group_number": np.array([r[0] for r in rows], dtype=np.int16),
        "letter": np.array([r[1] for r in rows]),
        "multiplicity": np.array([r[2] for r in rows], dtype=np.int16),
        "rotation": np.array([r[3] for r in rows]).round().astype(np.int8),
        "translation": np.array([r[4] for r in rows], dtype=np.float64),
        "op_rotation": rotations.round().astype(np.int8),
        "op_translation": np.concatenate(ops_t).astype(np.float64),
        "alternative": np.array(alternatives),
        "alternative_group": np.array(alternative_group, dtype=np.int16),
    }


def main() -> None:
    """Write the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    arrays = build()
    with out.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    print(f"{len(arrays['letter'])} positions, {len(arrays['op_rotation'])} operators -> {out}")


if __name__ == "__main__":
    main()
