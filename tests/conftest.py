"""Crystals with known answers, and a stand-in for a trained model that deals them out."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest
import torch
from pymatgen.core import Lattice, Structure

from crystalgraph.crystals.batch import Crystals
from crystalgraph.crystals.conversion import from_structures
from crystalgraph.sampling.draws import Draws
from crystalgraph.sampling.settings import USUAL_SAMPLING
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.parameters import ParametrisedTemplates
from crystalgraph.training.config import parse_config

ROOT = Path(__file__).resolve().parent.parent

PROTOTYPES = {
    "rock salt": (225, Lattice.cubic(4.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "CsCl": (221, Lattice.cubic(2.8), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "sphalerite": (216, Lattice.cubic(4.9), ["Nb", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "wurtzite": (186, Lattice.hexagonal(3.4, 5.5), ["Nb", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]]),
    "rutile": (136, Lattice.tetragonal(4.8, 3.0), ["Nb", "O"], [[0, 0, 0], [0.3, 0.3, 0]]),
    "fluorite": (225, Lattice.cubic(5.0), ["Nb", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "ReO3": (221, Lattice.cubic(3.9), ["Nb", "O"], [[0, 0, 0], [0.5, 0, 0]]),
    "antifluorite": (225, Lattice.cubic(5.4), ["O", "Nb"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "cuprite": (224, Lattice.cubic(4.8), ["O", "Nb"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
}
"""Nine niobium oxides, all strictly valid, no two equal."""


CRUSHED = (225, Lattice.cubic(2.4), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
"""Rock salt with all atoms much too close."""


@cache
def prototype(name: str, scale: float = 1.0) -> Structure:
    """The primitive cell of a prototype, its lengths scaled."""
    number, lattice, species, sites = PROTOTYPES.get(name, CRUSHED)
    whole = Structure.from_spacegroup(number, lattice.scale(lattice.volume * scale**3), species, sites)
    return whole.get_primitive_structure()


@dataclass(frozen=True)
class NamedTemplates:
    """Templates that are known by the names of their prototypes."""

    prototypes: list[str]
    space_group_number: torch.Tensor

    def names(self) -> list[str]:
        return self.prototypes

    def __getitem__(self, index: slice) -> "NamedTemplates":
        return NamedTemplates(self.prototypes[index], self.space_group_number[index])


class Dealer:
    """A sampler and model in one that deals out named prototypes, again and again, slightly scaled each time."""

    name, checksum, record = "dealer", "0" * 64, {"note": "stands in for a trained model"}
    knows_energies = False

    def __init__(self, names: list[str], *, scales: tuple[float, ...] = (1.0, 1.01, 0.99, 1.02), seed: int = 0) -> None:
        self._names, self._scales = cycle(names), cycle(scales)
        self.rng = torch.Generator().manual_seed(seed)
        self.drawn: list[str] = []

    def draw(self, n: int) -> Draws:
        names = [next(self._names) for _ in range(n)]
        self.drawn += names
        return Draws(
            crystals=from_structures([prototype(name, next(self._scales)) for name in names]),
            templates=NamedTemplates(names, torch.tensor([PROTOTYPES.get(name, CRUSHED)[0] for name in names])),
            from_prototype=torch.zeros(n, dtype=torch.bool),
            model=self,
        )

    def score(self, crystals: Crystals, space_group_number: torch.Tensor) -> torch.Tensor:
        """Larger groups first, then larger cells."""
        return space_group_number + crystals.volume / 1000

    def to(self, device: str) -> "Dealer":
        assert device == "cpu"
        return self


@pytest.fixture
def dealer():
    """Makes dealers: dealer("rock salt", "rutile")."""
    return lambda *names, **options: Dealer(list(names) or list(PROTOTYPES), **options)


@pytest.fixture
def cg(tmp_path, monkeypatch, capsys):
    """Runs a command as its entry point would, in this process and an empty folder; gives code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments):
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(f"crystalgraph.cli.{name.removeprefix('cg-')}").main()
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def quick_draws(monkeypatch):
    """Few templates tried, ways to fill them and steps, for tests of what runs and not of what comes out."""
    for name, value in {"n_tried": 100, "surrogate_steps": 2, "n_draws": 2}.items():
        monkeypatch.setitem(vars(USUAL_SAMPLING), name, value)


@pytest.fixture
def toy_calculator(monkeypatch):
    """Import path of a pair potential, here and in worker processes."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return "toy_potential:make"


@pytest.fixture(scope="session")
def chgnet():
    """CHGNet as the package uses it; skips where it is not installed."""
    pytest.importorskip("chgnet")
    from crystalgraph.relax.calculator import make_calculator

    return make_calculator("chgnet")


@pytest.fixture
def flat_hull():
    """Makes the hull of a system that lies at zero everywhere, so that an energy is its distance to the hull."""
    from crystalgraph.relax.hull import Hull, Phase

    def made(system, **_):
        return Hull(system, [Phase(name=element, formula=element, energy=0.0) for element in system.elements])

    return made


@pytest.fixture
def short_training(monkeypatch, tmp_path):
    """Every training takes a few steps on crystals of at most three atoms; configs/ is there as in a checkout."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")

    def shortened(text, source):
        config = parse_config(text, source)
        changes = {
            "data": config.data.model_copy(update={"max_atoms": 3}),
            **{
                phase: getattr(config, phase).model_copy(update={"steps": 2, "batch_size": 4})
                for phase in ("prior", "warm_start", "adversarial")
            },
            "energies": config.energies.model_copy(update={"systems": 0}),
        }
        return config.model_copy(update=changes)

    monkeypatch.setattr("crystalgraph.runs.train.parse_config", shortened)


@pytest.fixture(scope="session")
def as_parametrised() -> Callable[..., ParametrisedTemplates]:
    """Describes structures by their symmetry."""

    def describe(*structures: Structure) -> ParametrisedTemplates:
        return extract(from_structures(structures)).parametrised

    return describe
