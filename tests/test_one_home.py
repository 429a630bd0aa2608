"""One concept, one home: what has been unified stays so, counted in the syntax of the package."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

import crystalgraph
from crystalgraph.evaluation.rows import COLUMNS as EVALUATED
from crystalgraph.io.columns import COLUMNS, FORMER_NAMES, column_of
from crystalgraph.known.likeness import Likeness
from crystalgraph.relax.hull import METASTABLE
from crystalgraph.screening.candidates import PATTERN_SIMILARITY
from crystalgraph.screening.outcome import Outcome
from crystalgraph.screening.screen import Sample

PACKAGE = Path(crystalgraph.__file__).parent


@cache
def modules() -> dict[str, list[ast.AST]]:
    """The nodes of each module, by its name."""
    return {
        file.relative_to(PACKAGE).with_suffix("").as_posix(): list(ast.walk(ast.parse(file.read_text("utf-8"))))
        for file in sorted(PACKAGE.rglob("*.py"))
    }


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Every node of some kinds, with the name of its module."""
    return ((module, node) for module, own in modules().items() for node in own if isinstance(node, kinds))


def fields_of(node: ast.ClassDef) -> set[str]:
    """Names of the fields of a dataclass."""
    targets = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def called(own: Iterable[ast.AST]) -> set[str]:
    """Names of all functions that are called among some nodes."""
    calls = [node.func for node in own if isinstance(node, ast.Call)]
    return {call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls}


def named(own: Iterable[ast.AST]) -> set[str]:
    """All names and attributes among some nodes."""
    return {
        getattr(node, "id", getattr(node, "attr", "")) for node in own if isinstance(node, ast.Name | ast.Attribute)
    }


@pytest.mark.parametrize("also", ["failures", "crystals"])
def test_one_collection_of_crystals_with_ids(also: str) -> None:
    homes = [(module, n.name) for module, n in nodes(ast.ClassDef) if {"ids", also} <= fields_of(n)]
    assert homes == [("crystals/table", "CrystalTable")]


def test_one_door_opens_datasets_and_files() -> None:
    both = {"load_dataset", "read_structures"}
    assert [module for module, own in modules().items() if both <= called(own)] == ["io/load"]
    assert [(module, n.name) for module, n in nodes(ast.FunctionDef) if n.name == "load"] == [("io/load", "load")]
    readers = [module for module, own in modules().items() if "read_structures" in called(own)]
    assert readers == ["io/entries", "io/load"], "beside the door only an import, which takes files alone"


def test_one_kind_of_progress() -> None:
    """Neither a second protocol nor an alias, and what is called progress is one."""
    classes = [(module, n.name) for module, n in nodes(ast.ClassDef) if n.name.endswith(("Progress", "Watch"))]
    assert classes == [("progress", "Progress")]
    assigned = [
        (module, target.id)
        for module, node in nodes(ast.Assign, ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id.endswith(("Progress", "Watch"))
    ]
    assert assigned == []
    arguments = [
        (module, ast.unparse(argument.annotation))
        for module, node in nodes(ast.arguments)
        for argument in (*node.args, *node.kwonlyargs)
        if argument.arg == "progress" and argument.annotation is not None
    ]
    assert len(arguments) > 20
    assert [argument for argument in arguments if argument[1] not in ("Progress", "Progress | None")] == []


def test_one_dialect_of_columns() -> None:
    generated = {field.name for kind in (Sample, Likeness, Outcome) for field in fields(kind)} - {"e_above_hull_by"}
    assert generated | set(EVALUATED) | {column_of("POTENTIAL"), PATTERN_SIMILARITY} == set(COLUMNS)
    assert set(FORMER_NAMES.values()) <= set(COLUMNS)
    assert not set(FORMER_NAMES) & set(COLUMNS)
    assert all(column.meaning and "\n" not in column.meaning for column in COLUMNS.values())


def test_one_writer_of_csv() -> None:
    assert [module for module, own in modules().items() if "writer" in called(own)] == ["io/csv_table"]
    others = [module for module, own in modules().items() if {"DictWriter", "to_csv"} & called(own)]
    assert others == ["training/phases"], "the log of a training, which grows line by line"


def test_one_reduced_formula() -> None:
    """Of one crystal and of many; pymatgen's notation stays in the column of a dataset that says it."""
    assert [module for module, own in modules().items() if "gcd" in named(own)] == [
        "chemistry/composition",
        "chemistry/system",
    ]
    others = [module for module, node in nodes(ast.Attribute) if node.attr.startswith("reduced_form")]
    assert others == ["io/importing"]


def test_one_threshold_of_metastability() -> None:
    assigned = [
        module for module, node in nodes(ast.Assign) if any(ast.unparse(name) == "METASTABLE" for name in node.targets)
    ]
    assert assigned == ["relax/hull"]
    compared = [
        (module, ast.unparse(node))
        for module, node in nodes(ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and side.value == METASTABLE
    ]
    assert compared == []


def test_everything_is_imported_from_its_home() -> None:
    """Not from a module that only imported it itself."""
    defined = {
        (module, name) for module, own in modules().items() for line in body(own) for name in names_bound_by(line)
    }
    astray = [
        (module, f"{node.module}.{alias.name}")
        for module, node in nodes(ast.ImportFrom)
        if node.module and node.module.startswith("crystalgraph.")
        for alias in node.names
        if (home := node.module.removeprefix("crystalgraph.").replace(".", "/")) in modules()
        and (home, alias.name) not in defined
    ]
    assert astray == []


def body(own: list[ast.AST]) -> list[ast.stmt]:
    """The lines of a module; the module itself is the first of its nodes."""
    assert isinstance(own[0], ast.Module)
    return own[0].body


def names_bound_by(line: ast.stmt) -> set[str]:
    """What a line of a module defines; imports define nothing."""
    if isinstance(line, ast.ClassDef | ast.FunctionDef):
        return {line.name}
    targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
