"""Where things lie in the folder of a run; every command uses these names."""

from __future__ import annotations

RUN_RECORD, CANDIDATES = "run.json", "candidates.csv"
"""What a ``cg-generate`` run is known by, and its row for every sample."""

STRUCTURES_FOLDER, EXTXYZ_FILE = "structures", "candidates.extxyz"
"""Where the crystals of a run go as generated: a file each, or one with all."""

RELAXED_FOLDER, RELAXED_FILE = "relaxed", "relaxed.extxyz"
"""Where relaxed crystals go, in the same order."""

EXTENSION = {"cif": ".cif", "cif-primitive": ".cif", "poscar": ".vasp"}
"""Endings of the formats that have a file for each crystal."""

METRICS, ROWS, TIMINGS, REQUEST = "metrics.json", "structures.csv", "timings.json", "request.json"
"""What ``cg-evaluate`` leaves: its figures, a row for every input, times, and what it was asked."""

RELAXATIONS = "relaxations"
"""Folder of finished relaxations, from which a run that was killed goes on."""
