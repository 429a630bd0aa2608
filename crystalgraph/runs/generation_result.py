"""What a run gives: its candidates as tables for programs, notebooks and terminals, and the record of the run."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from crystalgraph.crystals.space_group_symbols import group_symbol
from crystalgraph.sampling.draws import PROTOTYPE
from crystalgraph.screening.candidates import PATTERN_SIMILARITY, Candidates

if TYPE_CHECKING:
    from pandas import DataFrame

    from crystalgraph.relax.hull import Hull

SHOWN = 10
"""Candidates that a notebook or a terminal shows."""

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

    def best(self, n: int = SHOWN) -> list[dict[str, Any]]:
        """What matters of the first candidates, in plain values.

        Args:
            n: how many.

        Returns:
            ``rank``, ``formula``, ``space_group`` and its ``symbol``, ``e_above_hull`` (eV/atom) or ``score``,
            ``pattern_similarity`` where there is a powder pattern,
            ``agreed`` where several potentials judged, ``known_phase`` and ``known_rmsd`` (Å), ``source``, ``file``: of
            the relaxed crystal where there is one, else as drawn; None where there is no answer.
        """
        return [self._headline(place, row) for place, row in enumerate(self.rows(self.selected[:n]))]

    def _headline(self, place: int, row: dict[str, Any]) -> dict[str, Any]:
        prefix = "relaxed_" if place < len(self.relaxed) else ""
        number = "score" if self.outcomes is None else "e_above_hull"
        group, known = row[f"{prefix}space_group"], row.get(f"{prefix}known_phase")
        return {
            "rank": row["rank"],
            "formula": row["formula"],
            "space_group": group,
            "symbol": group_symbol(group) if group else None,
            number: _finite(row[number]),
            **({} if self.similarities is None else {PATTERN_SIMILARITY: _finite(row[PATTERN_SIMILARITY])}),
            **({"agreed": row["agreed_metastable"]} if len(self.judges) > 1 else {}),
            "known_phase": known or None,
            "known_rmsd": row[f"{prefix}known_rmsd"] if known else None,
            "source": row["source"],
            "file": row["file"],
        }

    def _repr_html_(self) -> str:
        """The first candidates as a table, for notebooks."""
        from markupsafe import Markup

        from crystalgraph.report.notation import formula_html, group_html

        number, title = ("score", "score") if self.outcomes is None else ("e_above_hull", "eV/atom above the hull")
        cells = Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>")
        rows = [
            cells.format(
                place,
                formula_html(row["formula"]),
                group_html(row["space_group"]),
                "" if row[number] is None else f"{row[number]:.3f}",
                known_as(row),
                row["file"],
            )
            for place, row in enumerate(self.best(), start=1)
        ]
        heads = Markup("").join(
            Markup("<th>{}</th>").format(head) for head in ("#", "formula", "space group", title, "known as", "file")
        )
        more = f"; the first {SHOWN}" if len(self) > SHOWN else ""
        return str(
            Markup("<table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(
                f"{len(self)} of {len(self.samples)} samples: {self.request}{more}", heads, Markup("").join(rows)
            )
        )


def known_as(row: dict[str, Any]) -> str:
    """The known phase that a candidate is, or that plain substitution gives it or one equal to it; else empty.

    Args:
        row: of `GenerationResult.best`.
    """
    return row["known_phase"] or ("a prototype" if row["source"] == PROTOTYPE else "")


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None
