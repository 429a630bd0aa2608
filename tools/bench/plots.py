"""The comparison of arms as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.arms import SEARCH
from tools.bench.tables import agreed


def plot(arms: dict[str, dict[str, Any]], title: str, path: Path) -> None:
    """MSUN of budget by agreement, with intervals, and finds against CPU time, as a PNG."""
    from matplotlib.figure import Figure

    kinds = [kind for kind in ("equal_samples", "equal_time") if any(kind in arm for arm in arms.values())]
    figure = Figure(figsize=(5.5 * len(kinds), 3.8), layout="constrained")
    colors = {name: f"C{k}" for k, name in enumerate(arms)}
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        shown = [name for name in arms if kind in arms[name]]
        if kind == "equal_samples":
            for place, name in enumerate(reversed(shown)):
                for offset, what, alpha in ((0.2, "msun_of_budget", 1.0), (-0.2, "msun_new_of_budget", 0.45)):
                    rate = agreed(arms[name][kind])[what]
                    if "absent" in rate:
                        continue
                    low, high = rate["interval"]
                    axes.barh(place + offset, rate["value"], 0.36, color=colors[name], alpha=alpha)
                    axes.plot([low, high], [place + offset] * 2, color="0.2", linewidth=1)
            axes.set_yticks(range(len(shown)), [arms[name]["title"] for name in reversed(shown)])
            axes.set_xlabel("MSUN of budget, agreed (pale: new)")
        else:
            for name in shown:
                found = arms[name][kind]
                for what, width, label in (("msun", 1.8, arms[name]["title"]), ("msun_new", 0.8, None)):
                    times = agreed(found).get(what, {"at_seconds": [[]]})["at_seconds"]
                    every = sorted(at / 60 for own in times for at in own)
                    heights = np.arange(len(every) + 1) / len(times)
                    if name == SEARCH:  # its finds come together, at the end
                        spent = sum(found["spent_seconds"].values()) / 60
                        fill = colors[name] if what == "msun" else "none"
                        axes.plot([spent], heights[-1:], "o", color=colors[name], markerfacecolor=fill, label=label)
                        continue
                    ends, style = [0.0, *every, found["cpu_minutes"]], {"color": colors[name], "linewidth": width}
                    axes.step(ends, [*heights, heights[-1]], where="post", label=label, **style)
            axes.set_xlabel("CPU minutes")
            axes.set_ylabel("distinct MSUN, agreed (thin, hollow: new), mean")
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=160)
