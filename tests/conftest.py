"""Fixtures of all tests; each imports what it needs, for this file is loaded by processes that run no test."""

import gc
import importlib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection(session):
    """Hold the largest space groups: pymatgen works out 192 operations anew for every structure that needs them."""
    from pymatgen.symmetry.groups import SpaceGroup

    session.space_groups = [SpaceGroup.from_int_number(number) for number in (225, 227)]


def pytest_collection_finish():
    """What is loaded by now stays: it need not be looked through at every garbage collection."""
    gc.freeze()


@pytest.fixture
def dealer():
    """Makes dealers: dealer("rock salt", "rutile")."""
    from tests.dealer import PROTOTYPES, Dealer

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
    from crystalgraph.sampling.settings import USUAL_SAMPLING

    for name, value in {"n_tried": 100, "surrogate_steps": 2, "n_draws": 2}.items():
        monkeypatch.setitem(vars(USUAL_SAMPLING), name, value)


@pytest.fixture(scope="session")
def fitted_on_few():
    """Plausibility learned from few compositions: a second instead of ten."""
    from crystalgraph.chemistry.plausibility import Plausibility
    from crystalgraph.chemistry.system import Formula
    from crystalgraph.io.datasets import load_dataset

    known = [Formula.parse(formula) for formula in load_dataset("corpus").columns["formula"][::4]]

    @cache
    def fitted(system):
        return Plausibility.fit(known, system=system, max_known=300)

    return fitted


@pytest.fixture
def quick_plausibility(monkeypatch, fitted_on_few):
    """For tests of what runs and not of what is plausible."""
    monkeypatch.setattr("crystalgraph.screening.composition.plausibility", lambda system, *_: fitted_on_few(system))


@pytest.fixture
def toy_calculator(monkeypatch):
    """Import path of a pair potential, here and in worker processes."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return "toy_potential:make"


@pytest.fixture(scope="session")
def chgnet():
    """CHGNet as the package uses it; skips where it is not installed."""
    pytest.importorskip("chgnet")
    from crystalgraph.relax.potentials import make_calculator

    return make_calculator("chgnet")


@pytest.fixture
def flat_hull():
    """Makes the hull of a system that lies at zero everywhere, so that an energy is its distance to the hull."""
    from crystalgraph.relax.hull import Hull, Phase

    def made(system, *_, **__):
        return Hull(system, [Phase(name=element, formula=element, energy=0.0) for element in system.elements])

    return made


@pytest.fixture(scope="session")
def prepared():
    """What trainings prepare, by data and config: the same for all tests, as it is the same for all trainings."""
    from crystalgraph.training.corpus import prepare
    from crystalgraph.training.pool import template_pool

    corpora, pools = {}, {}

    def prepare_once(dataset, config, workers):
        key = config.model_dump_json()
        if key not in corpora:
            corpora[key] = prepare(dataset, config, workers)
        return corpora[key]

    def pool_once(data, workers):
        if id(data) not in pools:
            pools[id(data)] = data, template_pool(data, workers)
        return pools[id(data)][1]

    return prepare_once, pool_once


@pytest.fixture
def prepared_once(monkeypatch, prepared):
    """For tests of what a training does with its data."""
    prepare_once, pool_once = prepared
    monkeypatch.setattr("crystalgraph.runs.train.prepare", prepare_once)
    monkeypatch.setattr("crystalgraph.runs.train.template_pool", pool_once)


@pytest.fixture
def short_training(monkeypatch, tmp_path, prepared_once):  # noqa: ARG001
    """Every training takes a few steps on crystals of at most three atoms; configs/ is there as in a checkout."""
    from crystalgraph.training.config import parse_config

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
def as_parametrised():
    """Describes structures by their symmetry."""
    from crystalgraph.crystals.conversion import from_structures
    from crystalgraph.symmetry.extract import extract

    def describe(*structures):
        return extract(from_structures(structures)).parametrised

    return describe
