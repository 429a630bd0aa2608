"""From a request to ranked crystals: all that ``cg-generate`` does, as one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import check_free
from crystalgraph.io.provenance import versions
from crystalgraph.models.bundle import Model, load_model
from crystalgraph.models.device import usable_device
from crystalgraph.progress import Progress
from crystalgraph.relax.potentials import DEFAULT, usual_confirmation
from crystalgraph.report.generation import write_generation_report
from crystalgraph.report.words import energy_caveats
from crystalgraph.runs.folder import check_formats, write_run
from crystalgraph.runs.reference import reference_caveat, reference_phases, reference_record
from crystalgraph.sampling.sampler import Sampler, resolve_surrogate_steps
from crystalgraph.sampling.settings import USUAL_SAMPLING, SamplingSettings
from crystalgraph.screening.candidates import Candidates, named, ranked_by_energy
from crystalgraph.screening.composition import as_record, composition_filter
from crystalgraph.screening.funnel import Funnel
from crystalgraph.screening.funnel_settings import FunnelSettings
from crystalgraph.screening.request import GenerationRequest, check_relax, usual_num
from crystalgraph.screening.screen import Screen
from crystalgraph.screening.search import USUAL_SEARCH, SearchSettings, run

if TYPE_CHECKING:
    from pandas import DataFrame

    from crystalgraph.crystals.table import CrystalTable
    from crystalgraph.io.load import CrystalSource
    from crystalgraph.relax.hull import Hull

SHOWN = 10
"""Rows that a notebook shows."""

_OPTIONAL_INTEGERS = ("space_group", "rank", "n_steps", "relaxed_space_group")


@dataclass(frozen=True, kw_only=True, repr=False)
class GenerationResult(Candidates):
    """The candidates of a run, and how it was made.

    Attributes:
        record: content of ``run.json``: request, model, versions, counts, caveats, seconds of each stage.
        hull: of the known phases; None where nothing was relaxed.
    """

    record: dict[str, Any]
    hull: Hull | None = None

    def to_dataframe(self, *, all_samples: bool = False) -> DataFrame:
        """The rows of ``candidates.csv``; its columns are those of `crystalgraph.io.columns`.

        Args:
            all_samples: every sample drawn, in draw order, instead of the selected candidates, best first.
        """
        from pandas import DataFrame

        frame = DataFrame(self.rows(self.samples if all_samples else self.selected), columns=self.columns)
        return frame.astype({name: "Int64" for name in _OPTIONAL_INTEGERS if name in frame})

    def __repr__(self) -> str:
        lost = f"; {self.shortfall}" if self.shortfall else ""
        return f"<{len(self)} candidates of {len(self.samples)} samples: {self.request}{lost}>"

    def _repr_html_(self) -> str:
        """The first candidates as a table, for notebooks."""
        from markupsafe import Markup

        from crystalgraph.report.notation import formula_html, group_html

        is_relaxed = self.outcomes is not None
        number, title = ("e_above_hull", "eV/atom above the hull") if is_relaxed else ("score", "score")
        cells = Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.3f}</td><td>{}</td></tr>")
        rows = [
            cells.format(
                place, formula_html(row["formula"]), group_html(_group(row)), row["num_atoms"], row[number], row["file"]
            )
            for place, row in enumerate(self.rows(self.selected[:SHOWN]), start=1)
        ]
        heads = Markup("").join(
            Markup("<th>{}</th>").format(head) for head in ("#", "formula", "space group", "atoms", title, "file")
        )
        more = f"; the first {SHOWN}" if len(self) > SHOWN else ""
        return str(
            Markup("<table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(
                f"{len(self)} of {len(self.samples)} samples: {self.request}{more}", heads, Markup("").join(rows)
            )
        )


def generate(
    request: GenerationRequest | str | None = None,
    *,
    model: Model | str | Path = "nbo",
    relax: int | None = None,
    potential: str = DEFAULT,
    confirm: Sequence[str] | None = None,
    known: CrystalSource | None = None,
    workers: int = 1,
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
        relax: most of the selected crystals to relax, which ranks by energy above the hull; None relaxes none.
        potential: relaxes: of `crystalgraph.relax.potentials.POTENTIALS`, or any ASE calculator as
            ``package.module:factory``.
        confirm: potentials that relax the finalists further; the rank goes by the first. None means
            `crystalgraph.relax.potentials.usual_confirmation`.
        known: known phases, see `crystalgraph.runs.reference.reference_phases`; None means the shipped ones.
        workers: processes that relax; the result does not depend on it.
        device: where the networks run: cpu, cuda, cuda:1, ...
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
    request = _request(request, relax, options)
    _check(request, relax, workers)
    if confirm and relax is None:
        raise InputError(f"potentials to confirm ({', '.join(confirm)}) but nothing to relax; add --relax K")
    formats = check_formats(formats)
    folder = None if out is None else Path(out)
    if folder is not None:
        check_free(folder)
    loaded = (model if isinstance(model, Model) else load_model(model)).to(usable_device(device))
    phases = reference_phases(known, request.system, progress=progress)
    surrogate_steps = resolve_surrogate_steps(loaded, request.refine, fast=request.fast, settings=sampling)
    seconds = {"load": perf_counter() - start}
    funnel = None
    if relax is not None:
        funnel = Funnel.prepare(
            request.system,
            FunnelSettings(
                potential=potential,
                confirm=usual_confirmation(potential) if confirm is None else tuple(confirm),
                limit=relax,
                seed=request.seed,
            ),
            known=None if known is None else phases,
            workers=workers,
            partial=None if folder is None else folder.with_name(f"{folder.name}.partial"),
            progress=progress,
        )
    sampler = _sampler(loaded, request, sampling)
    before = perf_counter()
    screen = Screen(request, composition_filter(request))
    screen.seconds["plausibility fit"] += perf_counter() - before
    candidates = run(sampler, screen, progress, search)
    seconds |= screen.seconds
    relaxation: dict[str, Any] = {}
    if funnel is not None:
        outcome = funnel.run(candidates.structures, progress)
        candidates = ranked_by_energy(candidates, outcome)
        relaxation = {"relaxation": funnel.as_record(outcome)}
        seconds |= {"hull": funnel.hull_seconds, **{stage.name: stage.seconds for stage in outcome.stages}}
    if not request.raw:
        before = perf_counter()
        candidates = named(candidates, phases, progress)
        seconds["known phases"] = perf_counter() - before
    record = {
        "request": request.as_record(),
        "surrogate_steps": surrogate_steps,
        "model": {"name": loaded.name, "sha256": loaded.checksum, "record": loaded.record},
        "composition": as_record(screen.composition),
        "known": reference_record(phases, request.system) | {"of_formula": _phases_of_formulas(phases, candidates)},
        "versions": versions(),
        "device": device,
        "formats": formats,
        "counts": candidates.counts,
        "shortfall": candidates.shortfall,
        "caveats": [
            *([] if funnel is None else energy_caveats(funnel.settings.judges, str(request.system))),
            *_caveats(request, loaded),
            reference_caveat(phases, request.system),
        ],
        **relaxation,
        "seconds": {stage: round(spent, 3) for stage, spent in (seconds | {"total": perf_counter() - start}).items()},
    }
    result = GenerationResult(**vars(candidates), record=record, hull=None if funnel is None else funnel.hull)
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


def _check(request: GenerationRequest, relax: int | None, workers: int) -> None:
    if workers < 1:
        raise InputError(f"workers {workers} is not a number of processes; give 1 or more")
    if relax is not None and request.raw:
        raise InputError("a raw run is not relaxed; relax its folder with cg-evaluate RUN --relax K")
    if relax is not None:
        check_relax(relax)


def _sampler(model: Model, request: GenerationRequest, settings: SamplingSettings) -> Sampler:
    return Sampler(
        model,
        list(request.system.atomic_numbers),
        torch.Generator().manual_seed(request.seed),
        formula=request.formula_counts,
        space_group_number=request.space_group_number,
        max_atoms=request.max_atoms,
        temperature=request.temperature,
        explore=request.explore,
        n_draws=1 if request.raw else None,
        fast=request.fast,
        surrogate_steps=request.refine,
        settings=settings,
    )


def _caveats(request: GenerationRequest, model: Model) -> list[str]:
    """What a reader of the results must know."""
    data = model.record.get("config", {}).get("data")
    if data is None:
        return []
    left_out = [data["system"], *data.get("holdout_systems", ())]
    if any(ChemicalSystem.parse(system).contains(request.system) for system in left_out):
        return []
    caveat = (
        f"model {model.name!r} learned from crystals of {request.system} itself (left out: {', '.join(left_out)}): "
        "crystals it proposes here may be ones it has seen"
    )
    return [caveat]


def _phases_of_formulas(phases: CrystalTable, candidates: Candidates) -> dict[str, int]:
    """How many known phases each selected formula has."""
    counted = Counter(str(Formula.from_atomic_numbers(s.atomic_numbers)) for s in phases.structures)
    return {formula: counted[formula] for formula in sorted({sample.formula for sample in candidates.selected})}


def _write(folder: Path, result: GenerationResult, formats: Sequence[str], phases: CrystalTable) -> None:
    write_run(
        folder,
        structures=result.structures,
        names=result.names,
        rows=result.rows(result.samples),
        columns=result.columns,
        record=result.record,
        formats=formats,
        relaxed=None if result.outcomes is None else result.relaxed,
        page=lambda unfinished: write_generation_report(unfinished, result.record, result, result.hull, phases),
    )


def _group(row: dict[str, Any]) -> int | None:
    """The space group of a candidate, after relaxation where it was relaxed."""
    group: int | None = row.get("relaxed_space_group") or row["space_group"]
    return group
