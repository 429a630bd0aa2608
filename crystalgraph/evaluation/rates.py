"""What a metric can be: a rate with its counts and interval, a number with its unit, or absent with the reason.

Nothing here is ever a bare 0 or 1: a rate without anything to count is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

CONFIDENCE = 0.95
"""Confidence level of every interval."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of crystals.

    Attributes:
        numerator: how many have the property, >= 0.
        denominator: of how many, >= 1.

    Raises:
        ValueError: if the counts are no share.
    """

    numerator: int
    denominator: int

    def __post_init__(self) -> None:
        if not 0 <= self.numerator <= self.denominator or self.denominator < 1:
            raise ValueError(f"{self.numerator} of {self.denominator} is no share")

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.numerator / self.denominator

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval at 95 %.

        Reference:
            E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927).
        """
        from scipy.stats import binomtest

        found = binomtest(self.numerator, self.denominator).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "numerator": self.numerator,
            "denominator": self.denominator,
            "value": self.value,
            "interval": list(self.interval),
        }

    @property
    def counts(self) -> str:
        """Such as "12/40"."""
        return f"{self.numerator}/{self.denominator}"


@dataclass(frozen=True, kw_only=True)
class BudgetRate:
    """A share of all samples, estimated from a random part of those that could have the property.

    A sample can have the property only if it is among the ``eligible``; of these, ``of_sample`` was looked at.

    Attributes:
        of_sample: hits among those looked at.
        eligible: the eligible among all samples.
    """

    of_sample: Rate
    eligible: Rate

    @property
    def is_exact(self) -> bool:
        """Whether every eligible sample was looked at, so that nothing is estimated."""
        return self.of_sample.denominator == self.eligible.numerator

    @property
    def value(self) -> float:
        """Share of all samples, 0 to 1."""
        return self.of_sample.value * self.eligible.value

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval at 95 %; where estimated, that of the part looked at, scaled by the eligible share."""
        if self.is_exact:
            return Rate(numerator=self.of_sample.numerator, denominator=self.eligible.denominator).interval
        low, high = self.of_sample.interval
        return low * self.eligible.value, high * self.eligible.value

    def record(self) -> dict[str, Any]:
        """For JSON; the numerator is the expected number of hits among all samples."""
        hits = self.of_sample.numerator
        expected = hits if self.is_exact else hits * self.eligible.numerator / self.of_sample.denominator
        return {
            "numerator": expected,
            "denominator": self.eligible.denominator,
            "value": self.value,
            "interval": list(self.interval),
            "estimated": not self.is_exact,
            "hits": [hits, self.of_sample.denominator],
            "eligible": [self.eligible.numerator, self.eligible.denominator],
        }

    @property
    def counts(self) -> str:
        """Such as "15/40 × 273/300"."""
        return f"{self.of_sample.counts} × {self.eligible.counts}"


@dataclass(frozen=True, kw_only=True)
class Number:
    """A mean, a median or a distance.

    Attributes:
        value: finite; a whole number where something is counted.
        unit: empty for pure numbers.
        n: how many crystals it was made from.

    Raises:
        ValueError: if the value is not finite.
    """

    value: float | int
    unit: str = ""
    n: int

    def __post_init__(self) -> None:
        if not isfinite(self.value):
            raise ValueError(f"{self.value} is no metric")

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"value": self.value, "unit": self.unit, "n": self.n}


@dataclass(frozen=True)
class Absent:
    """A metric that could not be judged.

    Attributes:
        reason: one line, also telling what would make it possible.
    """

    reason: str

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"absent": self.reason}


Metric = Rate | BudgetRate | Number | Absent


def rate(numerator: int, denominator: int, nothing: str) -> Rate | Absent:
    """A rate, or why there is none.

    Args:
        numerator: hits.
        denominator: how many were looked at.
        nothing: the reason when that is zero.
    """
    return Rate(numerator=numerator, denominator=denominator) if denominator else Absent(nothing)


def records(metrics: Mapping[str, Mapping[str, Metric]]) -> dict[str, dict[str, Any]]:
    """Metrics by group and name as plain values for JSON."""
    return {group: {name: metric.record() for name, metric in found.items()} for group, found in metrics.items()}
