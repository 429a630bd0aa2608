"""Which compositions a user asked for, and which of them chemistry believes.

Rules that the user sets (system, formula, ranges) and the learned plausibility reject, each with its reason. Charge
neutrality is reported for every composition but rejects only when asked: many real phases, suboxides and alloys among
them, are not neutral on paper.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from crystalgraph.chemistry.features import charge_range
from crystalgraph.chemistry.plausibility import Plausibility
from crystalgraph.chemistry.system import ChemicalSystem, Formula
from crystalgraph.errors import InputError

_TOLERANCE = 1e-9
_RANGE = re.compile(r"\s*([A-Za-z]+)\s*(?:/\s*([A-Za-z]+)\s*)?=\s*([\d.]+)\s*:\s*([\d.]+)\s*")


@dataclass(frozen=True, kw_only=True)
class StoichiometricRange:
    """Bounds, both included, on the ratio of two elements or on the atomic fraction of one.

    Attributes:
        element: symbol of the element that is counted.
        per: symbol of the element it is divided by; None for all atoms.
        low: smallest allowed value.
        high: largest allowed value.
    """

    element: str
    per: str | None = None
    low: float
    high: float

    def __post_init__(self) -> None:
        ChemicalSystem(tuple(filter(None, (self.element, self.per))))  # refuses unknown elements
        if not 0 <= self.low <= self.high < np.inf:
            raise InputError(f"range {self.low}:{self.high} of {self.name} is empty or negative; give low:high")
        if self.per is None and self.high > 1:
            raise InputError(f"range {self.low}:{self.high} of {self.name}: a fraction is at most 1; give low:high")

    @classmethod
    def parse(cls, text: str) -> StoichiometricRange:
        """Read 'O/Nb=1.5:2.5' (ratio) or 'O=0.6:0.75' (atomic fraction).

        Raises:
            InputError: if it reads otherwise.
        """
        match = _RANGE.fullmatch(text)
        try:
            element, per, low, high = match.groups()  # type: ignore[union-attr]
            bounds = float(low), float(high)
        except (AttributeError, ValueError) as error:
            raise InputError(f"{text!r} is not a range; write 'O/Nb=1.5:2.5' or 'O=0.6:0.75'") from error
        return cls(element=element, per=per, low=bounds[0], high=bounds[1])

    @classmethod
    def from_mapping(cls, ranges: Mapping[str, tuple[float, float]]) -> tuple[StoichiometricRange, ...]:
        """Read {'O/Nb': (1.5, 2.5), 'O': (0.6, 0.75)}."""
        parts = [(key.partition("/"), bounds) for key, bounds in ranges.items()]
        return tuple(
            cls(element=element.strip(), per=per.strip() or None, low=low, high=high)
            for (element, _, per), (low, high) in parts
        )

    @property
    def name(self) -> str:
        """What is bounded, such as 'O/Nb'."""
        return f"{self.element}/{self.per}" if self.per else f"fraction of {self.element}"

    def value(self, formula: Formula) -> float:
        """The bounded quantity of a formula; infinite when the divisor is absent."""
        divisor = formula.count(self.per) if self.per else formula.num_atoms
        return formula.count(self.element) / divisor if divisor else float("inf")

    def allows(self, formula: Formula) -> bool:
        """Whether a formula lies inside, ends included."""
        return self.low - _TOLERANCE <= self.value(formula) <= self.high + _TOLERANCE


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the filter says about one composition.

    Attributes:
        formula: the reduced formula.
        passed: whether it may stay.
        reason: why not; empty when it passed.
        charge_neutral: whether usual oxidation states, mixed ones allowed, can sum to zero.
        plausibility: score of the fitted model, 0 to 1; None without one.
    """

    formula: Formula
    passed: bool
    reason: str
    charge_neutral: bool
    plausibility: float | None


@dataclass(frozen=True, kw_only=True)
class CompositionFilter:
    """Rules that a composition must meet.

    Attributes:
        system: the chemical system; a composition must hold all of its elements and no other.
        formula: the one allowed formula, None for any.
        ranges: bounds on ratios and fractions, all of which must hold.
        plausibility: fitted model whose threshold must be reached; None to skip it. A given ``formula`` was the
            user's choice, so then the score is reported and rejects nothing.
        require_charge_neutral: whether compositions that are not neutral are rejected.

    Raises:
        InputError: if the formula or a range names elements outside the system, or if the formula is not in a range.
    """

    system: ChemicalSystem
    formula: Formula | None = None
    ranges: tuple[StoichiometricRange, ...] = ()
    plausibility: Plausibility | None = None
    require_charge_neutral: bool = False

    def __post_init__(self) -> None:
        if self.formula is not None:
            self.system.formula(str(self.formula))
        for bounds in self.ranges:
            named = ChemicalSystem(tuple(filter(None, (bounds.element, bounds.per))))
            if not self.system.contains(named):
                raise InputError(f"range of {bounds.name} names an element outside {self.system}; use its elements")
            if self.formula is not None and not bounds.allows(self.formula):
                raise InputError(
                    f"formula {self.formula} has {bounds.name} {bounds.value(self.formula):.4g}, outside "
                    f"{bounds.low:g}:{bounds.high:g}; change the formula or the range"
                )

    def check(self, formulas: Sequence[Formula | str]) -> list[Verdict]:
        """Judge compositions; equal ones are judged once.

        Args:
            formulas: any formulas, such as one per crystal.

        Returns:
            One verdict per formula, in order.

        Raises:
            InputError: if a text is not a formula.
        """
        parsed = [Formula.parse(formula) if isinstance(formula, str) else formula for formula in formulas]
        unique = list(dict.fromkeys(parsed))
        scores = self.plausibility.score(unique).tolist() if self.plausibility else [None] * len(unique)
        verdicts = {formula: self._judge(formula, score) for formula, score in zip(unique, scores, strict=True)}
        return [verdicts[formula] for formula in parsed]

    def _judge(self, formula: Formula, score: float | None) -> Verdict:
        neutral = charge_neutral(formula)
        reason = self._reason(formula, neutral, score)
        return Verdict(formula=formula, passed=not reason, reason=reason, charge_neutral=neutral, plausibility=score)

    def _reason(self, formula: Formula, neutral: bool, score: float | None) -> str:
        foreign = [symbol for symbol in formula.system.elements if symbol not in self.system.elements]
        if foreign:
            return f"{', '.join(foreign)} outside the chemical system {self.system}"
        missing = [symbol for symbol in self.system.elements if not formula.count(symbol)]
        if missing:
            return f"no {' or '.join(missing)}, so not in the chemical system {self.system}"
        if self.formula is not None and formula != self.formula:
            return f"formula is {formula}, not {self.formula}"
        for bounds in self.ranges:
            if not bounds.allows(formula):
                return f"{bounds.name} is {bounds.value(formula):.4g}, outside {bounds.low:g}:{bounds.high:g}"
        if self.require_charge_neutral and not neutral:
            return "not charge-neutral in any mixed-valence assignment"
        if self.plausibility and self.formula is None and score is not None and score < self.plausibility.threshold:
            return f"implausible composition: {score:.2f} below {self.plausibility.threshold:.2f}"
        return ""


@lru_cache(maxsize=65536)
def charge_neutral(formula: Formula) -> bool:
    """Whether some assignment of usual oxidation states sums to zero.

    Atoms of one element may differ in valence, and the cell may hold any number of formula units. An assignment then
    exists exactly when zero lies between the lowest and the highest possible total charge, so nothing is searched and
    nothing can take long. Whatever pymatgen's ``oxi_state_guesses`` accepts is accepted. Elements are neutral.
    """
    if len(formula.counts) == 1:
        return True
    low, high = charge_range([formula])[0]
    return bool(low <= _TOLERANCE and high >= -_TOLERANCE)
