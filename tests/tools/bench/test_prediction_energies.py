"""Energies order the samples of structure prediction: by ASE's own calculator, for cells whose order is clear."""

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.engine.workers import Workers
from tools.bench.prediction_energies import by_single_point, relaxed

EMT_NAME = "ase.calculators.emt:EMT"


def copper(edge: float) -> Structure:
    """Face-centred cubic, the edge of the cube in Å."""
    return Structure(
        Lattice([[0, edge / 2, edge / 2], [edge / 2, 0, edge / 2], [edge / 2, edge / 2, 0]]), ["Cu"], [[0] * 3]
    )


def energy(edge: float) -> float:
    atoms = bulk("Cu", "fcc", a=edge)
    atoms.calc = EMT()
    return atoms.get_potential_energy()


@pytest.mark.parametrize("n_workers", [1, 2])
def test_lowest_single_points_come_first_and_what_has_none_is_left_out(tmp_path, n_workers) -> None:
    edges = [4.4, 3.6, 3.9]
    pools = [from_structures([copper(edge) for edge in edges]), from_structures([copper(3.7)])]
    pools += [pools[1][:0], from_structures([Structure(Lattice.cubic(3), ["U"], [[0] * 3]), copper(3.6)])]
    with Workers(n_workers) as workers:
        orders = by_single_point(pools, EMT_NAME, tmp_path, workers)
    assert orders == [sorted(range(3), key=lambda k: energy(edges[k])), [0], [], [1]]  # EMT knows no uranium
    with Workers(1) as workers:
        assert by_single_point(pools, EMT_NAME, tmp_path, workers) == orders


def test_relaxed_come_by_the_energy_they_end_with(tmp_path) -> None:
    simple = Structure(Lattice.cubic(2.4), ["Cu"], [[0] * 3])  # a stationary point of its own, above close packing
    with Workers(1) as workers:
        (first, nothing, lost), seconds = relaxed(
            [[simple, copper(3.8)], [], [Structure(Lattice.cubic(3), ["U"], [[0] * 3])]], EMT_NAME, tmp_path, workers
        )
    assert [structure.get_space_group_info()[1] for structure in first] == [225, 221]
    assert nothing == lost == []
    assert len(seconds) == 3
    assert seconds[1] == 0
