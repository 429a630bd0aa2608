"""Hand-made sets with known answers: every metric is what one counts on one's fingers."""

import sys
from math import log

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.crystals.table import CrystalTable, Source
from crystalgraph.evaluation.judge import Judgement
from crystalgraph.evaluation.judge import judge as judge_verdicts
from crystalgraph.evaluation.rates import Absent, BudgetRate, Number, Rate
from crystalgraph.evaluation.rows import COLUMNS, first_verdicts, pick
from crystalgraph.io.load import load
from crystalgraph.relax.hull import Hull, Phase
from crystalgraph.relax.relaxation import Relaxation

NB_O = ChemicalSystem.parse("Nb-O")


def cubic(number, a, sites, species=("Nb", "O")):
    return Structure.from_spacegroup(number, Lattice.cubic(a), list(species), sites)


ROCK_SALT = cubic(225, 4.4, [[0, 0, 0], [0.5, 0.5, 0.5]])
CSCL = cubic(221, 2.8, [[0, 0, 0], [0.5, 0.5, 0.5]])
SPHALERITE = cubic(216, 4.9, [[0, 0, 0], [0.25, 0.25, 0.25]])
FLUORITE = cubic(225, 5.0, [[0, 0, 0], [0.25, 0.25, 0.25]])
NIOBIUM = Structure.from_spacegroup(229, Lattice.cubic(3.3), ["Nb"], [[0, 0, 0]])
RUTILE = Structure.from_spacegroup(136, Lattice.tetragonal(4.8, 3.0), ["Nb", "O"], [[0, 0, 0], [0.3, 0.3, 0]])
TITANIA = Structure.from_spacegroup(136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
QUARTZ = Structure.from_spacegroup(
    152, Lattice.hexagonal(5.90, 6.49), ["Nb", "O"], [[0.4697, 0, 1 / 3], [0.4135, 0.2669, 0.4524]]
)

MIRRORED = Structure(QUARTZ.lattice.matrix * [1, 1, -1], QUARTZ.species, QUARTZ.frac_coords)
OVERLAPPING = Structure(Lattice.cubic(4), ["Nb", "O"], [[0, 0, 0], [0.05, 0, 0]])
CROWDED = Structure(Lattice.cubic(4), ["Nb", "O"], [[0, 0, 0], [0.3, 0, 0]])
THIN = Structure(Lattice.cubic(9), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def shifted(structure, seed):
    """Another origin, another order of atoms, another choice of axes."""
    rng = np.random.default_rng(seed)
    coords = structure.frac_coords + rng.random(3)
    order = rng.permutation(len(structure))
    moved = Structure(structure.lattice, [structure.species[k] for k in order], coords[order])
    moved.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    return moved


def strained(structure, seed):
    """A few percent of strain and a hundredth of an ångström of noise."""
    rng = np.random.default_rng(seed)
    lattice = structure.lattice.matrix @ (np.eye(3) + rng.uniform(-0.02, 0.02, (3, 3)))
    return Structure(lattice, structure.species, structure.frac_coords + rng.normal(0, 0.003, (len(structure), 3)))


def reference(**phases):
    """A reference of named structures; a pair also says whether it has been made."""
    pairs = {name: value if isinstance(value, tuple) else (value, -1) for name, value in phases.items()}
    return CrystalTable.of_structures(
        {name: structure for name, (structure, _) in pairs.items()},
        source=Source(name="mine"),
        properties=[{"experimental": flag} for _, flag in pairs.values()],
    )


def judge(inputs, **options):
    """Judge structures, or reasons why there is none, by name, as a set of niobium oxides."""
    return judge_verdicts(first_verdicts(load(inputs), NB_O), **options)


INPUTS = {
    "rutile": RUTILE,
    "no CIF": "it cannot be read (no cell)",
    "supercell": RUTILE * (1, 1, 2),
    "shifted": shifted(RUTILE, 1),
    "strained": strained(RUTILE, 2),
    "right": QUARTZ,
    "left": MIRRORED,
    "known": shifted(ROCK_SALT * (2, 1, 1), 3),
    "element": NIOBIUM,
    "overlapping": OVERLAPPING,
    "crowded": CROWDED,
    "thin": THIN,
    "foreign": TITANIA,
    "again": ROCK_SALT,
}
KNOWN = reference(rs=(ROCK_SALT, 1), fluorite=(FLUORITE, 0), nb=(NIOBIUM, 1), tio2=(TITANIA, 0))
TRAINING = reference(quartz=strained(QUARTZ, 4), titania=TITANIA)


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    return judge(INPUTS, known=KNOWN, training=TRAINING)


def counts(metric):
    assert isinstance(metric, Rate), metric
    return metric.numerator, metric.denominator


def test_a_row_for_every_input_in_input_order(judgement):
    assert [row.name for row in judgement.rows] == list(INPUTS)
    assert set(COLUMNS) == set(vars(judgement.rows[0]))


def test_validity_counts_every_input(judgement):
    found = judgement.metrics["validity"]
    assert counts(found["read"]) == (13, 14)
    assert counts(found["in_system"]) == (12, 13)
    assert counts(found["cdvae_valid"]) == (12, 14)  # neither the unread nor the overlapping
    assert counts(found["strictly_valid"]) == (10, 14)  # nor the crowded and the thin
    assert counts(found["charge_neutral"]) == (13, 14)


def test_each_that_falls_out_has_its_own_reason(judgement):
    reasons = {row.name: row.reason for row in judgement.rows if row.reason}
    assert set(reasons) == {"no CIF", "overlapping", "crowded", "thin", "foreign"}
    assert reasons["no CIF"] == "it cannot be read (no cell)"
    assert "within 0.5 Å" in reasons["overlapping"]
    assert reasons["crowded"] == "atoms closer than 0.7 of their covalent radii"
    assert reasons["thin"] == "density below 1.5 g/cm³"
    assert reasons["foreign"] == "outside the system Nb-O: Ti has no reference"


def test_copies_supercells_shifts_strains_and_mirror_images_are_one(judgement):
    copies = {row.name: row.copy_of for row in judgement.rows if row.copy_of}
    assert copies == {
        "supercell": "rutile",
        "shifted": "rutile",
        "strained": "rutile",
        "left": "right",
        "again": "known",
    }
    assert counts(judgement.metrics["as given"]["unique"]) == (4, 9)


def test_novel_and_new(judgement):
    known = {row.name: row.known_phase for row in judgement.rows if row.novel is False}
    assert known == {"known": "rs", "element": "nb", "again": "rs"}
    found = judgement.metrics["as given"]
    assert counts(found["novel"]) == (6, 9)
    # The quartzes were learned from, and the rutiles with titanium in niobium's place.
    assert counts(found["new"]) == (0, 9)
    assert {row.training_crystal for row in judgement.rows if row.new is False} == {"", "quartz", "titania"}
    assert counts(found["valid_unique_novel"]) == (2, 14)
    assert counts(found["valid_unique_new"]) == (0, 14)


def test_new_is_what_was_not_learned_from():
    found = judge(INPUTS, known=KNOWN, training=reference(quartz=strained(QUARTZ, 4)))
    assert counts(found.metrics["as given"]["new"]) == (4, 9)
    assert {row.training_crystal for row in found.rows if row.new is False} == {"", "quartz"}
    assert counts(found.metrics["as given"]["valid_unique_new"]) == (1, 14)


def test_space_groups_are_spread_as_counted(judgement):
    found = judgement.metrics["symmetry"]
    groups = {row.name: row.space_group for row in judgement.rows}
    assert groups["rutile"] == groups["supercell"] == groups["shifted"] == 136
    assert {groups["left"], groups["right"]} == {152, 154}
    assert groups["foreign"] is None
    compared = [row.space_group for row in judgement.rows if row.unique is not None]
    shares = np.unique(compared, return_counts=True)[1] / len(compared)
    assert found["space_groups"] == Number(value=len(shares), n=9)
    assert found["space_group_entropy"].value == pytest.approx(-sum(p * log(p) for p in shares))


def test_rediscovery_counts_compounds_of_the_whole_system(judgement):
    found = judgement.metrics["rediscovery"]
    assert counts(found["known_before"]) == (1, 2)  # rock salt of rock salt and fluorite
    assert counts(found["experimental_before"]) == (1, 1)
    assert counts(found["computed_before"]) == (0, 1)
    phases = {phase.name: phase for phase in judgement.rediscovery}
    assert set(phases) == {"rs", "fluorite", "nb"}
    assert phases["rs"].before == ["known", "again"]
    assert phases["nb"].before == ["element"]
    assert not phases["nb"].whole_system
    assert phases["fluorite"].before == []


@pytest.mark.slow
def test_templates_seen_in_training(judgement):
    assert {phase.template for phase in judgement.rediscovery} == {"225:a/b", "225:a/c", "229:a"}
    assert counts(judgement.metrics["rediscovery"]["template_unseen_before"]) == (1, 2)
    assert isinstance(judgement.metrics["rediscovery"]["template_seen_before"], Absent)
    learned = reference(mgo=cubic(225, 4.2, [[0, 0, 0], [0.5, 0.5, 0.5]], ("Mg", "O")))
    again = judge({"a": ROCK_SALT}, known=KNOWN, training=learned)
    seen = {phase.name: phase.template_seen for phase in again.rediscovery}
    assert seen == {"rs": True, "fluorite": False}, "an element is listed only where it was found"
    assert counts(again.metrics["rediscovery"]["template_seen_before"]) == (1, 1)
    assert counts(again.metrics["rediscovery"]["template_unseen_before"]) == (0, 1)


def test_property_distances_by_hand():
    # Two proposed and two known compounds: the distance is the mean difference of the sorted densities.
    known = reference(rs=ROCK_SALT, fluorite=FLUORITE, nb=NIOBIUM)
    found = judge({"a": CSCL, "b": SPHALERITE}, known=known).metrics["cdvae"]
    ours, theirs = sorted([CSCL.density, SPHALERITE.density]), sorted([ROCK_SALT.density, FLUORITE.density])
    expected = np.mean([abs(a - b) for a, b in zip(ours, theirs, strict=True)])
    assert found["wdist_density"].value == pytest.approx(expected, rel=1e-4)
    assert found["wdist_num_elems"] == Number(value=0.0, n=2)
    assert isinstance(found["cov_recall"], Absent)


def test_a_missing_reference_is_absent_and_never_a_number(judgement):
    bare = judge(INPUTS)
    for group, name in [("as given", "novel"), ("as given", "new"), ("as given", "valid_unique_novel")]:
        assert isinstance(bare.metrics[group][name], Absent)
    assert all(isinstance(metric, Absent) for metric in bare.metrics["rediscovery"].values())
    assert bare.rediscovery == []
    assert {row.novel for row in bare.rows} == {row.new for row in bare.rows} == {None}
    assert bare.metrics["as given"]["unique"] == judgement.metrics["as given"]["unique"]
    for group in ("relaxation", "after relaxation", "discovery"):
        assert all(isinstance(metric, Absent) for metric in bare.metrics[group].values())


def test_a_system_without_known_phases_says_so():
    found = judge({"a": RUTILE}, known=reference(tio2=TITANIA), training=TRAINING)
    assert "has no known phase of Nb-O" in found.metrics["as given"]["novel"].reason
    assert isinstance(found.metrics["as given"]["new"], Absent)
    assert found.metrics["validity"]["strictly_valid"].value == 1


def test_nothing_comparable_still_gives_a_judgement():
    found = judge({"a": OVERLAPPING, "b": TITANIA, "c": "no"}, known=KNOWN, training=TRAINING)
    assert counts(found.metrics["validity"]["strictly_valid"]) == (1, 3)
    for metric in found.metrics["as given"].values():
        assert isinstance(metric, Absent) or metric.value == 0
    assert isinstance(found.metrics["as given"]["unique"], Absent)
    assert isinstance(found.metrics["symmetry"]["space_groups"], Absent)
    assert counts(found.metrics["rediscovery"]["known_before"]) == (0, 2)


def test_known_phases_the_matcher_cannot_tell_apart_are_told_by_their_space_group():
    tetragonal = Structure(Lattice.tetragonal(2.8, 3.05), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    known = reference(cubic=CSCL, tetragonal=tetragonal)
    found = judge({"a": CSCL * (1, 1, 2), "b": tetragonal}, known=known)
    assert [row.known_phase for row in found.rows] == ["cubic", "tetragonal"]
    assert [phase.before for phase in found.rediscovery] == [["a"], ["b"]]


def test_nothing_to_judge_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="nothing to judge"):
        judge({})


HULL = Hull(
    NB_O,
    [
        Phase(name="Nb", formula="Nb", energy=-10.0),
        Phase(name="O", formula="O", energy=-5.0),
        Phase(name="rs", formula="NbO", energy=-9.5),
        Phase(name="NbO2", formula="NbO2", energy=-9.0),
    ],
)
# On the hull NbO has -9.5 and NbO2 -9.0 eV/atom.
RELAXED_INPUTS = {
    "stable": RUTILE,
    "copy": RUTILE * (1, 1, 2),
    "metastable": QUARTZ,
    "to known": SPHALERITE,
    "high": CSCL,
    "failed": strained(CSCL, 5),
    "not picked": FLUORITE,
    "invalid": CROWDED,
}


def relaxation(structure, energy, status="converged", **rest):
    return Relaxation(status=status, structure=structure, initial_energy=energy + 0.2, energy=energy, **rest)


RELAXATIONS = {
    "stable": relaxation(RUTILE, -9.01),  # 0.01 below the hull, but its copy is lower
    "copy": relaxation(strained(RUTILE * (1, 1, 2), 6), -9.02),
    "metastable": relaxation(QUARTZ, -8.95),
    "to known": relaxation(ROCK_SALT, -9.45),  # becomes the known rock salt
    "high": relaxation(CSCL, -9.2, status="step limit", reason="150 steps"),
    "failed": Relaxation(status="failed", reason="the calculator gave no answer"),
}


@pytest.fixture(scope="module")
def relaxed() -> Judgement:
    return judge(RELAXED_INPUTS, known=KNOWN, relaxations=RELAXATIONS, hull=HULL)


def test_energies_above_the_hull(relaxed):
    above = {row.name: row.e_above_hull for row in relaxed.rows if row.relax_status}
    expected = {"stable": -0.01, "copy": -0.02, "metastable": 0.05, "to known": 0.05, "high": 0.3}
    assert {name: above[name] for name in expected} == pytest.approx(expected)
    assert np.isnan(above["failed"])
    found = relaxed.metrics["relaxation"]
    assert counts(found["usable"]) == (5, 6)
    assert counts(found["converged"]) == (4, 6)
    assert counts(found["stable"]) == (2, 6)
    assert counts(found["metastable"]) == (4, 6)
    assert found["e_above_hull_median"].value == pytest.approx(0.05)
    assert found["e_above_hull_mean"].value == pytest.approx((-0.01 - 0.02 + 0.05 + 0.05 + 0.3) / 5)
    assert found["e_above_hull_mean"].n == 5


def test_the_lowest_of_equal_crystals_is_the_one_that_counts(relaxed):
    rows = {row.name: row for row in relaxed.rows}
    assert rows["copy"].relaxed_unique
    assert rows["stable"].relaxed_copy_of == "copy"
    assert counts(relaxed.metrics["after relaxation"]["unique"]) == (4, 5)
    assert counts(relaxed.metrics["after relaxation"]["novel"]) == (4, 5)
    assert rows["to known"].relaxed_known_phase == "rs"
    assert rows["to known"].novel


def test_sun_and_msun_of_relaxed_and_of_budget(relaxed):
    assert {row.name for row in relaxed.rows if row.sun} == {"copy"}
    assert {row.name for row in relaxed.rows if row.msun} == {"copy", "metastable"}
    found = relaxed.metrics["discovery"]
    assert counts(found["sun_of_relaxed"]) == (1, 6)
    assert counts(found["msun_of_relaxed"]) == (2, 6)
    eligible = Rate(numerator=7, denominator=8)
    assert found["eligible"] == eligible
    assert found["msun_of_budget"] == BudgetRate(of_sample=found["msun_of_relaxed"], eligible=eligible)
    assert found["msun_of_budget"].value == pytest.approx(2 / 6 * 7 / 8)


def test_rediscovery_after_relaxation(relaxed):
    phases = {phase.name: phase for phase in relaxed.rediscovery}
    assert phases["rs"].before == []
    assert phases["rs"].after == ["to known"]
    assert phases["fluorite"].before == ["not picked"]
    assert phases["fluorite"].after == []
    found = relaxed.metrics["rediscovery"]
    assert counts(found["known_before"]) == counts(found["known_after"]) == (1, 2)
    assert counts(found["experimental_before"]) == (0, 1)
    assert counts(found["experimental_after"]) == (1, 1)


def test_rmsd_and_the_share_that_matches(relaxed):
    rows = {row.name: row for row in relaxed.rows}
    assert rows["stable"].rmsd == pytest.approx(0, abs=1e-6)
    assert 0 < rows["copy"].rmsd < 0.2
    assert rows["failed"].rmsd is None
    assert relaxed.metrics["relaxation"]["rmsd_matched"].denominator == 5
    distances = [row.rmsd for row in relaxed.rows if row.rmsd is not None]
    assert relaxed.metrics["relaxation"]["rmsd"].value == pytest.approx(np.mean(distances))


def test_how_a_relaxation_ended_is_the_reason(relaxed):
    reasons = {row.name: row.reason for row in relaxed.rows if row.reason}
    assert reasons["failed"] == "relaxation: the calculator gave no answer"
    assert reasons["high"] == "relaxation: 150 steps"


def test_without_known_phases_nothing_is_sun():
    found = judge(RELAXED_INPUTS, relaxations=RELAXATIONS, hull=HULL)
    assert isinstance(found.metrics["discovery"]["msun_of_relaxed"], Absent)
    assert {row.msun for row in found.rows} == {None}
    assert counts(found.metrics["relaxation"]["metastable"]) == (4, 6)


def test_nothing_eligible_leaves_rates_absent():
    found = judge({"a": CROWDED}, known=KNOWN, relaxations={})
    assert isinstance(found.metrics["relaxation"]["stable"], Absent)
    assert isinstance(found.metrics["discovery"]["msun_of_budget"], Absent)


@pytest.mark.parametrize("name", ["invalid", "stranger"])
def test_only_eligible_inputs_may_have_been_relaxed(name):
    with pytest.raises(ValueError, match="not eligible"):
        judge(RELAXED_INPUTS, known=KNOWN, relaxations={name: RELAXATIONS["high"]}, hull=HULL)
    with pytest.raises(ValueError, match="against a hull"):
        judge(RELAXED_INPUTS, known=KNOWN, relaxations=RELAXATIONS)


@pytest.mark.slow
def test_two_workers_judge_like_one(judgement, relaxed):
    again = judge(INPUTS, known=KNOWN, training=TRAINING, workers=2)
    assert again.record() == judgement.record()
    assert [str(row) for row in again.rows] == [str(row) for row in judgement.rows]
    again = judge(RELAXED_INPUTS, known=KNOWN, relaxations=RELAXATIONS, hull=HULL, workers=2)
    assert again.record() == relaxed.record()


def test_comp_valid_is_smacts_verdict():
    pytest.importorskip("smact")
    grid = [[x / 3, y / 3, 0.5] for x in range(3) for y in range(3)]
    rejected = Structure(Lattice.cubic(7), ["Nb"] * 4 + ["O"] * 5, grid)  # Nb4O5 is real, and rejected by SMACT
    found = judge({"a": RUTILE, "b": rejected, "c": "unread", "d": OVERLAPPING}).metrics["cdvae"]
    assert counts(found["comp_valid"]) == (2, 4)
    assert counts(found["struct_valid"]) == (2, 4)
    assert counts(found["valid"]) == (1, 4)


def test_without_smact_comp_valid_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "smact.screening", None)
    found = judge({"a": RUTILE}).metrics["cdvae"]
    assert "SMACT" in found["comp_valid"].reason
    assert found["valid"] == found["comp_valid"]
    assert counts(found["struct_valid"]) == (1, 1)


def test_what_is_eligible_for_relaxation():
    large = RUTILE * (4, 4, 5)
    more = {"large": large, "single": Structure(Lattice.cubic(2.6), ["Nb"], [[0, 0, 0]])}
    verdicts = first_verdicts(load(INPUTS | more), NB_O)
    sound = ["rutile", "supercell", "shifted", "strained", "right", "left", "known", "element", "again"]
    assert verdicts.eligible == [*sound, "single"]
    assert verdicts.comparable == [*sound, "large", "single"]
    assert verdicts.rows["large"]["reason"] == "not relaxed: 480 atoms, at most 200 are"


def test_pick_is_random_by_seed_and_in_input_order():
    names = [f"{k:03d}" for k in range(100)]
    chosen = pick(names, 30, "random", 1)
    assert chosen == sorted(chosen) == pick(names, 30, "random", 1)
    assert chosen != pick(names, 30, "random", 2)
    assert set(pick(names, 30, "random", 1)) < set(pick(names, 60, "random", 1)), "a larger pick holds the smaller one"
    assert pick(names, 30, "first", 1) == names[:30]
    assert pick(names, 1000, "random", 1) == pick(names, 1000, "first", 0) == names
