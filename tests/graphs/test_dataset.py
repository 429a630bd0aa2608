import json
import pickle
import sqlite3

import numpy as np
import pytest
import torch
from ase.build import bulk
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from torch_geometric.data import InMemoryDataset, OnDiskDataset
from torch_geometric.loader import DataLoader

from crystalgraph.crystals.conversion import from_structures
from crystalgraph.crystals.periodic_graph import PeriodicGraph
from crystalgraph.errors import InputError
from crystalgraph.graphs import dataset as dataset_module
from crystalgraph.graphs.dataset import CrystalGraphDataset, OnDiskCrystalGraphDataset, to_periodic_graph
from crystalgraph.io.datasets import load_dataset
from crystalgraph.models.discriminator import Discriminator

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Nb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CSCL = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TRICLINIC = Structure(
    Lattice.from_parameters(4.1, 5.3, 6.2, 71, 82, 98),
    ["Nb", "O", "O"],
    [[0.1, 1.2, 0.3], [0.6, -0.7, 0.4], [0, 0.4, 0.9]],
)
ARGON = Structure(Lattice.cubic(20), ["Ar"], [[0.2, 0, 0]])
DISORDERED = Structure(Lattice.cubic(3), [{"Nb": 0.5, "Ti": 0.5}], [[0, 0, 0]])
STRUCTURES = [ROCK_SALT, CSCL, TRICLINIC, ARGON]
ENERGIES = {"energy": [-1.0, -2.0, -3.0, 0.0], "gap": [0.0, 5.0, 1.0, 8.0]}


def make(kind, folder, source, **kwargs):
    if kind is CrystalGraphDataset:
        return CrystalGraphDataset(source, **kwargs)
    return OnDiskCrystalGraphDataset.create(folder / "graphs", source, **kwargs)


both = pytest.mark.parametrize("kind", [CrystalGraphDataset, OnDiskCrystalGraphDataset])


def as_set(edge_index, edge_shift):
    rows = torch.cat([edge_index, edge_shift.t()]).t().tolist()
    return {tuple(row) for row in rows}


@both
def test_items_hold_the_documented_fields(kind, tmp_path):
    dataset = make(kind, tmp_path, STRUCTURES, cutoff=4.0, max_neighbors=None, targets=ENERGIES, dtype=torch.float64)
    assert isinstance(dataset, InMemoryDataset | OnDiskDataset)
    assert len(dataset) == 4
    assert dataset.target_names == ["energy", "gap"]
    for number, structure in enumerate(STRUCTURES):
        data = dataset[number]
        assert data.name == str(number)
        assert data.z.tolist() == list(structure.atomic_numbers)
        assert np.allclose(data.pos, structure.cart_coords)
        assert np.allclose(data.cell, structure.lattice.matrix[None])
        assert data.num_atoms.tolist() == [len(structure)] == [data.num_nodes]
        assert data.y.tolist() == [[ENERGIES["energy"][number], ENERGIES["gap"][number]]]
        i, j, shift, distance = structure.get_neighbor_list(4.0)
        expected = {(b, a, *(int(x) for x in s)) for a, b, s in zip(i, j, shift, strict=True)}
        assert as_set(data.edge_index, data.edge_shift) == expected
        source, center = data.edge_index
        vectors = data.pos[source] - data.pos[center] + data.edge_shift.double() @ data.cell[0]
        assert np.allclose(np.sort(vectors.norm(dim=1)), np.sort(distance))
        assert (center.diff() >= 0).all()


@both
def test_batches_become_the_periodic_graph_of_the_crystals(kind, tmp_path):
    dataset = make(kind, tmp_path, STRUCTURES, cutoff=5.0, max_neighbors=13, targets=ENERGIES, dtype=torch.float64)
    (batch,) = DataLoader(dataset, batch_size=4)
    graph, expected = to_periodic_graph(batch), PeriodicGraph.build(from_structures(STRUCTURES), 5.0, 13)
    assert as_set(graph.edge_index, graph.edge_shift) == as_set(expected.edge_index, expected.edge_shift)
    assert torch.allclose(graph.crystals.frac_coords, expected.crystals.frac_coords)
    assert torch.equal(graph.crystals.num_atoms, expected.crystals.num_atoms)
    assert batch.y.shape == (4, 2)
    assert batch.name == ["0", "1", "2", "3"]
    torch.manual_seed(0)
    model = Discriminator().double()
    assert torch.allclose(model(graph), model(model.graph(expected.crystals)))


@both
def test_a_shuffled_loader_keeps_graph_and_target_together(kind, tmp_path):
    dataset = make(kind, tmp_path, STRUCTURES * 3, targets={"n_atoms": [len(s) for s in STRUCTURES] * 3})
    seen = []
    for batch in DataLoader(dataset, batch_size=5, shuffle=True, generator=torch.Generator().manual_seed(3)):
        assert torch.equal(batch.y[:, 0].long(), batch.num_atoms)
        assert torch.equal(batch.y[:, 0].long(), torch.bincount(batch.batch))
        assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])
        seen += batch.name
    assert sorted(seen) == sorted(map(str, range(12)))


def test_gradients_reach_positions_and_cell_of_a_batch():
    batch = next(iter(DataLoader(CrystalGraphDataset(STRUCTURES[:3], dtype=torch.float64), batch_size=3)))
    batch.pos.requires_grad_()
    batch.cell.requires_grad_()
    graph = to_periodic_graph(batch)
    j, i = batch.edge_index
    vectors = (
        batch.pos[j] - batch.pos[i] + torch.einsum("ni,nij->nj", batch.edge_shift.double(), batch.cell[batch.batch[i]])
    )
    expected = torch.autograd.grad(vectors.norm(dim=1).sum(), [batch.pos, batch.cell])
    found = torch.autograd.grad(graph.edge_distances().sum(), [batch.pos, batch.cell])
    assert torch.allclose(found[0], expected[0], atol=1e-9)
    assert torch.allclose(found[1], expected[1], atol=1e-9)


def test_one_crystal_is_a_dataset_too():
    data = CrystalGraphDataset([CSCL])[0]
    assert data.name == "0"
    assert data.cell.shape == (1, 3, 3)


def test_dataset_can_be_sliced_and_transformed():
    dataset = CrystalGraphDataset(STRUCTURES, transform=lambda data: data.update({"n": int(data.num_atoms)}))
    assert [data.n for data in dataset[1:3]] == [2, 3]
    assert dataset[torch.tensor([2, 0])][0].name == "2"


@both
def test_building_in_chunks_changes_nothing(kind, tmp_path, monkeypatch):
    whole = CrystalGraphDataset(STRUCTURES, targets=ENERGIES)
    monkeypatch.setattr(dataset_module, "_CHUNK", 3)
    parts = make(kind, tmp_path, STRUCTURES, targets=ENERGIES)
    for number in range(4):
        assert whole[number].to_dict().keys() == parts[number].to_dict().keys()
        for key, value in whole[number]:
            other = parts[number][key]
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


@both
def test_shifts_of_any_size_are_kept(kind, tmp_path):
    """Of atoms that are given cells away from each other, in graphs built together with ordinary ones."""
    far = [
        Structure(CSCL.lattice, CSCL.species, [[0, 0, 0], [0.5 + cells, 0.5, 0.5 - cells]])
        for cells in (0, 120, 40_000, 2_000_000)
    ]
    for number, data in enumerate(make(kind, tmp_path, far, cutoff=4.0)):
        graph = PeriodicGraph.build(from_structures([far[number]]), 4.0)
        assert as_set(data.edge_index, data.edge_shift) == as_set(graph.edge_index, graph.edge_shift)
        assert {data[key].dtype for key in ("z", "edge_index", "edge_shift", "num_atoms")} == {torch.int64}


def test_ase_atoms_give_the_same_graphs():
    atoms = [AseAtomsAdaptor.get_atoms(structure) for structure in STRUCTURES]
    ours, theirs = CrystalGraphDataset(STRUCTURES), CrystalGraphDataset(atoms)
    for number in range(4):
        assert torch.allclose(ours[number].pos, theirs[number].pos, atol=1e-5)
        assert torch.equal(ours[number].edge_index, theirs[number].edge_index)


@both
def test_broken_cifs_are_counted_and_skipped(kind, tmp_path):
    files = tmp_path / "cifs"
    files.mkdir()
    CSCL.to(str(files / "good.cif"))
    DISORDERED.to(str(files / "mixed.cif"))
    text = (files / "good.cif").read_text()
    (files / "cut.cif").write_text(text[: len(text) // 2])
    (files / "other.cif").write_text("not a CIF")
    (files / "lacking.cif").write_text(text)
    dataset = make(kind, tmp_path, files, targets={"gap": {"good": 2.0, "mixed": 1.0, "cut": 1.0}})
    assert len(dataset) == 1
    assert dataset[0].name == "good"
    assert set(dataset.failures) == {"mixed", "cut", "other", "lacking"}
    assert all(dataset.failures.values())
    assert dataset.failures["lacking"] == "no value for gap"


def test_structures_that_are_no_crystals_are_counted_and_skipped():
    flat = from_structures([CSCL, CSCL, ROCK_SALT])
    lattice = flat.lattice.clone()
    lattice[1, 2] = lattice[1, 1]
    dataset = CrystalGraphDataset(flat.replace(lattice=lattice), targets={"e": [1, 2, 3]})
    assert dataset.y.tolist() == [[1], [3]]
    assert dataset.failures == {"1": "its cell is flat, collapsed or not finite"}

    dataset = CrystalGraphDataset([DISORDERED, CSCL, ARGON], targets={"e": [1, 2, np.nan]})
    assert dataset.y.tolist() == [[2]]
    assert set(dataset.failures) == {"0", "2"}

    molecule = bulk("Cu")
    molecule.pbc = False
    dataset = CrystalGraphDataset([molecule, bulk("Cu")])
    assert dataset[0].z.tolist() == [29]
    assert set(dataset.failures) == {"0"}


def test_shipped_dataset_with_targets():
    shipped = load_dataset("nbo")
    column = next(key for key, values in shipped.columns.items() if values.dtype.kind == "f")
    finite = np.isfinite(shipped.columns[column])
    dataset = CrystalGraphDataset("nbo", targets=[column])
    assert len(dataset) == finite.sum()
    assert len(dataset) + len(dataset.failures) == len(shipped)
    assert np.allclose(dataset.y[:, 0], shipped.columns[column][finite])
    assert [data.name for data in dataset] == [name for name, usable in zip(shipped.ids, finite, strict=True) if usable]


def test_on_disk_dataset_is_reopened_and_holds_no_pickle(tmp_path):
    made = OnDiskCrystalGraphDataset.create(
        tmp_path / "graphs", [*STRUCTURES, DISORDERED], cutoff=4.5, max_neighbors=12
    )
    opened = OnDiskCrystalGraphDataset(tmp_path / "graphs")
    assert len(opened) == len(made) == 4
    assert opened.failures == made.failures
    assert set(opened.failures) == {"4"}
    assert (opened.cutoff, opened.max_neighbors) == (4.5, 12)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graphs"]

    connection = sqlite3.connect(tmp_path / "graphs" / "processed" / "sqlite.db")
    blobs = [value for row in connection.execute("SELECT * FROM OnDiskCrystalGraphDataset") for value in row]
    connection.close()
    expected = opened[0].pos.numpy().tobytes()
    assert expected in blobs
    for blob in blobs:
        if isinstance(blob, bytes) and len(blob) > 1:
            with pytest.raises(Exception):  # noqa: B017, PT011 - raw numbers are no pickle, however they fail to be
                pickle.loads(blob)


def transformed(data):
    return data.update({"seen_by": "transform"})


def loaded(part, **loading):
    return [name for batch in DataLoader(part, batch_size=3, **loading) for name in batch.name]


@pytest.fixture(scope="module")
def eighteen(tmp_path_factory):
    """The same 18 crystals in memory and on disk."""
    crystals = [Structure(Lattice.cubic(4 + k / 10), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for k in range(18)]
    folder = tmp_path_factory.mktemp("graphs") / "eighteen"
    return CrystalGraphDataset(crystals), OnDiskCrystalGraphDataset.create(folder, crystals, transform=transformed)


MASK = torch.arange(18) % 3 == 1
PARTS = {
    "the end": lambda whole: whole[4:],
    "every second, backwards": lambda whole: whole[::-2],
    "a list": lambda whole: whole[[17, 3, 3, -1]],
    "one": lambda whole: whole[[5]],
    "a tensor": lambda whole: whole[torch.tensor([9, 8])],
    "a mask": lambda whole: whole[MASK],
    "a mask of NumPy": lambda whole: whole[MASK.numpy()],
    "a part of a part": lambda whole: whole[6:][torch.arange(12) > 8][[2, 0]],
    "torch's subset": lambda whole: torch.utils.data.Subset(whole, [4, 16]),
    "torch's subset of a part": lambda whole: torch.utils.data.Subset(whole[10:], [0, 7]),
    "nothing": lambda whole: whole[:0],
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_part_on_disk_is_the_part_that_it_is_in_memory(eighteen, part):
    expected, found = (part(whole) for whole in eighteen)
    assert len(found) == len(expected)
    assert [found[k].name for k in range(len(found))] == [expected[k].name for k in range(len(expected))]
    assert loaded(found) == loaded(expected)
    assert all(item.seen_by == "transform" for item in found)


def test_a_shuffled_dataset_on_disk_is_loaded_as_shuffled(eighteen):
    _, disk = eighteen
    torch.manual_seed(0)
    shuffled, order = disk.shuffle(return_perm=True)
    assert loaded(shuffled) == [str(k) for k in order.tolist()] != [str(k) for k in range(18)]
    training, validation = shuffled[:14], shuffled[14:]
    for _ in range(3):  # the loader's own shuffle too
        names = loaded(training, shuffle=True)
        assert sorted([*names, *loaded(validation, shuffle=True)], key=int) == [str(k) for k in range(18)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_load_the_part_whatever_their_start(eighteen, method):
    part = OnDiskCrystalGraphDataset(eighteen[1].root)[[17, 2, 11, 4, 5]]
    assert part[0].name == "17"  # the database is open before the workers start
    assert loaded(part, num_workers=2, multiprocessing_context=method) == ["17", "2", "11", "4", "5"]
    assert part[1].name == "2"


def test_rows_that_are_lost_or_damaged_are_said(tmp_path):
    dataset = OnDiskCrystalGraphDataset.create(tmp_path / "graphs", STRUCTURES)
    with sqlite3.connect(tmp_path / "graphs" / "processed" / "sqlite.db") as connection:
        connection.execute("DELETE FROM OnDiskCrystalGraphDataset WHERE id = 1")
        connection.execute("UPDATE OnDiskCrystalGraphDataset SET COL_cell = x'00' WHERE id = 2")
    for part, fault in (([0, 1], "lacks 1 crystals"), ([1], "is damaged"), ([0, 2], "is damaged")):
        with pytest.raises(InputError, match=f"{fault}.*; make it again"):
            loaded(dataset[part])
    (tmp_path / "graphs" / "processed" / "sqlite.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(InputError, match="is damaged"):
        loaded(OnDiskCrystalGraphDataset(tmp_path / "graphs"))


def test_items_of_a_disk_dataset_can_be_edited(tmp_path):
    dataset = OnDiskCrystalGraphDataset.create(tmp_path / "graphs", STRUCTURES)
    data = dataset[0]
    before = data.pos.clone()
    data.pos += 1
    assert torch.equal(dataset[0].pos, before)


@pytest.mark.parametrize(
    ("source", "targets", "message"),
    [
        ([], (), "none of 0 crystals can be used"),
        ([DISORDERED], (), "none of 1 crystals can be used; the first, 0: it is disordered"),
        ("no-such-set", (), r"neither a dataset \(corpus, nbo\) nor a file or folder"),
        ("nbo", ["no_such"], "no numeric column 'no_such'; allowed are"),
        ("nbo", ["formula"], "no numeric column 'formula'; allowed are"),
        ("nbo", "dft_formation_energy", r"give a list of columns, such as \['dft_formation_energy'\]"),
        ([CSCL], ["energy"], "the source has no columns of numbers"),
        ([CSCL], {"energy": [1, 2]}, "has 2 values for 1 crystals"),
    ],
)
def test_bad_input_is_named(source, targets, message):
    with pytest.raises(InputError, match=message):
        CrystalGraphDataset(source, targets=targets)


@pytest.mark.parametrize("cutoff", [0, -1, float("nan"), float("inf")])
def test_a_cutoff_is_a_length(cutoff):
    with pytest.raises(InputError, match="is no length"):
        CrystalGraphDataset([CSCL], cutoff=cutoff)


def test_a_list_of_targets_does_not_fit_files(tmp_path):
    CSCL.to(str(tmp_path / "a.cif"))
    with pytest.raises(InputError, match="give a mapping from id to value"):
        CrystalGraphDataset(tmp_path, targets={"energy": [1.0]})


def test_disk_dataset_refuses_existing_foreign_and_broken_folders(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="is not overwritten"):
        OnDiskCrystalGraphDataset.create(tmp_path / "mine", STRUCTURES)
    with pytest.raises(InputError, match="holds no crystal graphs"):
        OnDiskCrystalGraphDataset(tmp_path / "mine")
    (tmp_path / "mine" / "dataset.json").write_text(json.dumps({"n_crystals": 3}))
    with pytest.raises(InputError, match="lacks cutoff"):
        OnDiskCrystalGraphDataset(tmp_path / "mine")
    OnDiskCrystalGraphDataset.create(tmp_path / "torn", STRUCTURES)
    (tmp_path / "torn" / "processed" / "sqlite.db").unlink()
    with pytest.raises(InputError, match="holds no crystal graphs"):
        OnDiskCrystalGraphDataset(tmp_path / "torn")
    with pytest.raises(InputError, match="none of 1"):
        OnDiskCrystalGraphDataset.create(tmp_path / "new", [DISORDERED])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "torn"]
