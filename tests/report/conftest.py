"""A finished run with energies, made by hand, and judged files one of which tries to break out of the page."""

from types import SimpleNamespace

import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.chemistry.system import ChemicalSystem
from crystalgraph.io.writing import write_structures
from crystalgraph.known.phases import known_phases
from crystalgraph.known.reference_hull import reference_hull
from crystalgraph.report.evaluation import write_evaluation_report
from crystalgraph.report.generation import write_generation_report
from crystalgraph.runs.evaluate import evaluate
from crystalgraph.runs.folder import write_run
from crystalgraph.screening.candidates import Candidates
from crystalgraph.screening.outcome import RELAXED, Outcome
from crystalgraph.screening.request import GenerationRequest
from crystalgraph.screening.screen import Sample
from tests.chromium import chromium

ENERGIES = (0.012, 0.05, 0.09, 0.3)
"""eV/atom above the hull of the first crystals; the others are not relaxed."""

ATTACK = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """One Chromium for all tests."""
    one = chromium(tmp_path_factory.mktemp("downloads"), tmp_path_factory.mktemp("profile"))
    yield one
    one.driver.quit()


@pytest.fixture(scope="session")
def crystals():
    """Known structure types of niobium and oxygen, primitive cells."""
    nb_o, half = ["Nb", "O"], [0.5, 0.5, 0.5]
    made = {
        "rock salt": (225, Lattice.cubic(4.4), nb_o, [[0, 0, 0], half]),
        "rutile": (136, Lattice.tetragonal(4.8, 3.0), nb_o, [[0, 0, 0], [0.3, 0.3, 0]]),
        "ReO3": (221, Lattice.cubic(3.9), nb_o, [[0, 0, 0], [0.5, 0, 0]]),
        "sphalerite": (216, Lattice.cubic(4.9), nb_o, [[0, 0, 0], [0.25, 0.25, 0.25]]),
        "CsCl": (221, Lattice.cubic(2.8), nb_o, [[0, 0, 0], half]),
        "wurtzite": (186, Lattice.hexagonal(3.4, 5.5), nb_o, [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]]),
    }
    return {name: Structure.from_spacegroup(*parts).get_primitive_structure() for name, parts in made.items()}


@pytest.fixture(scope="session")
def finished_run(crystals, tmp_path_factory):
    """A run folder with its report: six crystals selected, four of them relaxed; two samples lost."""
    groups = {"rock salt": 225, "rutile": 136, "ReO3": 221, "sphalerite": 216, "CsCl": 221, "wurtzite": 186}
    structures, samples, outcomes = list(crystals.values()), [], {}
    for k, (name, structure) in enumerate(crystals.items()):
        formula = structure.composition.reduced_formula
        samples.append(
            Sample(
                draw=k,
                formula=formula,
                num_atoms=len(structure),
                template=f"{groups[name]}:a.Nb b.O",
                source="prototype" if k == 0 else "generator",
                space_group_requested=groups[name],
                space_group=groups[name],
                symmetry_match="exact",
                strictly_valid=True,
                min_reduced_distance=1.0,
                density=float(structure.density),
                volume_per_atom=structure.volume / len(structure),
                charge_neutral=True,
                plausibility=0.5,
                score=1.0 - k,
                status="selected",
                rank=k + 1,
                file=f"{k + 1:04d}_{formula}_sg{groups[name]}",
            )
        )
        outcomes[k] = Outcome(funnel_status="choice", funnel_reason="not drawn", e_above_hull_unrelaxed=1.0 + k / 10)
    for k, energy in enumerate(ENERGIES):
        outcomes[k] = Outcome(
            funnel_status=RELAXED,
            e_above_hull_unrelaxed=energy + 0.1,
            e_above_hull=energy,
            relax_status="converged",
            n_steps=9,
            relaxed_space_group=samples[k].space_group,
        )
    selected = list(samples)
    lost = {
        "formula": "NbO",
        "num_atoms": 2,
        "template": "221:a.Nb b.O",
        "source": "generator",
        "space_group_requested": 221,
        "density": 1.0,
    }
    lost |= {"strictly_valid": False, "min_reduced_distance": 0.1, "volume_per_atom": 1.0, "charge_neutral": True}
    samples += [
        Sample(**lost, draw=6 + k, plausibility=None, score=float("nan"), status="strict", reason=reason)
        for k, reason in enumerate(("atoms 0.31 Å apart", "density 25.1 g/cm³"))
    ]
    request = GenerationRequest.parse(num=6, seed=3)
    relaxed = [structure.copy().scale_lattice(structure.volume * 1.02) for structure in structures[: len(ENERGIES)]]
    result = Candidates(
        request=request,
        samples=samples,
        structures=structures,
        names=[str(sample.file) for sample in selected],
        relaxed=relaxed,
        outcomes=outcomes,
    )
    hull, known = reference_hull(ChemicalSystem.parse("Nb-O")), known_phases("Nb-O")
    stages = [
        ("single point", 6, 0),
        ("first steps", 6, 0),
        ("choice", 6, 2),
        ("relaxation", 4, 0),
        ("finalists", 4, 0),
        ("copies", 4, 0),
    ]
    record = {
        "request": request.as_record(),
        "surrogate_steps": 20,
        "model": {"name": "by hand", "sha256": "0" * 64, "record": {}},
        "composition": {},
        "versions": {"crystalgraph": "0.1.0"},
        "device": "cpu",
        "counts": result.counts,
        "shortfall": "",
        "caveats": [],
        "relaxation": {
            "settings": {"limit": 4, "fmax": 0.1, "finalists_fmax": 0.05, "max_steps": 150},
            "potentials": [
                {
                    "name": "sevennet-0",
                    "label": "SevenNet-0",
                    "version": "0.13.0",
                    "sha256": "1" * 64,
                    "hull": {"sha256": hull.identity(), "phases": len(hull.phases), "left_out": {}},
                }
            ],
            "ranked_by": "sevennet-0",
            "stages": [{"name": name, "entered": n, "lost": lost, "seconds": 1.0} for name, n, lost in stages],
            "relaxed": 4,
        },
        "seconds": {"total": 1.0},
    }
    folder = tmp_path_factory.mktemp("generated") / "run"
    write_run(
        folder,
        structures=structures,
        names=result.names,
        rows=result.rows(samples),
        columns=result.columns,
        record=record,
        relaxed=relaxed,
    )
    write_generation_report(folder, record, result, hull, known)
    return SimpleNamespace(folder=folder, record=record, result=result, hull=hull, known=known, energies=ENERGIES)


@pytest.fixture(scope="session")
def judged(crystals, tmp_path_factory):
    """A judged folder with its report: three crystals, one twice, and two files that are none."""
    root = tmp_path_factory.mktemp("judged")
    names = ["rock salt", "ReO3", "sphalerite"]
    write_structures([crystals[name] for name in names], names, root / "cifs", "cif")
    plain = (root / "cifs" / "ReO3.cif").read_text()
    hostile = root / "cifs" / "<img src=x onerror='window.hacked = 1'>.cif"
    hostile.write_bytes(f"# {ATTACK} µ\r\n{plain}".encode())
    (root / "cifs" / "broken.cif").write_text(ATTACK)
    folder = root / "out"
    evaluation = evaluate(root / "cifs", out=folder)
    write_evaluation_report(folder, evaluation)
    return SimpleNamespace(folder=folder, evaluation=evaluation, cifs=root / "cifs", hostile=hostile)
