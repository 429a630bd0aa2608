"""All tables of results as Markdown. A cell is a count, a `number`, or a `rate` with its 95 % Wilson interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crystalgraph.evaluation.rates import Rate
from tools.bench.results import MEASUREMENTS, is_of_shipped, load, shipped_weights

Record = Mapping[str, Any]

NOTHING = "–"
"""A cell without a figure."""

RANKED_BY = {
    "discriminator": "learned energy (score)",
    "rank": "rank, as `cg-generate` gives it",
    "single point": "single point by what relaxes",
}
"""What orders crystals -> its title; other orders are single points by the potential of that name."""

TEMPLATES = {True: "learned from", False: "unseen", None: NOTHING}
"""Whether the template of a known phase is that of a crystal that was learned from -> what a table says."""

GROUPS = ("all", "related", "unrelated")
"""Which held-out templates a rate of a split is over."""


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; every row has as many cells as there are titles."""
    if any(len(row) != len(titles) for row in rows):
        raise ValueError(f"rows of {sorted({len(row) for row in rows})} cells under {len(titles)} titles")
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float | None, digits: int = 2) -> str:
    """A number, thousands set apart."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    """A share or an error as per cent."""
    return NOTHING if value is None else f"{100 * value:.{digits}f} %"


def interval(record: Record, digits: int = 2) -> str:
    """The 95 % interval of a rate."""
    low, high = record["interval"]
    return f"{low:.{digits}f}–{high:.{digits}f}"


def rate(record: Record | None, digits: int = 2) -> str:
    """A rate with its 95 % interval."""
    if record is None or "absent" in record:
        return NOTHING
    return f"{number(record['value'], digits)} ({interval(record, digits)})"


def flat(arm: Record, name: str) -> dict[str, Any]:
    """A rate that stands in a record beside its interval, as one."""
    return {"value": arm[name], "interval": arm[f"{name}_interval"]}


def share(numerator: int, denominator: int) -> dict[str, Any]:
    """A rate from its counts."""
    return Rate(numerator=numerator, denominator=denominator).record()


def drawn(samples: Record) -> int:
    """Samples that were drawn for those that an arm gave: more where it chose among them."""
    remarks = [seed["remarks"] for seed in samples.get("per_seed", {}).values()]
    chosen = sum(found.get("samples drawn", 0) for found in remarks)
    return chosen or samples["samples"]


def peers(arms: Record) -> str:
    """All arms at equal samples."""
    titles = ["", "samples", "strictly valid", "displacement, Å (matched)", "median above hull, eV/atom"]
    titles += ["MSUN of relaxed", "MSUN of budget", "of it new", "s / 100", "s / relaxation"]
    rows = []
    for arm in arms.values():
        if (found := arm.get("equal_samples")) is None:
            continue
        matched = found["rmsd_matched"]
        n, n_drawn = found["samples"], drawn(found)
        cells = [arm["title"], f"{n:,}" if n == n_drawn else f"{n:,} of {n_drawn:,} drawn", rate(found["strict"])]
        cells += [f"{number(found['rmsd'])} ({number(matched and matched['value'])})"]
        cells += [number(found["e_above_hull_median"], 3)]
        cells += [rate(found[what]) for what in ("msun_of_relaxed", "msun_of_budget", "msun_new_of_budget")]
        cells += [number(found["seconds_per_100_drawn"], 1), number(found["seconds_per_relaxation"], 1)]
        rows.append(cells)
    return markdown(titles, rows)


def agreed(figures: Record) -> Record:
    """The rates or finds by agreement of all judges; by the only one where one judged alone; none without finds."""
    by_judge: Record = figures["by_judge"]
    return by_judge[list(by_judge)[-1]] if by_judge else {}


def judges(arms: Record) -> str:
    """MSUN by each potential, and by all; empty where one judged alone."""
    found = [
        (arm["title"], arm["equal_samples"].get("by_judge", {})) for arm in arms.values() if "equal_samples" in arm
    ]
    if not found or len(found[0][1]) < 2:
        return ""
    names = list(found[0][1])
    titles = ["MSUN of relaxed by", *names, "of budget, agreed", "of it new"]
    rows = [
        [
            title,
            *(rate(of[name]["msun_of_relaxed"]) for name in names),
            *(rate(of[names[-1]][what]) for what in ("msun_of_budget", "msun_new_of_budget")),
        ]
        for title, of in found
    ]
    return markdown(titles, rows)


def orders(arms: Record) -> str:
    """How well what is known before relaxation orders the relaxed crystals of all arms, by each potential."""
    shown = [arm for arm in arms.values() if "equal_samples" in arm]
    others = list(shown[0]["equal_samples"].get("ranking_by", {}))
    titles = ["", "ordered by", "rank correlation", "within formulas", "metastable, top tenth", "of all"]
    rows = [
        [
            arm["title"],
            RANKED_BY.get(order, f"single point by {order}"),
            number(found["spearman"]),
            number(found["spearman_within_formulas"]),
            rate(found["metastable_of_top_tenth"]),
            rate(found["metastable"]),
            *(number(arm["equal_samples"]["ranking_by"][other][order]["spearman"]) for other in others),
        ]
        for arm in shown
        for order, found in arm["equal_samples"]["ranking"].items()
    ]
    return markdown([*titles, *(f"correlation with {other}" for other in others)], rows)


def races(arms: Record) -> str:
    """All arms at equal CPU time: distinct crystals, mean over seeds, and of each seed, by each judge."""
    found = {arm["title"]: arm["equal_time"] for arm in arms.values() if "equal_time" in arm}
    judges = next((list(race["by_judge"]) for race in found.values() if race["by_judge"]), [])
    shown = [(judge, what) for what in ("msun", "msun_new") for judge in judges]
    titles = ["", "CPU minutes spent", "drawn", "relaxed"]
    titles += [f"MSUN{', new' * (what == 'msun_new')}: {judge}" for judge, what in shown]
    rows = []
    for title, race in found.items():
        cells = [title, number(sum(race["spent_seconds"].values()) / 60, 1)]
        cells += [number(race["counts"][what], 0) for what in ("drawn", "relaxed")]
        for judge, what in shown:
            if (own := race["by_judge"].get(judge, {}).get(what)) is None:
                cells.append("0")
            else:
                cells.append(f"{number(own['mean'], 1)} ({', '.join(map(str, own['per_seed']))})")
        rows.append(cells)
    return markdown(titles, rows)


def heldout(arms: Sequence[Record], n_draws: int) -> str:
    """Held-out templates, or compounds of held-out systems, filled."""
    titles = ["", "strictly valid", "match, 1 draw", f"match, {n_draws} draws"]
    titles += ["simple: 1 draw", f"simple: {n_draws} draws", "volume error"]
    names = ("match_1", f"match_{n_draws}", "simple_match_1", f"simple_match_{n_draws}")
    rows = [
        [
            arm["arm"],
            number(arm["strict"], 3),
            *(rate(flat(arm, name)) for name in names),
            percent(arm["volume_error"], 1),
        ]
        for arm in arms
    ]
    return markdown(titles, rows)


def relatives(arms: Sequence[Record], n_related: int, n: int, n_draws: int) -> str:
    """Held-out templates with and without relatives among the training crystals."""
    titles = ["", f"{n_related} with relatives: 1 draw", f"{n_draws} draws"]
    titles += [f"{n - n_related} without: 1 draw", f"{n_draws} draws"]
    names = [f"{group}_match_{k}" for group in ("related", "unrelated") for k in (1, n_draws)]
    return markdown(titles, [[arm["arm"], *(rate(flat(arm, name)) for name in names)] for arm in arms])


def freedom(arms: Sequence[Record], n_draws: int) -> str:
    """Held-out templates by their number of free parameters."""
    by_arm = {arm["arm"]: arm[f"match_{n_draws}_by_free_parameters"] for arm in arms}
    columns = next(iter(by_arm.values()))
    titles = ["", *(f"{label} free ({found['n']}): {n_draws} draws" for label, found in columns.items())]
    rows = [
        [name, *(rate(share(part["matched"], part["n"])) for part in found.values())] for name, found in by_arm.items()
    ]
    return markdown(titles, rows)


def splits(rows: Sequence[Record], n_draws: int) -> str:
    """A row for every split, and their mean with its standard deviation."""
    columns = [(name, n) for name in GROUPS for n in (1, n_draws)]
    titles = ["split", "templates, with relatives", "strictly valid"]
    titles += [f"{name}: {n} draw{'s' * (n > 1)}" for name, n in columns]
    values = np.array([[row[name][f"match_{n}"]["value"] for name, n in columns] for row in rows])
    spread = values.std(0, ddof=1) if len(rows) > 1 else np.full(len(columns), np.nan)
    means = [f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in zip(values.mean(0), spread, strict=True)]
    cells = [
        [str(row["split"]), f"{row['all']['n']}, {row['related']['n']}", number(row["strict"], 3)]
        + [number(row[name][f"match_{n}"]["value"]) for name, n in columns]
        for row in rows
    ]
    return markdown(titles, [*cells, ["mean", "", "", *means]])


def prediction(groups: Record) -> str:
    """Structure prediction: match rates, and RMSE over (volume per atom)^(1/3)."""
    n = max(int(key.removeprefix("match_")) for key in groups["all"]["drawn"] if key.startswith("match_"))
    titles = ["", "", "cases", "match, 1 sample", "RMSE", f"match, {n} samples", "RMSE"]
    rows = []
    for group, arms in groups.items():
        for place, (arm, found) in enumerate(arms.items()):
            cells = [group if place == 0 else "", arm, f"{found['cases']:,}"]
            for k in (1, n):
                cells += [rate(found[f"match_{k}"]), number(found[f"rmse_{k}"], 3)]
            rows.append(cells)
    return markdown(titles, rows)


def raw(records: Mapping[str, Record]) -> str:
    """Raw samples, a row for each way to draw them."""
    titles = ["", "samples", "strictly valid", "unique of valid", "new", "new, but for merged roles", "group above 2"]
    titles += ["groups", "formulas", "median volume error"]
    rows = [
        [title, f"{found['samples']:,}", number(found["strictly valid"], 3)]
        + [number(found[what]) for what in ("unique of valid", "new", "new, but for merged roles")]
        + [number(found["space group above 2"], 3), str(found["distinct space groups"])]
        + [str(found["distinct formulas"]), percent(found["median volume error, known formulas"], 1)]
        for title, found in records.items()
    ]
    return markdown(titles, rows)


def rediscovery(phases: Sequence[Record]) -> str:
    """The known phases that were found among the relaxed, best first."""
    titles = ["", "id", "space group", "known as", "template", "rank by energy"]
    places = {phase["id"]: int(phase["relaxed"][0].split("_")[0]) for phase in phases if phase["relaxed"]}
    rows = [
        [
            phase["formula"],
            phase["id"],
            str(phase["space_group_number"]),
            phase["origin"],
            TEMPLATES[phase["template_seen"]],
            str(places[phase["id"]]),
        ]
        for phase in sorted((p for p in phases if p["relaxed"]), key=lambda p: places[p["id"]])
    ]
    return markdown(titles, rows)


def missed(phases: Sequence[Record], ids: Sequence[str]) -> str:
    """Known phases that are not among the relaxed, lowest above DFT's hull first."""
    titles = ["", "id", "space group", "atoms", "above DFT's hull, eV/atom", "template", "how far it came"]
    rows = [
        [
            phase["formula"],
            phase["id"],
            str(phase["space_group_number"]),
            str(phase["atoms"]),
            number(phase["dft_e_above_hull"], 3),
            TEMPLATES[phase["template_seen"]],
            "drawn, but became another" if phase["kept"] else "not among what was kept",
        ]
        for phase in sorted(phases, key=lambda phase: phase["dft_e_above_hull"] or 0.0)
        if phase["id"] in ids
    ]
    return markdown(titles, rows)


def funnel(record: Record) -> str:
    """What giving relaxations up early keeps and saves, by the factor on the limits."""
    titles = ["limits of giving up, times", "metastable kept", "evaluations saved"]
    rows = [
        [factor, rate(found["kept"]), percent(found["evaluations_saved"])] for factor, found in record["abort"].items()
    ]
    return markdown(titles, rows)


def speed(record: Record) -> str:
    """Crystals per second of our ways to draw, beside PyXtal's."""
    named = {"default": "`cg-generate`", "raw": "`--raw`", "fast": "`--fast`"}
    groups = {title: title.removeprefix("PyXtal, ") for title in record["theirs"]}
    titles = ["", "crystals per second", "strictly valid"]
    titles += [text for group in groups.values() for text in (f"times PyXtal, {group}", "of strictly valid ones")]
    rows = []
    for form, ours in record["ours"].items():
        cells = [named[form], number(ours["per_second"], 0), number(ours["strict"], 3)]
        for theirs in record["theirs"].values():
            cells += [f"{theirs[f'ratio_{form}']:.2g}", f"{theirs[f'ratio_strictly_valid_{form}']:.2g}"]
        rows.append(cells)
    blank = [NOTHING] * (2 * len(groups))
    rows += [
        [title, number(found["per_second"], 0), number(found["strict"], 3), *blank]
        for title, found in record["theirs"].items()
    ]
    return markdown(titles, rows)


JUDGED = ("Nb-O", "Ti-O", "V-O", "Li-Mn-O", "all")
"""Systems that the table of potentials shows, and the compounds of all systems together."""


def judge(record: Record) -> str:
    """Potentials against DFT: mean absolute errors in eV/atom, and Spearman's rank correlation."""
    names = [name for name in JUDGED if name in next(iter(record["single_points"].values()))]
    counts = next(iter(record["single_points"].values()))
    titles = ["", *(f"{name} ({counts[name]['n']})" for name in names)]
    rows = [
        [potential, *(_judged(found[name]) for name in names)] for potential, found in record["single_points"].items()
    ]
    return markdown(titles, rows)


def judge_relaxed(record: Record) -> str:
    """The same of the shipped hulls, whose crystals each potential relaxed."""
    names = list(next(iter(record["relaxed"].values())))
    rows = [
        [f"{potential}, {title}", *(_judged(found[name][key]) for name in names)]
        for potential, found in record["relaxed"].items()
        for title, key in (("all", "all"), ("structure kept", "structure_kept"))
    ]
    return markdown(["", *names], rows)


def _judged(found: Record) -> str:
    errors = (number(found[key], 3) for key in ("formation_energy_mae", "e_above_hull_mae"))
    return f"{' / '.join(errors)} / {number(found['spearman'], 2)}"


def foreign(record: Record) -> str:
    """Energies above the hull of other tools' crystals against DFT's."""
    titles = ["", "crystals", "without energy", "mean error, eV/atom", "median error", "Spearman", "F1, metastable"]
    rows = [
        [
            name,
            f"{found['n']:,}",
            str(found["without_energy"]),
            number(found["mae"], 3),
            number(found["median_error"], 3),
            number(found["spearman"], 2),
            number(found["f1"], 2),
        ]
        for name, found in (record["all"] | _relaxed(record)).items()
    ]
    return markdown(titles, rows)


def _relaxed(record: Record) -> Record:
    """The comparisons after relaxation, under names that say who relaxed."""
    found = (record.get("relaxed") or {"all": {}})["all"]
    first = next(iter(found), "")
    return {f"relaxed by {first}" + f", {name} on it" * (name != first): own for name, own in found.items()}


def foreign_shares(record: Record) -> str:
    """What other tools' crystals are after relaxation, by method."""
    by_method = record["relaxed"]["by_method"]
    stages = list(next(iter(by_method.values())))
    rows = [
        [method, str(shares[stages[0]]["denominator"]), *(rate(shares[stage]) for stage in stages)]
        for method, shares in by_method.items()
    ]
    return markdown(["", "crystals", *stages], rows)


def formation_energy(record: Record) -> str:
    """Mean absolute errors of the formation energy, eV/atom."""
    rows = [[title, number(error, 3)] for title, error in record["mean_absolute_error"].items()]
    return markdown(["", "mean absolute error, eV/atom"], rows)


def relaxer(arms: Record) -> str:
    """What each optimiser came to, for each arm."""
    titles = ["", "optimiser", "crystals", "median above hull, eV/atom", "metastable", "steps", "CPU seconds"]
    rows = [
        [
            arm,
            optimiser,
            str(found["crystals"]),
            number(part["e_above_hull_median"], 3),
            number(part["metastable"]),
            number(part["steps"], 0),
            number(part["seconds"], 1),
        ]
        for arm, found in arms.items()
        for optimiser, part in found.items()
        if optimiser != "crystals"
    ]
    return markdown(titles, rows)


def search(cases: Sequence[Record]) -> str:
    """Where the ground state of each compound is, what came first, and the CPU time."""
    titles = [
        "compound",
        "group",
        "rank",
        "from",
        "first three: group (eV/atom above the hull)",
        "CPU s",
        "hull, s of wall time",
    ]
    rows = [
        [
            case["formula"],
            " or ".join(map(str, case["groups"])),
            str(case["rank"] or NOTHING),
            case["source"] or NOTHING,
            ", ".join(f"{one['group'] or '?'} ({number(one['e_above_hull'], 3)})" for one in case["first"]) or NOTHING,
            number(case["cpu_seconds"], 0),
            number(case["hull_seconds"], 0),
        ]
        for case in cases
    ]
    return markdown(titles, rows)


def engine(record: Record) -> str:
    """Seconds of wall time of each arm for the same relaxations."""
    titles = ["", "seconds", "per relaxation"]
    names = {"bare": "a loop in one process", "one": "one worker", "two": "two workers"}
    seconds, n = record["seconds"], record["relaxations"]
    rows = [[title, number(seconds[key], 0), number(seconds[key] / n, 2)] for key, title in names.items()]
    return markdown(titles, rows)


def thousand_workers(record: Record) -> str:
    """How busy workers and scheduler were, for each mean length of a task."""
    titles = ["mean task, s", "tasks/s", "workers at work", "scheduler busy", "CPU ms of it per task", "its memory, MB"]
    rows = [
        [
            number(one["mean_seconds"], 0),
            number(one["tasks_per_second"], 0),
            percent(one["workers_at_work"]),
            percent(one["scheduler_busy"]),
            number(one["cpu_ms_per_task"], 1),
            number(one["scheduler_memory_mb"], 0),
        ]
        for one in record["means"]
    ]
    return markdown(titles, rows)


def scale(rows: Sequence[Record]) -> str:
    """CPU time and peak memory of each stage and size."""
    titles = ["", "crystals", "CPU s", "ms per crystal", "peak memory, MB"]
    return markdown(
        titles,
        [
            [
                row["stage"],
                f"{row['crystals']:,}",
                number(row["cpu_seconds"], 0),
                number(row["cpu_seconds"] / row["crystals"] * 1000, 1),
                number(row["memory_mb"], 0),
            ]
            for row in rows
        ],
    )


def five_rows(results: Path, shipped: str | None = None) -> str:
    """The README's table: five figures with their uncertainty and the page section that repeats each.

    Args:
        results: folder of the result files.
        shipped: SHA-256 of the weights that ship; None reads it from their record.
    """
    shipped = shipped or shipped_weights()
    peers, with_energies = load(results, "peers"), load(results, "peers_chosen")
    screened, substitution = (
        agreed(peers["arms"][name]["equal_samples"])["msun_of_relaxed"] for name in ("screened", "substitution")
    )
    chosen = agreed(with_energies["arms"]["chosen"]["equal_samples"])["msun_of_relaxed"]
    found_again = load(results, "rediscovery")["within_reach"]["found"]
    raw_run, filled = (load(results, name) for name in ("raw", "heldout_shipped"))
    valid = share(round(raw_run["strictly valid"] * raw_run["samples"]), raw_run["samples"])
    n = filled["n_draws"]
    shipped_arm = next(arm for arm in filled["arms"] if arm["arm"] == "shipped")
    matches = [flat(shipped_arm, f"match_{k}") for k in (1, n)]
    predicted = load(results, "prediction")["groups"]["all"]
    ranked_1, nearest_1 = (predicted[arm]["match_1"] for arm in ("ranked", "nearest prototypes"))
    no_better = "; ours is no better" if is_no_better(ranked_1, nearest_1) else ""
    rows = {
        "peers_chosen": [
            (
                f"Nb–O crystals that `--relax` chooses: unique, novel, metastable by all {len(peers['judges'])} "
                f"potentials (screened alone: {number(screened['value'])}; "
                f"substitution: {number(substitution['value'])})"
            ),
            number(chosen["value"]),
            f"{interval(chosen)} ({interval(screened)}; {interval(substitution)})",
        ],
        "rediscovery": [
            "Known Nb–O phases, to 24 atoms and near DFT's hull, found in 30 CPU minutes (finalists judged after that)",
            number(found_again["value"]),
            f"{interval(found_again)}, n = {found_again['denominator']}",
        ],
        "raw": [
            "Raw samples of Nb–O: strictly valid",
            number(valid["value"], 3),
            f"{interval(valid, 3)}, n = {raw_run['samples']:,}",
        ],
        "heldout_shipped": [
            f"Templates never trained on: filled as the real crystal with 1 draw; with {n}",
            "; ".join(number(match["value"]) for match in matches),
            "; ".join(map(interval, matches)),
        ],
        "prediction": [
            (
                "Held-out formulas: real crystal first, without energies (nearest prototypes: "
                f"{number(nearest_1['value'])}{no_better})"
            ),
            number(ranked_1["value"]),
            f"{interval(ranked_1)} ({interval(nearest_1)})",
        ],
    }
    stale = {name for name in rows if not is_of_shipped(name, load(results, name), shipped)}
    lines = [
        [what + " °" * (name in stale), *figures, f"[`{MEASUREMENTS[name].benchmark}`](docs/benchmarks.md#{name})"]
        for name, (what, *figures) in rows.items()
    ]
    table = markdown(["what", "figure", "95 % interval", "how to repeat"], lines)
    note = "\n° With other weights than those shipped, or with weights that are not recorded.\n"
    return table + note * bool(stale)


def is_no_better(one: Record, other: Record) -> bool:
    """Whether a rate is not above another one beyond the intervals of both."""
    return one["interval"][0] <= other["interval"][1]
