"""From a request to ranked crystals: all that ``cg-generate`` does, as one call."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from crystalgraph import __version__
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.crystals.reflections import USUAL_RADIATION
from crystalgraph.crystals.space_groups import SYMPREC
from crystalgraph.engine.workers import Workers, at_work, check_workers
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import check_free
from crystalgraph.io.cache import cache_folder
from crystalgraph.io.provenance import versions
from crystalgraph.io.writing import check_formats
from crystalgraph.models.bundle import Model, load_model
from crystalgraph.models.device import usable_device
from crystalgraph.progress import Progress
from crystalgraph.relax.potentials import DEFAULT, usual_confirmation
from crystalgraph.relax.pressure import check_pressure
from crystalgraph.report.generation import write_generation_report
from crystalgraph.report.words import energy_caveats
from crystalgraph.runs.alone import N_THREADS, alone
from crystalgraph.runs.folder import write_run
from crystalgraph.runs.generation_result import GenerationResult
from crystalgraph.runs.heap import keep_freed_memory
from crystalgraph.runs.larger_cells import with_larger_cells
from crystalgraph.runs.measured_pattern import MeasuredPattern
from crystalgraph.runs.near import NEAR_CAVEAT, crystal_record, formula_of, given_crystal, model_around
from crystalgraph.runs.reference import reference_caveat, reference_phases, reference_record
from crystalgraph.sampling.sampler import Sampler, resolve_surrogate_steps
from crystalgraph.sampling.settings import USUAL_SAMPLING, SamplingSettings
from crystalgraph.screening.candidates import Candidates, named, ranked_by_energy, source_yields
from crystalgraph.screening.composition import as_record, composition_filter
from crystalgraph.screening.expected import expected_work
from crystalgraph.screening.funnel import Funnel
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.properties import described
from crystalgraph.screening.request import GenerationRequest, check_relax, usual_num
from crystalgraph.screening.rounds import search_rounds
from crystalgraph.screening.screen import Screen
from crystalgraph.screening.search import USUAL_SEARCH, SearchSettings, run

if TYPE_CHECKING:
    from crystalgraph.crystals.table import CrystalTable
    from crystalgraph.io.load import CrystalSource

_log = logging.getLogger(__name__)


@alone
def generate(
    request: GenerationRequest | str | None = None,
    *,
    model: Model | str | Path = "nbo",
    near: CrystalSource | None = None,
    relax: int | None = None,
    minutes: float | None = None,
    potential: str = DEFAULT,
    confirm: Sequence[str] | None = None,
    pressure: float = 0.0,
    pattern: str | Path | None = None,
    radiation: str = USUAL_RADIATION,
    known: CrystalSource | None = None,
    workers: int | Workers = 1,
    device: str = "cpu",
    out: str | Path | None = None,
    formats: Sequence[str] = ("cif", "extxyz"),
    progress: Progress | None = None,
    sampling: SamplingSettings = USUAL_SAMPLING,
    search: SearchSettings = USUAL_SEARCH,
    **options: Any,
) -> GenerationResult:
    """Propose crystals of a chemical system: drawn, screened, without copies, ranked, and relaxed if wanted.

    Args:
        request: what is wanted, or a chemical system such as "Nb-O".
        model: name of a shipped model, folder of one, or a model; a model is moved to the device.
        near: a crystal; templates are then its own and those near it, see `crystalgraph.runs.near.model_around`.
            Without a system or formula its own formula is searched for, else those elements take the places of its own.
        relax: most crystals to relax, which ranks by energy above the hull; None relaxes none unless ``minutes`` are
            given.
        minutes: of wall clock that the search may take before its finalists are judged; what they give depends on the
            machine. Without ``relax`` it ends earlier when nothing lower comes.
        potential: relaxes: of `crystalgraph.relax.potentials.POTENTIALS`, or any ASE calculator as
            ``package.module:factory``.
        confirm: potentials that relax the finalists further; the rank goes by the first. None means
            `crystalgraph.relax.potentials.usual_confirmation`.
        pressure: hydrostatic, GPa, see `crystalgraph.relax.pressure.PRESSURES`: candidates and known phases are relaxed
            under it and ranked by enthalpy.
        pattern: file of a measured powder pattern, 2θ and counts; candidates are ranked by their similarity to it,
            where there are energies the metastable ones.
        radiation: of the pattern, see `crystalgraph.crystals.reflections.wavelength_of`.
        known: known phases, see `crystalgraph.runs.reference.reference_phases`; None means the shipped ones.
        workers: processes that relax, or those of a cluster; the result does not depend on them.
        device: where networks run, and potentials that take many crystals at once: cpu, cuda, cuda:1, ... The same seed
            gives the same result on "cpu" only.
        out: folder of the run, which must not exist; None writes nothing. With ``relax``, finished relaxations are
            kept in ``OUT.partial`` until it does, from which the same call goes on after a kill.
        formats: any of `crystalgraph.io.writing.FORMATS`.
        progress: called as the work goes on.
        sampling: how much work goes into a crystal.
        search: when crystals are selected, and when the search ends.
        **options: without a `GenerationRequest`, what `GenerationRequest.parse` takes beside the system, such as
            ``formula="Nb2O5"``, ``space_group_number=15``, ``num=20``, ``seed=0``.

    Returns:
        The candidates, every sample with its status, and the record of the run. The same request and model give the
        same result.

    Raises:
        InputError: if something cannot be done as requested; before anything is drawn, with what is possible.
    """
    start = perf_counter()
    keep_freed_memory()
    crystal = None if near is None else given_crystal(near)
    if crystal is not None and request is None and options.get("formula") is None:
        options = options | {"formula": formula_of(crystal)}
    request = _request(request, relax, options)
    with_energies = relax is not None or minutes is not None
    _check(request, relax, minutes, workers)
    check_pressure(pressure)
    if confirm and not with_energies:
        raise InputError(f"potentials to confirm ({', '.join(confirm)}) but nothing to relax; add --relax K")
    if potential != DEFAULT and not with_energies:
        raise InputError(f"a potential ({potential}) but nothing to relax; add --relax K")
    if pressure and not with_energies:
        raise InputError(f"a pressure ({pressure:g} GPa) but nothing to relax; add --relax K")
    if pattern is not None and request.raw:
        raise InputError("a raw run is not ranked; leave out the powder pattern")
    if pattern is None and radiation != USUAL_RADIATION:
        raise InputError(f"a radiation ({radiation}) but no powder pattern; add --pattern FILE")
    measured = None if pattern is None else MeasuredPattern.read(pattern, radiation)
    formats = check_formats(formats)
    folder = None if out is None else Path(out)
    if folder is not None:
        check_free(folder)
    loaded = model if isinstance(model, Model) else load_model(model)
    if crystal is None:
        loaded = with_larger_cells(loaded, request.max_atoms, progress)
    else:
        loaded = model_around(loaded, crystal, request.max_atoms, request.seed)
        sampling = replace(sampling, few_templates=0)  # nothing is enumerated unless asked for
    loaded = loaded.to(usable_device(device))
    phases = reference_phases(known, request.system, progress=progress)
    surrogate_steps = resolve_surrogate_steps(loaded, request.refine, fast=request.fast, settings=sampling)
    seconds = {"load": perf_counter() - start}
    with at_work(workers, device) as running:
        funnel = None
        if with_energies:
            funnel = Funnel.prepare(
                request.system,
                FunnelSettings(
                    potential=potential,
                    confirm=usual_confirmation(potential) if confirm is None else tuple(confirm),
                    limit=relax,
                    seed=request.seed,
                    pressure=pressure,
                ),
                formula=request.formula,
                known=None if known is None else phases,
                workers=running,
                partial=None if folder is None else folder.with_name(f"{folder.name}.partial"),
                progress=progress,
            )
        kept_in = _cache()
        sampler = _sampler(loaded, request, sampling, kept_in, with_energies=funnel is not None)
        judges = () if funnel is None else funnel.settings.judges
        work = expected_work(request, search, relax=relax, minutes=minutes, judges=judges, workers=running.number)
        _log.info("%s", work)
        before = perf_counter()
        screen = Screen(request, composition_filter(request, sampler.formulas, kept_in))
        screen.seconds["plausibility fit"] += perf_counter() - before
        more: dict[str, Any] = {}
        hull = None
        if funnel is None:
            candidates = run(sampler, screen, progress, search)
            seconds |= screen.seconds
        else:
            descent = funnel.descent(progress)
            found = search_rounds(sampler, screen, descent, minutes=minutes, progress=progress)
            outcome = descent.finish()
            candidates, hull = ranked_by_energy(found.candidates, outcome), outcome.hulls[funnel.settings.ranked_by]
            more = {
                "search": found.as_record() | {"sources": source_yields(candidates)},
                "relaxation": funnel.as_record(outcome),
            }
            seconds |= screen.seconds
            seconds |= {"hull": funnel.hull_seconds, **{stage.name: stage.seconds for stage in outcome.stages}}
    if not request.raw:
        before = perf_counter()
        candidates = named(candidates, phases, progress)
        seconds["known phases"] = perf_counter() - before
    if measured is not None:
        candidates, more["pattern"] = measured.rank(candidates)
    candidates = described(candidates, _origin(request, loaded))
    record = {
        "request": request.as_record(),
        "near": None if crystal is None else crystal_record(crystal),
        "symprec": SYMPREC,
        "surrogate_steps": surrogate_steps,
        "model": {"name": loaded.name, "sha256": loaded.checksum, "record": loaded.record},
        "composition": as_record(screen.composition),
        "known": reference_record(phases, request.system) | {"of_formula": _phases_of_formulas(phases, candidates)},
        "versions": versions(),
        "device": device,
        "threads": N_THREADS,
        "formats": formats,
        "counts": candidates.counts,
        "shortfall": candidates.shortfall,
        "caveats": [
            *([] if funnel is None else energy_caveats(funnel.settings.judges, str(request.system), pressure)),
            *([] if measured is None else [measured.caveat]),
            *_caveats(request, loaded),
            *([] if crystal is None else [NEAR_CAVEAT]),
            reference_caveat(phases, request.system),
        ],
        **more,
        "seconds": {stage: round(spent, 3) for stage, spent in (seconds | {"total": perf_counter() - start}).items()},
    }
    result = GenerationResult(**vars(candidates), record=record, hull=hull)
    if folder is not None:
        _write(folder, result, formats, phases)
    if funnel is not None:
        funnel.clear()
    return result


def _request(request: GenerationRequest | str | None, relax: int | None, options: dict[str, Any]) -> GenerationRequest:
    if isinstance(request, GenerationRequest):
        if options:
            raise InputError(
                f"a GenerationRequest was given, and beside it {', '.join(options)}; put all into the request"
            )
        return request
    allowed = {field.name for field in fields(GenerationRequest) if field.name != "system"}
    if unknown := sorted(set(options) - allowed):
        raise TypeError(f"generate() has no argument {unknown[0]!r}; a request has {', '.join(sorted(allowed))}")
    if options.get("num") is None:
        options = options | {"num": usual_num(relax)}
    return GenerationRequest.parse(system=request, **options)


def _check(request: GenerationRequest, relax: int | None, minutes: float | None, workers: int | Workers) -> None:
    check_workers(workers)
    if minutes is not None and not minutes > 0:
        raise InputError(f"{minutes:g} minutes leave no time for a search; give more than 0")
    if (relax is not None or minutes is not None) and request.raw:
        raise InputError("a raw run is not relaxed; relax its folder with cg-evaluate RUN --relax K")
    if relax is not None:
        check_relax(relax)


def _sampler(
    model: Model, request: GenerationRequest, settings: SamplingSettings, trials: Path | None, *, with_energies: bool
) -> Sampler:
    return Sampler(
        model,
        list(request.system.atomic_numbers),
        torch.Generator().manual_seed(request.seed),
        formula=request.formula_counts,
        space_group_number=request.space_group_number,
        min_atoms=request.num_atoms or 1,
        max_atoms=request.num_atoms or request.max_atoms,
        temperature=request.temperature,
        explore=request.explore,
        n_draws=1 if request.raw else settings.n_draws_with_energies if with_energies and not request.fast else None,
        fast=request.fast,
        use_prototypes=not with_energies,  # with energies these compete as crystals of their own
        surrogate_steps=request.refine,
        settings=settings,
        trials=trials,
    )


def _cache() -> Path | None:
    """Where the next run finds what it need not work out again; None where nothing can be kept."""
    try:
        return cache_folder("generation")
    except InputError as error:
        _log.warning("%s; until then templates are tried anew in every run", error)
        return None


def _caveats(request: GenerationRequest, model: Model) -> list[str]:
    """What a reader of the results must know."""
    data = model.record.get("config", {}).get("data")
    if data is None:
        return []
    caveats = []
    left_out = [data["system"], *data.get("holdout_systems", ())]
    if not any(ChemicalSystem.parse(system).contains(request.system) for system in left_out):
        caveats.append(
            f"model {model.name!r} learned from crystals of {request.system} itself (left out: {', '.join(left_out)}): "
            "crystals it proposes here may be ones it has seen"
        )
    if request.max_atoms > (learned := data.get("max_atoms", request.max_atoms)):
        caveats.append(
            f"the generator learned from cells of at most {learned} atoms: larger ones have templates of known "
            "crystals, and it fills them worse"
        )
    return caveats


def _origin(request: GenerationRequest, model: Model) -> dict[str, Any]:
    """Where a crystal comes from: one line, and the parts of it."""
    line = f"crystalgraph {__version__}, model {model.name} (SHA-256 {model.checksum[:12]}), seed {request.seed}"
    return {"origin": line, "seed": request.seed, "model": model.name, "version": __version__}


def _phases_of_formulas(phases: CrystalTable, candidates: Candidates) -> dict[str, int]:
    """How many known phases each selected formula has."""
    counted = Counter(str(Formula.from_atomic_numbers(s.atomic_numbers)) for s in phases.structures)
    return {formula: counted[formula] for formula in sorted({sample.formula for sample in candidates.selected})}


def _write(folder: Path, result: GenerationResult, formats: Sequence[str], phases: CrystalTable) -> None:
    write_run(
        folder,
        structures=result.structures,
        names=result.names,
        drawn_names=result.drawn_names,
        rows=result.rows(result.samples),
        columns=result.columns,
        record=result.record,
        formats=formats,
        relaxed=None if result.outcomes is None else result.relaxed,
        page=lambda unfinished: write_generation_report(unfinished, result.record, result, result.hull, phases),
    )
