import numpy as np
import pytest
from pymatgen.analysis.diffraction.xrd import WAVELENGTHS, XRDCalculator
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.powder_similarity import PowderPattern
from crystalgraph.crystals.reflections import USUAL_RADIATION, wavelength_of
from crystalgraph.errors import InputError


def rutile(a=4.594, u=0.305):
    return Structure.from_spacegroup(136, Lattice.tetragonal(a, 0.644 * a), ["Ti", "O"], [[0, 0, 0], [u, u, 0]])


def rock_salt(a=4.2):
    return Structure.from_spacegroup(225, Lattice.cubic(a), ["Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def measured(structure, radiation="CuKa", width=0.2):
    """Gaussian lines where pymatgen has them, a background that falls, and counting noise."""
    lines = XRDCalculator(radiation).get_pattern(structure, two_theta_range=(8, 92))
    angles, sigma = np.arange(10, 90, 0.02), width / np.sqrt(8 * np.log(2))
    counts = sum(part * np.exp(-0.5 * ((angles - at) / sigma) ** 2) for at, part in zip(lines.x, lines.y, strict=True))
    noisy = np.random.default_rng(0).poisson(20 * (counts + 5 + 20 * np.exp(-angles / 30)))
    return PowderPattern.of(angles.tolist(), noisy.tolist(), WAVELENGTHS[radiation])


@pytest.mark.slow
@pytest.mark.parametrize("radiation", ["CuKa", "MoKa"])
@pytest.mark.parametrize("strain", [0.0, 0.02, -0.03])
def test_a_pattern_is_most_like_its_own_crystal_in_any_scale_of_some_percent(radiation, strain):
    others = [rutile(), rock_salt(), rutile(u=0.25), rutile().copy().replace_species({"Ti": "Pb"})]
    pattern = measured(rutile(a=4.594 * (1 + strain)), radiation)
    similarities, width = pattern.similarities(others)
    assert similarities[0] == max(similarities) > 0.97
    assert all(0 <= one <= 1 for one in similarities)
    assert width == pytest.approx(0.2, abs=0.06)
    turned = Structure.from_sites(others[0].sites[::-1]).get_reduced_structure("LLL") * (1, 1, 2)
    assert pattern.similarities([turned])[0][0] == pytest.approx(similarities[0], abs=1e-3)


def test_what_does_not_scatter_or_shows_no_line_has_no_similarity():
    pattern = PowderPattern.of([10.0, 11.0, 30.0], [1.0, 5.0, 1.0], 5.0)
    heavy = rock_salt().copy().replace_species({"Ti": "Og"})
    similarities, _ = pattern.similarities([heavy])
    assert np.isnan(similarities).all()
    (tiny,), _ = pattern.similarities([rock_salt(2.1)])
    assert tiny == 0


@pytest.mark.parametrize(
    ("text", "wavelength"),
    [(USUAL_RADIATION, 1.54184), ("CuKa", 1.54184), ("cu k-alpha1", 1.54056), ("Mo Kα", 0.71073), ("1.2", 1.2)],
)
def test_radiations_by_any_name(text, wavelength):
    assert wavelength_of(text) == pytest.approx(wavelength)


@pytest.mark.parametrize("text", ["", "W Ka", "0", "nan", "17"])
def test_another_radiation_is_refused_with_those_that_are_known(text):
    with pytest.raises(InputError, match=r"Cu Kα, .*Ag Kα, and no wavelength from 0\.1 to 5 Å"):
        wavelength_of(text)
