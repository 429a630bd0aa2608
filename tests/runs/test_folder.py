import csv
import json
import os
from io import StringIO

import pytest
from pymatgen.core import Lattice, Structure

from crystalgraph.errors import InputError
from crystalgraph.io.atomic import check_free
from crystalgraph.io.csv_table import csv_text
from crystalgraph.io.provenance import versions
from crystalgraph.io.writing import check_formats
from crystalgraph.runs.folder import write_run

COLUMNS = ("draw", "formula", "score", "status")


@pytest.fixture
def content():
    rock_salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    cscl = Structure.from_spacegroup("Pm-3m", Lattice.cubic(2.9), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return {
        "structures": [rock_salt, cscl],
        "names": ["0001_NbO_sg225", "0002_NbO_sg221"],
        "columns": COLUMNS,
        "rows": [
            {"draw": 0, "formula": "NbO", "score": 0.5, "status": "selected"},
            {"draw": 1, "formula": "NbO", "score": float("nan"), "status": "strict"},
        ],
        "record": {"seed": 0},
    }


def content_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_folder_holds_what_was_given(tmp_path, content):
    write_run(tmp_path / "deep" / "run", **content, formats=("cif", "poscar", "extxyz"))
    files = content_of(tmp_path / "deep" / "run")
    assert set(files) == {
        "structures/0001_NbO_sg225.cif",
        "structures/0002_NbO_sg221.cif",
        "structures/0001_NbO_sg225.vasp",
        "structures/0002_NbO_sg221.vasp",
        "candidates.extxyz",
        "candidates.csv",
        "run.json",
    }
    again = Structure.from_str(files["structures/0002_NbO_sg221.cif"].decode(), fmt="cif")
    assert again.matches(content["structures"][1])
    assert json.loads(files["run.json"]) == {"seed": 0}
    rows = list(csv.DictReader(StringIO(files["candidates.csv"].decode())))
    assert [row["status"] for row in rows] == ["selected", "strict"]
    assert [row["score"] for row in rows] == ["0.5", ""]


def test_nothing_else_is_left_beside_it(tmp_path, content):
    write_run(tmp_path / "run", **content)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_same_content_same_bytes(tmp_path, content):
    for name in ("one", "two"):
        write_run(tmp_path / name, **content, formats=("cif", "poscar", "extxyz"))
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")


def test_no_candidate_is_a_folder_too(tmp_path, content):
    nothing = content | {"structures": [], "names": []}
    write_run(tmp_path / "run", **nothing, formats=("cif", "poscar", "extxyz"))
    assert (tmp_path / "run" / "structures").is_dir()
    assert len((tmp_path / "run" / "candidates.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "dangling link"])
def test_existing_output_is_refused_and_untouched(tmp_path, content, kind):
    out = tmp_path / "run"
    if kind == "file":
        out.write_text("mine")
    elif kind == "dangling link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
        if kind == "folder":
            (out / "run.json").write_text("mine")
    before = content_of(tmp_path)
    with pytest.raises(InputError, match=r"already exists.*--out"):
        write_run(out, **content)
    assert content_of(tmp_path) == before


def test_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="not a folder"):
        check_free(tmp_path / "file" / "run")


def test_a_failure_leaves_nothing(tmp_path, content):
    broken = content | {"record": {"seconds": float("nan")}}
    with pytest.raises(ValueError, match="JSON"):
        write_run(tmp_path / "run", **broken)
    assert list(tmp_path.iterdir()) == []


def test_output_that_appears_during_the_run_is_not_overwritten(tmp_path, content):
    out = tmp_path / "run"

    class Rows(list):
        def __iter__(self):
            out.mkdir()
            (out / "mine").write_text("mine")
            return super().__iter__()

    with pytest.raises(InputError, match="came to exist"):
        write_run(out, **content | {"rows": Rows(content["rows"])})
    assert content_of(tmp_path) == {"run/mine": b"mine"}


def test_permissions_follow_the_umask(tmp_path, content):
    umask = os.umask(0o022)
    try:
        write_run(tmp_path / "run", **content)
    finally:
        os.umask(umask)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "run" / "candidates.csv").stat().st_mode & 0o777 == 0o644


def test_table_quotes_and_formats():
    rows = [
        {"a": "x; y, z", "b": True, "c": None, "d": 1 / 3},
        {"a": 'say "no"', "b": False, "c": float("inf"), "d": 12},
    ]
    text = csv_text(rows, ("a", "b", "c", "d"))
    assert text.splitlines() == ["a,b,c,d", '"x; y, z",yes,,0.333333', '"say ""no""",no,,12']


def test_versions_name_what_is_installed():
    import torch

    found = versions()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"crystalgraph", "python", "pymatgen", "spglib", "torch-geometric"} <= set(found)


def test_formats_are_read_as_users_write_them():
    assert check_formats([" CIF", "poscar", "cif"]) == ["cif", "poscar"]
    with pytest.raises(InputError, match="format 'xsf' is not known; give any of cif"):
        check_formats(["cif", "xsf"])
    with pytest.raises(InputError, match="give one of them"):
        check_formats(["cif-primitive", "cif"])
