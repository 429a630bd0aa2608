"""The rooms of the package import in one direction only, and the commands start without the heavy libraries."""

import ast
from pathlib import Path

import pytest

import crystalgraph

PACKAGE = Path(crystalgraph.__file__).parent
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

ORDER = [
    "errors",
    "progress",
    "geometry",
    "chemistry",
    "crystals",
    "symmetry",
    "io",
    "graphs",
    "relax",
    "known",
    "models",
    "sampling",
    "screening",
    "evaluation",
    "training",
    "report",
    "runs",
    "cli",
]

ALLOWED = {room: set(ORDER[:place]) for place, room in enumerate(ORDER)}

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
    while ready := {room for room, below in ALLOWED.items() if room not in placed and below <= placed}:
        placed |= ready
    assert placed == set(ALLOWED)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_go_down_only(file):
    room = room_of(file)
    if room == "__init__":
        assert not own_rooms((PACKAGE / file).read_text())
        return
    assert room in ALLOWED, f"{room} has no place in the order of the rooms"
    above = own_rooms((PACKAGE / file).read_text()) - ALLOWED[room] - {room}
    assert not above, f"{file} imports from {sorted(above)}"


@pytest.mark.parametrize("file", [file for file in FILES if room_of(file) in {"cli", "errors", "__init__"}], ids=str)
def test_commands_import_nothing_slow_at_the_top(file):
    tops = {name.split(".")[0] for name in imports((PACKAGE / file).read_text(), everywhere=False)}
    assert not tops & SLOW_TO_IMPORT
