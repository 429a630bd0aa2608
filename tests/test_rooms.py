"""The rooms of the package import in one direction only, and the commands start without the heavy libraries."""

import ast
from pathlib import Path

import pytest

import crystalgraph

PACKAGE = Path(crystalgraph.__file__).parent
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

ARROWS = {
    "errors": set(),
    "progress": set(),
    "geometry": set(),
    "engine": {"errors"},
    "chemistry": {"errors"},
    "crystals": {"errors", "engine", "progress", "geometry", "chemistry"},
    "symmetry": {"errors", "engine", "geometry", "chemistry", "crystals"},
    "io": {"errors", "progress", "geometry", "chemistry", "crystals"},
    "graphs": {"errors", "geometry", "crystals", "io"},
    "relax": {"errors", "engine", "progress", "geometry", "chemistry", "crystals", "io"},
    "known": {"errors", "engine", "progress", "chemistry", "crystals", "symmetry", "io", "relax"},
    "models": {"errors", "geometry", "chemistry", "crystals", "symmetry", "io"},
    "sampling": {"errors", "geometry", "chemistry", "crystals", "symmetry", "io", "models"},
    "screening": {"errors", "engine", "progress", "chemistry", "crystals", "io", "relax", "known", "sampling"},
    "evaluation": {"engine", "progress", "chemistry", "crystals", "io", "relax", "known"},
    "training": {
        "errors",
        "engine",
        "progress",
        "geometry",
        "chemistry",
        "crystals",
        "symmetry",
        "io",
        "relax",
        "known",
        "models",
        "sampling",
        "evaluation",
    },
    "report": {"chemistry", "crystals", "io", "relax", "screening", "evaluation"},
    "runs": {
        "errors",
        "engine",
        "progress",
        "chemistry",
        "crystals",
        "symmetry",
        "io",
        "relax",
        "known",
        "models",
        "sampling",
        "screening",
        "evaluation",
        "training",
        "report",
    },
    "cli": {
        "errors",
        "engine",
        "progress",
        "chemistry",
        "crystals",
        "io",
        "relax",
        "screening",
        "evaluation",
        "report",
        "runs",
    },
}
"""Each room and the rooms that it imports from: no other, and none that it does not."""

SLOW_TO_IMPORT = {"torch", "torch_geometric", "chgnet", "matminer", "pymatgen", "sklearn", "pandas", "ase", "spglib"}


def imports(source: str, *, everywhere: bool) -> set[str]:
    """Dotted names a module imports, at its top level or anywhere but under TYPE_CHECKING."""

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for child in ast.iter_child_nodes(node):
                visit(child)

    found: set[str] = set()
    visit(ast.parse(source))
    return found


def own_rooms(source: str) -> set[str]:
    names = [name.split(".") for name in imports(source, everywhere=True)]
    return {parts[1] for parts in names if parts[0] == "crystalgraph" and len(parts) > 1} - {"__version__"}


def room_of(file: Path) -> str:
    return file.parts[0].removesuffix(".py")


def test_the_reader_of_imports_sees_all_forms():
    source = (
        "import torch.nn\nfrom a.b import c\nif TYPE_CHECKING:\n    import no\n"
        "def f():\n    from crystalgraph.cli import errors\n"
    )
    assert imports(source, everywhere=False) == {"torch.nn", "a.b.c"}
    assert imports(source, everywhere=True) == {"torch.nn", "a.b.c", "crystalgraph.cli.errors"}
    assert own_rooms(source) == {"cli"}


def test_the_order_has_no_circle():
    placed: set[str] = set()
    while ready := {room for room, below in ARROWS.items() if room not in placed and below <= placed}:
        placed |= ready
    assert placed == set(ARROWS)


def test_the_arrows_are_those_that_are_used():
    used: dict[str, set[str]] = {room_of(file): set() for file in FILES}
    for file in FILES:
        used[room_of(file)] |= own_rooms((PACKAGE / file).read_text()) - {room_of(file)}
    assert not used.pop("__init__")
    assert used == ARROWS


def test_no_two_modules_import_each_other_at_the_top():
    tops = {
        "crystalgraph." + ".".join(file.with_suffix("").parts): imports((PACKAGE / file).read_text(), everywhere=False)
        for file in FILES
        if file.name != "__init__.py"
    }
    arrows = {
        module: {other for other in tops for name in names if name.startswith(f"{other}.")}
        for module, names in tops.items()
    }
    placed: set[str] = set()
    while ready := {module for module, below in arrows.items() if module not in placed and below <= placed}:
        placed |= ready
    assert placed == set(arrows)


@pytest.mark.parametrize("file", [file for file in FILES if room_of(file) in {"cli", "errors", "__init__"}], ids=str)
def test_commands_import_nothing_slow_at_the_top(file):
    tops = {name.split(".")[0] for name in imports((PACKAGE / file).read_text(), everywhere=False)}
    assert not tops & SLOW_TO_IMPORT
