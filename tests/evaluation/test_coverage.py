import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.evaluation import coverage as module
from crystalgraph.evaluation.coverage import coverage, fingerprints, property_distances, scaled_compositions
from crystalgraph.evaluation.rates import Absent, Number

pytestmark = pytest.mark.slow

ROCK_SALT = Structure.from_spacegroup(225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
FLUORITE = Structure.from_spacegroup(225, Lattice.cubic(5.0), ["Nb", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])
CSCL = Structure.from_spacegroup(221, Lattice.cubic(2.8), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_rock_salt_is_six_fold_and_a_supercell_changes_nothing():
    from crystalgraph.chemistry.features import _site_featurizer

    names = _site_featurizer().feature_labels()
    one, two = fingerprints([ROCK_SALT, ROCK_SALT * (2, 1, 1)])
    assert names[int(one.argmax())] in {"mean wt CN_6", "mean octahedral CN_6"}
    np.testing.assert_allclose(one, two, atol=1e-9)


def test_coverage_of_a_set_by_itself_is_complete():
    found = coverage([ROCK_SALT, FLUORITE], [FLUORITE, ROCK_SALT * (1, 1, 2)])
    assert (found["cov_recall"].numerator, found["cov_recall"].denominator) == (2, 2)
    assert found["cov_precision"].value == 1
    assert found["comp_div"].value > 0
    assert found["struct_div"].value > 0


def test_what_is_different_is_not_covered():
    found = coverage([ROCK_SALT, ROCK_SALT * (2, 1, 1)], [ROCK_SALT, CSCL, FLUORITE])
    assert (found["cov_recall"].numerator, found["cov_recall"].denominator) == (1, 3)
    assert found["cov_precision"].value == 1
    assert found["comp_div"].value == pytest.approx(0, abs=1e-9)


def test_composition_counts_too():
    sodium = ROCK_SALT.copy()
    sodium.replace_species({"Nb": "Cs", "O": "I"})
    distance = np.linalg.norm(np.subtract(*scaled_compositions([ROCK_SALT, sodium])))
    assert distance > module.COMPOSITION_CUTOFF
    assert coverage([sodium], [ROCK_SALT])["cov_recall"].value == 0


def test_a_crystal_that_cannot_be_described_stays_in_the_denominator(monkeypatch):
    def fail(_):
        raise ValueError("no neighbours")

    monkeypatch.setattr(module, "site_fingerprint", fail)
    found = coverage([ROCK_SALT, CSCL], [ROCK_SALT])
    assert (found["cov_precision"].numerator, found["cov_precision"].denominator) == (0, 2)
    assert isinstance(found["struct_div"], Absent)


def test_fingerprints_are_computed_once(tmp_path, monkeypatch):
    first = fingerprints([ROCK_SALT, CSCL], cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2

    def fail(_):
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "site_fingerprint", fail)
    steps = []
    again = fingerprints([CSCL, ROCK_SALT], cache=tmp_path, progress=lambda *step: steps.append(step))
    np.testing.assert_array_equal(first[::-1], again)
    assert steps == [("fingerprints", 1, 2), ("fingerprints", 2, 2)]


def test_a_damaged_fingerprint_is_said_and_computed_again(tmp_path, caplog):
    first = fingerprints([ROCK_SALT], cache=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"0.", b"1.", 1))
    np.testing.assert_array_equal(fingerprints([ROCK_SALT], cache=tmp_path), first)
    assert "is not believed (its checksum does not fit its content)" in caplog.text
    assert file.read_bytes() == whole


def test_a_fingerprint_that_ran_out_of_time_is_not_kept(tmp_path, monkeypatch):
    def hang(_):
        while True:
            pass

    monkeypatch.setattr(module, "site_fingerprint", hang)
    monkeypatch.setattr(module, "TIME_LIMIT", 0.2)
    assert np.isnan(fingerprints([ROCK_SALT], cache=tmp_path)).all()
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_compare_is_absent():
    assert "valid" in coverage([], [ROCK_SALT])["cov_recall"].reason
    assert "known" in coverage([ROCK_SALT], [])["cov_precision"].reason
    assert isinstance(property_distances(([], [1.0]), ([], [2]))["wdist_density"], Absent)


def test_too_large_a_reference_is_refused_before_the_work(monkeypatch):
    monkeypatch.setattr(module, "MAX_REFERENCE", 1)
    assert "more than 1" in coverage([ROCK_SALT], [ROCK_SALT, CSCL])["cov_recall"].reason


def test_property_distances_are_differences_of_means_when_the_sets_do_not_overlap():
    found = property_distances(([4.0, 5.0], [7.0, 10.0]), ([2, 2], [2, 3]))
    assert found["wdist_density"] == Number(value=4.0, unit="g/cm³", n=2)
    assert found["wdist_num_elems"].value == pytest.approx(0.5)
