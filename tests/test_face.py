"""The public face: every name leads somewhere, a wrong one is an ordinary mistake, and importing it costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import crystalgraph

HEAVY = ("torch", "torch_geometric", "pymatgen", "pandas", "numpy", "scipy", "ase")


def fresh(program: str) -> str:
    """What a new interpreter prints."""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize("name", crystalgraph.__all__)
def test_every_name_leads_somewhere(name):
    value = getattr(crystalgraph, name)
    assert callable(value)
    assert value.__doc__, f"{name} says nothing about itself"
    assert value.__module__.startswith("crystalgraph.")


def test_a_type_checker_sees_the_same_names():
    source = ast.parse(Path(crystalgraph.__file__).read_text())
    (typed,) = (node for node in source.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == sorted(crystalgraph.__all__)
    assert seen == {name: f"crystalgraph.{home}" for name, home in crystalgraph._HOMES.items()}


def test_importing_loads_nothing_heavy():
    assert fresh(f"import sys, crystalgraph; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_the_first_use_of_a_name_loads_its_module():
    program = (
        "import sys, crystalgraph\n"
        "error = crystalgraph.InputError\n"
        "print('crystalgraph.errors' in sys.modules, 'torch' in sys.modules, issubclass(error, Exception))"
    )
    assert fresh(program) == "True False True"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'crystalgraph' has no attribute 'no_such_name'"):
        crystalgraph.no_such_name  # noqa: B018
    with pytest.raises(ImportError, match="no_such_name"):
        from crystalgraph import no_such_name  # noqa: F401


@pytest.mark.slow
def test_names_are_listed_and_hide_no_room():
    assert set(crystalgraph.__all__) | {"__version__"} <= set(dir(crystalgraph))
    package = Path(crystalgraph.__file__).parent
    rooms = {path.stem for path in package.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert not rooms & set(crystalgraph.__all__)
    program = "import crystalgraph.crystals; print(crystalgraph.crystals.__name__, crystalgraph.Crystals.__name__)"
    assert fresh(program) == "crystalgraph.crystals Crystals"
