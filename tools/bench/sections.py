"""The sections of ``docs/benchmarks.md``: what each benchmark shows, with every figure taken from its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scipy.stats.contingency import relative_risk

from tools.bench import tables
from tools.bench.tables import number, percent

Results = Callable[[str], dict[str, Any]]
"""Gives the content of a result file by its name."""

WORDS = """\
- **strictly valid**: no distance below 0.7 of the sum of covalent radii, density 1.5 to 20 g/cm³. Of all samples.
- **above the hull**: energy by a potential, eV/atom, above the convex hull of the known phases relaxed with the same
  potential: the one that the command names, SevenNet-0 where it names none. **Metastable** is at most 0.1 above it,
  **stable** at most 0. **Agreed**: by all potentials that judge, each on its own hull.
- **unique**: the first of its equals (pymatgen's StructureMatcher, default tolerances). **Novel**: equal to no known
  phase of the system. **New**: equal to no crystal of the corpus either, with the asked elements put in in any way that
  keeps the order of electronegativity, roles merged or not: what plain substitution could not have found.
- **SUN**, **MSUN**: stable, or metastable, unique and novel, all after relaxation. *Of relaxed* divides by the crystals
  that were relaxed, a random part of the strictly valid ones; *of budget* multiplies that by the share of all samples
  that could have been relaxed. *Of it new*: MSUN and new, of budget.
- **displacement** (RMSD): root mean square, in Å, from the crystal as drawn to the relaxed one, over those that match;
  in brackets their share.
- **held-out templates**: a template is a space group and the Wyckoff positions that are occupied. A tenth of all
  prototypes is left out of training; one real crystal of each is the truth, its template is given, and a draw
  **matches** if StructureMatcher says so. *n draws*: one of the first n does.
- **screened**: what `cg-generate` keeps. Its rates are **of what is kept**, not of what was drawn for it.
- Behind a rate stands its 95 % Wilson interval.
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page.

    Attributes:
        name: anchor, and the result file that the README links to.
        title: heading.
        results: files whose provenance is shown, in this order.
        body: purpose, tables and caveats, from the results.
    """

    name: str
    title: str
    results: tuple[str, ...]
    body: Callable[[Results], str]


def peers(results: Results) -> str:
    """Nb-O at equal samples."""
    record = results("peers")
    ours, raw, other = (record["arms"][name]["equal_samples"] for name in ("screened", "raw", "substitution"))
    by_all, raw_by_all, other_by_all = (tables.agreed(arm) for arm in (ours, raw, other))
    n_drawn = tables.drawn(ours)
    budget, new = (by_all[f"{what}_of_budget"]["value"] for what in ("msun", "msun_new"))
    kept = ours["samples"] / n_drawn
    return f"""\
All arms under one ruler: {_seeds(record)} of {record["samples"]} samples each, of every seed {record["relaxed"]} of
the strictly valid ones picked at random and relaxed.

{tables.peers(record["arms"])}
{_judges(record)}

{tables.judges(record["arms"])}
![Agreed MSUN of budget, with intervals](../tools/results/peers.png)

- Screened samples are {ours["samples"]:,} of {n_drawn:,} drawn. Per sample drawn agreed MSUN is
  {number(budget * kept)}, of it new {number(new * kept)}; what is outranked is never relaxed.
- By agreement, of {ours["relaxed"]} relaxed of each arm, {_counts(by_all, "msun")} of the screen are MSUN,
  {_counts(raw_by_all, "msun")} of raw samples, {_counts(other_by_all, "msun")} of substitution: the screen gives
  {_times(by_all, other_by_all)} times as many as substitution, raw samples {_times(raw_by_all, other_by_all)} times.
  New are {_counts(by_all, "msun_new")}, {_counts(raw_by_all, "msun_new")} and {_counts(other_by_all, "msun_new")}.
- The model has learned CHGNet's energies (of other systems), which has no part in the judgement.
- Substitution passes known phases over before they count as samples, ours does not.
- That templates weigh more that leave more free was noticed on raw samples of Nb–O: Nb–O is no blind test of it.
- CPU seconds leave the start of an arm out: {number(raw["setup_seconds"], 0)} s for ours, to fill templates on trial.
"""


def chosen(results: Results) -> str:
    """What a run with energies relaxes."""
    record, others = results("peers_chosen"), results("peers")["arms"]
    ours = record["arms"]["chosen"]["equal_samples"]
    by_all = tables.agreed(ours)
    screened, other = (tables.agreed(others[name]["equal_samples"]) for name in ("screened", "substitution"))
    return f"""\
What `cg-generate --relax {record["relaxed"]}` relaxes of all that it draws: the learned score drops the worse half,
the rest gets an energy, and what energies say is chosen, round after round. All of it is relaxed again from where it
was drawn and judged as above; known phases are among it and count as no MSUN. {_seeds(record)}.

{tables.peers(record["arms"])}
{tables.judges(record["arms"])}
- By agreement {_counts(by_all, "msun")} of {ours["relaxed"]} are MSUN, {_counts(by_all, "msun_new")} of them new: a
  share {_times(by_all, other)} times that of substitution and {_times(by_all, screened)} times that of the screen.
- The CPU seconds for what is drawn hold single points, first steps and the relaxations that choose.
- The model has learned CHGNet's energies, which have no part in choice or judgement; SevenNet-0 and SevenNet-l3i5
  have a part in both, DIEP in the judgement alone.
"""


def orders(results: Results) -> str:
    """What the score is worth."""
    return f"""\
The same relaxed crystals: Spearman's rank correlation of what is known before relaxation with a low energy above the
hull after it, over all and within formulas, and how many of the first tenth are metastable. The last columns are the
correlations with the energies that the other potentials give to the same relaxed crystals as they lie.

{tables.orders(results("peers")["arms"])}
- The score has learned CHGNet's energies; DIEP has learned from other data than the other potentials.
- The model has seen no crystal of Nb–O, and no energy of a crystal with both elements: it orders crystals of one
  formula better than formulas.
- Raw samples are of templates that score high for their formula, screened ones are the best quarter of each formula:
  among the ones that are kept the rank says little. Relax them.
"""


def other_systems(results: Results) -> str:
    """Ti-O and Mg-Mn-O."""
    parts = []
    for name in ("peers_tio", "peers_mgmno"):
        record = results(name)
        ours = record["arms"]["screened"]["equal_samples"]
        parts.append(
            f"**{_system(record)}**, {record['samples']} samples, {record['relaxed']} relaxed, "
            f"{_seeds(record)}; screened: {ours['samples']:,} of {tables.drawn(ours):,} drawn.\n\n"
            f"{tables.peers(record['arms'])}\n{tables.judges(record['arms'])}\n"
            f"![Agreed MSUN of budget, with intervals](../tools/results/{name}.png)\n\n"
            f"{tables.orders(record['arms'])}"
        )
    return "Two other systems that were held out of training.\n\n" + "\n".join(parts)


def races(results: Results) -> str:
    """Nb-O at equal CPU time."""
    record = results("peers_time")
    arms = {name: arm["equal_time"] for name, arm in record["arms"].items()}
    spent = {name: sum(found["spent_seconds"].values()) / 60 for name, found in arms.items()}
    # A last round may run over, and what it finds then does not count; the search's finds come at its end.
    minutes = {name: own if name == "search" else min(own, record["cpu_minutes"]) for name, own in spent.items()}

    def per_minute(name: str, what: str) -> float:
        found = tables.agreed(arms[name])
        return found[what]["mean"] / minutes[name] if found else 0.0

    def beside(name: str, what: str) -> str:
        ours, other = per_minute("search", what), per_minute(name, what)
        return f"{number(other, 1)}" + (f" (the search: {number(ours / other, 1)} times as many)" if other else "")

    others = "\n".join(
        f"  - {record['arms'][name]['title']}: {beside(name, 'msun')}; of these new: {beside(name, 'msun_new')}."
        for name in arms
        if name != "search"
    )
    kinds = ""
    if "evolution" in arms:
        kinds += """\
- The evolutionary search starts from random crystals and has variable composition and CrySPY's operators; all that it
  makes is relaxed, by the same potential, and its fitness is the energy above the hull of the known phases. It is
  spared the last relaxation of the other arms, to smaller forces and from a rattled crystal.
"""
    if "files" in arms:
        kinds += """\
- WyFormer's crystals come of its small published weights, an early model, coordinates by PyXtal; its training set may
  hold Nb–O. It is a floor for that peer. Making them is charged to nobody.
"""
    return f"""\
Drawing, single points and relaxations share {record["cpu_minutes"]:g} CPU minutes. Sources of crystals go through the
funnel of `cg-generate --relax`, relaxed by {record["judges"][0]["name"]}, and what is not found in time does not count;
*search* is what `cg-generate --minutes` hands over, and what all of it cost. All finds are then judged by all
potentials, which is charged to nobody. Distinct crystals, mean over {_seeds(record)}, in brackets each seed.

{tables.races(record["arms"])}
![Finds against CPU time](../tools/results/peers_time.png)

- Agreed MSUN per CPU minute of the search: {number(per_minute("search", "msun"), 1)}; of these new:
  {number(per_minute("search", "msun_new"), 1)}. Of the others:
{others}
{kinds}"""


def raw(results: Results) -> str:
    """Raw samples of Nb-O."""
    records = {"three passes": results("raw"), "one pass (`--fast`)": results("raw_fast")}
    found = records["three passes"]
    return f"""\
What the generator draws, nothing filtered or chosen. *Unique* is of the valid, *new* of all samples. *But for merged
roles*: only crystals of as many elements are put in, what plain substitution would try.

{tables.raw(records)}
- {percent(found["equal to a known phase"], 1)} of the first are known phases that were never trained on
  ({found["known phases found"]} different ones).
- Volume per atom is compared where a known oxide has the formula: {found["samples of known formulas"]} samples.
"""


def heldout(results: Results) -> str:
    """Held-out templates with the shipped weights."""
    record = results("heldout_shipped")
    n, gaps = record["n_draws"], record["energy_gap"]
    return f"""\
{record["n_templates"]} templates that were never trained on, {record["n_simple"]} of them *simple*: at most 16 atoms, 8
orbits and 3 elements. *Not refined* leaves the steps downhill in the learned energy out. No training crystal is
recalled.

{tables.heldout(record["arms"], n)}
*Relatives* are training crystals that are the same arrangement under the matcher's tolerances, whatever the elements.

{tables.relatives(record["arms"], record["n_related"], record["n_templates"], n)}
By the number of parameters that a template leaves free:

{tables.freedom(record["arms"], n)}
Compounds of the systems that were held out (Nb–O, Ti–O, Mg–Mn–O):

{tables.heldout([record["systems"]], n)}
- The lowest of {gaps["templates"]["draws"]} draws lies {number(gaps["templates"]["median"], 3)} eV/atom above the real
  crystal in the median, by CHGNet and unrelaxed, for {percent(gaps["templates"]["within_0.03"])} within 0.03; of the
  compounds of held-out systems {number(gaps["systems"]["median"], 3)}, {percent(gaps["systems"]["within_0.03"])}.
"""


def splits(results: Results) -> str:
    """Held-out templates of several splits."""
    record = results("splits")
    return f"""\
How much of a figure is the luck of the split: the generator alone, without choice or steps downhill, trained briefly
for each of {len(record["splits"])} splits. The last row is the mean with its standard deviation over splits.

{tables.splits(record["splits"], record["n_draws"])}"""


def parts(results: Results) -> str:
    """What each part of the generator adds."""
    record = results("heldout")
    return f"""\
{record["n_templates"]} held-out templates, {record["n_simple"]} of them simple; from random parameters to the whole.
*+ adversarial* is the generator alone, without choice or steps downhill.

{tables.heldout(record["arms"], record["n_draws"])}
- The adversarial phase, with its term against atoms too close, buys validity, not matches.
"""


def prediction(results: Results) -> str:
    """Crystals of held-out formulas."""
    record = results("prediction")
    ours, nearest = (record["groups"]["all"][arm] for arm in ("ranked", "nearest prototypes"))
    n = max(int(key.removeprefix("match_")) for key in ours if key.startswith("match_"))
    verdicts = [tables.is_no_better(ours[f"match_{k}"], nearest[f"match_{k}"]) for k in (1, n)]
    verdict = "**no better than** plain substitution of" if all(verdicts) else "beside plain substitution of"
    return f"""\
Formula and size of the primitive cell are given, a tenth of all formulas is held out of training with all polymorphs,
{ours["cases"]} of these crystals are the cases. Matched with the tolerances of CDVAE and DiffCSP (0.3, 0.5, 10°); RMSE
is over (volume per atom)^(1/3). *Ranked*: the different ones that come first by score and template, of
{record["n_drawn"]} drawn and as many known crystals, as `cg-generate` ranks without energies; *nearest prototypes*:
training crystals of as many atoms and the same stoichiometry, those with the nearest elements first, *likeliest* those
that the model takes for such.

{tables.prediction(record["groups"])}
- Ranked, ours finds {_both(ours, n)} with one sample and with {n}, {verdict} the nearest prototypes,
  {_both(nearest, n)}, which are a part of it: known crystals compete with what is generated.
- No template fits {ours["without_samples"]} of the cases; for {nearest["without_samples"]} there is no prototype.
{_predicted_with_energies(record)}\
- On MP-20, which has other crystals, DiffCSP reports 0.52 and 0.78 (Jiao et al., NeurIPS 2023).
"""


def _predicted_with_energies(record: dict[str, Any]) -> str:
    """What the arms with energies are, where a result has them."""
    energies = record.get("energies")
    if not energies:
        return ""
    text = f"""\
- *By single points*: the different ones with the lowest energies by {energies["name"]}, of {record["n_prototypes"]}
  nearest prototypes, and of what `cg-generate` gives an energy. It has learned from crystals of any formula.
- Every polymorph is a case of its own, and the lowest energy names one crystal for all polymorphs of a formula.
"""
    if times := energies["cpu_seconds"]:
        spent = ", ".join(f"{number(own['mean'], 0)} s, {name}" for name, own in times.items())
        most = number(max(own["most"] for own in times.values()), 0)
        text += f"""\
- *Relaxed*: the first {energies["relaxed"]} of these, by the energy they end with. CPU time of a case: {spent}; at most
  {most} s.
"""
    return text


def rediscovery(results: Results) -> str:
    """Known phases found again."""
    record = results("rediscovery")
    reach, counts = record["within_reach"], record["counts"]
    with_energy = record["with_energy"]
    return f"""\
Known phases of {_system(record)}, none of them trained on, that a search of 30 CPU minutes finds again; judging its
finalists is not counted. {counts["drawn"]:,} crystals were drawn, {with_energy:,} got an energy,
{record["passed the funnel"]} different ones are left after relaxation, {record["of them agreed"]} of them metastable by
all three potentials, in {number(record["wall_minutes"], 0)} minutes on two cores, finalists included. Of the
{len(reach["known"])} phases within reach, of at most {record["max_atoms"]} atoms and metastable by DFT's hull,
{tables.rate(reach["found"])} are among the relaxed; of all {record["known"]} known phases, {record["found_relaxed"]}.

{tables.rediscovery(record["phases"])}
Within reach and missed:

{tables.missed(record["phases"], reach["missed"])}
- *Unseen*: no crystal that was learned from has the template, the elements aside.
"""


def funnel(results: Results) -> str:
    """What the funnel loses and saves."""
    record = results("funnel")
    choice, gain = record["choice"], record["funnel_over_relaxing_everything"]["metastable_per_evaluation"]
    return f"""\
{record["relaxed"]} screened crystals of {_system(record)}, all relaxed to the end, {record["metastable"]} of them
metastable; the rules of `cg-generate --relax` are then applied on paper. Giving up what is still high after some steps,
with the limits times a factor:

{tables.funnel(record)}
- The choice by {record["calculator"]["name"]} before relaxation relaxes {percent(choice["relaxed"])} and keeps
  {percent(choice["kept"])} of the metastable. Both together find {number(gain, 1)} times as many metastable crystals
  per energy evaluation as relaxing everything.
"""


def speed(results: Results) -> str:
    """Crystals per second."""
    record = results("generate")
    return f"""\
One core: draw, strict check and score of every sample, once templates have been filled on trial, beside PyXtal's random
crystals of the same compositions, in random groups and in the groups of ours. `cg-generate` takes the best of sixteen
draws, `--raw` one; both move them downhill in the learned energy, which takes most of the time. `--fast` is one draw in
one pass.

{tables.speed(record)}"""


def judge(results: Results) -> str:
    """Potentials against DFT."""
    record = results("judge")
    watched = "; ".join(
        f"{potential} {number(energies['mp-1095187'], 3)}" for potential, energies in record["watched"].items()
    )
    return f"""\
Potentials against the Materials Project's DFT, over compounds with DFT energies (their number in brackets), at DFT's
geometry: mean absolute error of the formation energy / of the energy above the hull, eV/atom / Spearman's rank
correlation of the latter. SevenNet and CHGNet learned from many of these compounds; DIEP did not, and its functional is
another. *All*: {record["systems"]} systems.

{tables.judge(record)}
The hulls that ship, of crystals that each potential relaxed; *structure kept*: without those that relax into another
structure.

{tables.judge_relaxed(record)}
- Nb2O3 (mp-1095187), 0.080 eV/atom above the hull by DFT: {watched}.
- *Below the hull* by less than these errors shows nothing.
"""


def foreign(results: Results) -> str:
    """Other tools' crystals."""
    record = results("foreign")
    by_method = "\n".join(
        f"- {method}: " + ", ".join(f"{name} {number(found['spearman'], 2)}" for name, found in by_name.items())
        for method, by_name in record["by_method"].items()
    )
    return f"""\
{record["crystals"]:,} crystals of four other tools (CDVAE, CrystaLLM, ion exchange, MatterGen; published with DFT
decomposition energies by Szymanski and Bartel, MIT licence), as their files have them, each measured from the hull of
the corpus's known phases of its system by the same potential. The corpus is a sample of the Materials Project, so
hulls are too high where it lacks a phase. None of these files was learned from, but what a tool made may equal a
crystal of the corpus, which the *learned score* (that of the shipped weights) has seen; that was not looked for.
Potentials have learned from the Materials Project, too.

{tables.foreign(record)}
Spearman's rank correlation by method, as the files have them:

{by_method}
{_foreign_relaxed(record) if record.get("relaxed") else ""}"""


def _foreign_relaxed(record: dict[str, Any]) -> str:
    """Other tools' crystals after relaxation."""
    first = next(iter(record["potentials"]))
    return f"""
{record["relaxed"]["of_each"]} of each method, picked at random, were relaxed by {first}; DFT relaxed them, too. Shares
of those picked, each column of what the one before it leaves: metastable by all of {", ".join(record["potentials"])};
unique within the method; equal to no crystal of the corpus; equal to none with these elements put in. Ours are of other
systems and stand [above](#peers).

{tables.foreign_shares(record)}"""


def formation_energy(results: Results) -> str:
    """A graph network of twenty lines."""
    record = results("formation_energy")
    return f"""\
The graphs of `CrystalGraphDataset` in use: twenty lines of PyG learn the formation energies of {record["training"]:,}
oxides; {record["test"]:,} oxides of held-out formulas are predicted.

{tables.formation_energy(record)}"""


def search(results: Results) -> str:
    """Textbook compounds."""
    record = results("search")
    settings, within = record["settings"], record["textbook"]
    first, three = (tables.rate(within[f"within_{n}"]) for n in (1, 3))
    confirm = " and ".join(settings["confirm"])
    return f"""\
What `cg-generate --formula F --relax {settings["relax"]}` makes of {len(record["cases"])} textbook compounds.
{settings["potential"]} relaxes, {confirm} confirm, and the first of these ranks. The ground state is first for
{first}, among the first three for {three}. It is a test of use, not of generalisation: most of these crystals are in
the training set, where the search finds them as prototypes. CPU time, with another measurement beside it, holds
the hull of the known phases, too, which is made once for a system; its part is wall time, while other work ran.

{tables.search(record["cases"])}"""


def engine(results: Results) -> str:
    """What the engine costs and what the optimisers give."""
    record = results("engine")
    lines = [
        f"- Beside {name}: {number(one['ratio'], 2)} times as many converged crystals per CPU minute. Of the "
        f"{one['both']} that converge by both, {one['within_or_lower']} end within 5 meV/atom of it or lower."
        for name, one in (
            ("ASE's FIRE with SevenNet-0 as its package makes it", record["optimisers"]["as_made"]),
            ("FIRE with ours, whose layers are packed", record["optimisers"]["packed"]),
        )
    ]
    added, twice = record["overhead"] * 100, number(record["two_workers"], 2)
    return f"""\
{record["relaxations"]} raw samples of at most {record["max_atoms"]} atoms, relaxed by {record["potential"]} on idle
cores; imports and the making of calculators are not counted. All three gave
{"the same bytes" if record["same"] else "different results"}.

{tables.engine(record)}
- A worker takes {number(abs(added), 1)} % {"more" if added > 0 else "less"} time than the loop; two are {twice} times
  as fast as one.
{chr(10).join(lines)}
"""


def scale(results: Results) -> str:
    """How time and memory grow with the number of crystals."""
    rows = results("scale")["rows"]
    read, judged = ([row for row in rows if row["stage"].startswith(stage)] for stage in ("read", "cg-evaluate"))
    each = (read[-1]["memory_mb"] - read[0]["memory_mb"]) * 1000 / (read[-1]["crystals"] - read[0]["crystals"])
    return f"""\
Raw samples of Nb–O of at most 12 atoms, and copies whose cells and atoms were moved at random, as one extxyz: read and
checked, and evaluated as `cg-evaluate` does, page and files included, without energies and training crystals. CPU
seconds of a process of its own, imports included.

{tables.scale(rows)}
![CPU time and memory against the number of crystals](../tools/results/scale.png)

- All crystals of a source are held in memory, {number(each, 0)} kB each while they are read. An evaluation of
  {judged[-1]["crystals"]:,} takes {number(judged[-1]["memory_mb"] - judged[0]["memory_mb"], 0)} MB more than one of
  {judged[0]["crystals"]:,}.
"""


def thousand_workers(results: Results) -> str:
    """What many workers are limited by."""
    record = results("thousand_workers")
    fastest = max(one["tasks_per_second"] for one in record["means"])
    lost = sum(one["lost"] for one in record["means"])
    return f"""\
{record["workers"]:,} simulated workers of one scheduler, all on one machine of {record["cores"]} cores, the client too.
A task has the arguments and the answer of a relaxation and sleeps for one of the times that relaxations took, scaled to
a mean; each worker has {record["means"][0]["tasks"] // record["workers"]}, and at the end all wait for the longest.
{lost} tasks were lost.

{tables.thousand_workers(record)}
- No more than {number(fastest, 0)} tasks a second go through: {record["workers"]:,} workers are busy where a task takes
  {number(record["workers"] / fastest, 0)} s or more on average. Larger crystals do; small ones want fewer workers.
- The scheduler's memory grows with the tasks that it has seen, as it keeps a log of them.
"""


SECTIONS = (
    Section(name="peers", title="Beside what one would try without us", results=("peers",), body=peers),
    Section(name="peers_chosen", title="What `--relax` chooses", results=("peers_chosen",), body=chosen),
    Section(name="orders", title="What the score is worth", results=("peers",), body=orders),
    Section(name="other-systems", title="Ti–O and Mg–Mn–O", results=("peers_tio", "peers_mgmno"), body=other_systems),
    Section(name="peers_time", title="At equal CPU time", results=("peers_time",), body=races),
    Section(name="raw", title="Raw samples", results=("raw", "raw_fast"), body=raw),
    Section(
        name="heldout_shipped",
        title="Templates that were never trained on",
        results=("heldout_shipped",),
        body=heldout,
    ),
    Section(name="splits", title="The same for several splits", results=("splits",), body=splits),
    Section(name="heldout", title="What each part adds", results=("heldout",), body=parts),
    Section(name="prediction", title="Structure prediction", results=("prediction",), body=prediction),
    Section(name="search", title="Textbook ground states", results=("search",), body=search),
    Section(name="rediscovery", title="Known phases found again", results=("rediscovery",), body=rediscovery),
    Section(name="funnel", title="What the funnel loses and saves", results=("funnel",), body=funnel),
    Section(name="generate", title="Speed", results=("generate",), body=speed),
    Section(name="scale", title="Many crystals", results=("scale",), body=scale),
    Section(name="engine", title="The engine", results=("engine",), body=engine),
    Section(
        name="thousand_workers",
        title="A thousand workers",
        results=("thousand_workers",),
        body=thousand_workers,
    ),
    Section(name="judge", title="Potentials against DFT", results=("judge",), body=judge),
    Section(name="foreign", title="Other tools' crystals against DFT", results=("foreign",), body=foreign),
    Section(
        name="formation_energy",
        title="A graph network of twenty lines",
        results=("formation_energy",),
        body=formation_energy,
    ),
)
"""In the order of the page."""


def _judges(record: dict[str, Any]) -> str:
    first, *others = (judge["name"] for judge in record["judges"])
    below = number(record["funnel"]["finalists_below"])
    return (
        f"{first} relaxes; what it leaves at most {below} eV/atom above its hull is relaxed on by\n"
        f"{' and '.join(others)}, and all else counts as metastable by none of them:"
    )


def _counts(rates: Mapping[str, Any], what: str) -> int:
    return rates[f"{what}_of_relaxed"]["numerator"]


def _times(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """How many times as many of the relaxed are MSUN, with the 95 % interval (Katz)."""
    rates = [of["msun_of_relaxed"] for of in (one, other)]
    found = relative_risk(*(rate[key] for rate in rates for key in ("numerator", "denominator")))
    low, high = found.confidence_interval(0.95)
    return f"{number(rates[0]['value'] / rates[1]['value'], 1)} ({number(low, 1)}–{number(high, 1)})"


def _both(arm: dict[str, Any], n: int) -> str:
    return " and ".join(number(arm[f"match_{k}"]["value"]) for k in (1, n))


def _system(record: dict[str, Any]) -> str:
    return record["system"].replace("-", "–")


def _seeds(record: dict[str, Any]) -> str:
    n = len(record["seeds"])
    return f"{n} seed{'s' * (n > 1)}"
