"""Templates with parameters: one type, whose lattices, volumes and crystals belong together."""

import ast
from pathlib import Path

import torch

import crystalgraph
from crystalgraph.geometry.lattice import crystal_system, lattice_from_code
from crystalgraph.io.datasets import load_dataset
from crystalgraph.symmetry.extract import extract
from crystalgraph.symmetry.parameters import ParametrisedTemplates

PACKAGE = Path(crystalgraph.__file__).parent


def corpus_crystals() -> ParametrisedTemplates:
    return extract(load_dataset("corpus").crystals[torch.arange(0, 37_855, 900)]).parametrised


def test_one_class_of_the_package_holds_the_parameters_of_templates() -> None:
    wanted = {"log_volume", "shape", "u"}
    classes = [
        f"{path.stem}.{node.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and wanted <= {field.target.id for field in node.body if isinstance(field, ast.AnnAssign)}
    ]
    assert classes == ["parameters.ParametrisedTemplates"]


def test_volume_is_that_of_the_crystals() -> None:
    data = corpus_crystals()
    crystals = data.crystals()
    torch.testing.assert_close(data.volume_per_atom, crystals.volume / crystals.num_atoms)
    torch.testing.assert_close(torch.linalg.det(data.lattice), data.log_volume.exp())


def test_what_the_crystal_system_forbids_is_dropped() -> None:
    data = corpus_crystals()
    system = crystal_system(data.templates.space_group_number)
    skewed = lattice_from_code(torch.zeros_like(system), data.log_volume, torch.full_like(data.shape, 0.1))
    again = ParametrisedTemplates.from_lattice(data.templates, skewed, data.u)
    cubic = system == 6
    assert cubic.any()
    assert (again.shape[cubic] == 0).all()
    torch.testing.assert_close(again.log_volume, data.log_volume)


def test_selection_takes_the_sites_along_and_concatenation_undoes_it() -> None:
    data = corpus_crystals()
    order = torch.arange(len(data)).flip(0)
    turned = ParametrisedTemplates.concatenate([data[rows] for rows in order.split(7)])
    assert turned.templates.names() == data.templates.names()[::-1]
    assert turned.prototypes == data.prototypes[::-1]
    for k in (0, 5, len(data) - 1):
        one, same = data[torch.tensor([k])].crystals(), turned.crystals()[len(data) - 1 - k]
        torch.testing.assert_close(one.frac_coords, same.frac_coords, rtol=0, atol=0)
        torch.testing.assert_close(one.lattice, same.lattice)


def test_no_crystals_are_described_too() -> None:
    empty = extract(load_dataset("corpus").crystals[:0]).parametrised
    assert len(empty) == len(empty.prototypes) == len(empty.crystals()) == 0
