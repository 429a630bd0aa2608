"""Other tools' crystals: what is read, and the figures by hand and by scikit-learn, relaxed by ASE's own calculator."""

import math

import pytest
from pymatgen.core import Lattice, Structure
from scipy.stats import spearmanr
from sklearn.metrics import f1_score

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.engine.workers import Workers
from crystalgraph.errors import InputError
from crystalgraph.io.load import load
from crystalgraph.relax.hull import Hull, Phase
from tools.bench import foreign, foreign_relaxed
from tools.bench.heights import compared, heights

EMT_NAME = "ase.calculators.emt:EMT"
HULL = Hull(ChemicalSystem.parse("Cu"), [Phase(name="copper", formula="Cu", energy=0.0)])


def cube(edge: float, kind: str = "F") -> Structure:
    """Copper in a cubic cell, P or F, edge in Å."""
    places = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]][: 4 if kind == "F" else 1]
    return Structure(Lattice.cubic(edge), ["Cu"] * len(places), places)


def given(method: str, structure: Structure, *, valid: bool = True, dft: float = 0.0) -> foreign_relaxed.Given:
    return foreign_relaxed.Given(method=method, structure=structure, is_valid=valid, dft=dft, hulls={EMT_NAME: HULL})


def test_files_with_one_energy_of_their_own_are_read(tmp_path) -> None:
    folder = tmp_path / "tool"
    folder.mkdir()
    for name in ("Cu_225", "Cu4_221", "CuO_1"):
        cube(3.6).to_file(str(folder / f"{name}.cif"))
    head = "Chemical Formula,Space Group Number,Ed (eV/atom)\n"
    (tmp_path / "tool.csv").write_text(head + "Cu,225,0.25\nCuO,1,0.1\nCuO,1,0.2\n")
    found = foreign.read(tmp_path)
    assert found.dft == [0.25]
    assert found.methods == ["tool"]
    assert found.space_groups == [225]
    assert found.left_out == 2  # one has no row, one has two
    with pytest.raises(InputError, match="beside a folder of CIFs"):
        foreign.read(folder)


def test_heights_are_above_each_hull_and_missing_where_there_is_none() -> None:
    lower = Hull(ChemicalSystem.parse("Cu"), [Phase(name="copper", formula="Cu", energy=-1.0)])
    found = heights([HULL, lower, None], [cube(3.6)] * 3, [0.5, 0.5, 0.5])
    assert found[:2] == pytest.approx([0.5, 1.5])
    assert math.isnan(found[2])


def test_comparison_agrees_with_scipy_and_scikit_learn() -> None:
    above, dft = [0.05, 0.3, 0.02, math.nan, 0.09, 0.2], [0.0, 0.4, 0.15, 0.0, 0.05, 0.1]
    found = compared(above, dft)
    pairs = [(a, d) for a, d in zip(above, dft, strict=True) if not math.isnan(a)]
    said, true = [a <= 0.1 for a, _ in pairs], [d <= 0.1 for _, d in pairs]
    assert found["without_energy"] == 1
    assert found["n"] == 5
    assert found["f1"] == pytest.approx(f1_score(true, said))
    assert found["spearman"] == pytest.approx(spearmanr(*zip(*pairs, strict=True)).statistic)
    assert found["mae"] == pytest.approx(sum(abs(a - d) for a, d in pairs) / 5)


def test_what_is_left_of_relaxed_crystals(tmp_path) -> None:
    crystals = [given("a", cube(3.5)), given("a", cube(3.7), dft=0.1), given("a", cube(2.4, "P"), dft=0.4)]
    crystals.append(given("b", cube(3.8), dft=0.2))
    crystals.append(given("b", cube(3.6), valid=False))
    with Workers(1) as workers:
        found = foreign_relaxed.relaxed_figures(crystals, 9, [EMT_NAME], load({"x": cube(3)}), tmp_path, workers)
        other = load({"other": Structure(Lattice.cubic(3), ["Ni"], [[0] * 3])})
        unknown = foreign_relaxed.relaxed_figures(crystals, 9, [EMT_NAME], other, tmp_path, workers)
    counts = {
        method: {stage: share["numerator"] for stage, share in stages.items()}
        for method, stages in found["by_method"].items()
    }
    # Close packing lies at zero by EMT; the simple cubic cell, a stationary point, lies far above.
    assert counts["a"] == {"strictly valid": 3, "metastable": 2, "unique": 1, "novel": 0, "new": 0}
    assert counts["b"] == {"strictly valid": 1, "metastable": 1, "unique": 1, "novel": 0, "new": 0}
    assert found["by_method"]["b"]["metastable"]["denominator"] == 2
    assert found["relaxed"] == 4
    assert unknown["by_method"]["a"]["novel"]["numerator"] == 1


def test_as_many_of_each_method_are_picked_and_the_same_again() -> None:
    crystals = [given("b" if k % 3 else "a", cube(3 + k / 10)) for k in range(9)]
    chosen = foreign_relaxed.picked(crystals, 2)
    assert [each.method for each in chosen] == ["a", "a", "b", "b"]
    assert chosen == foreign_relaxed.picked(crystals, 2)
    assert len(foreign_relaxed.picked(crystals, 20)) == 9
