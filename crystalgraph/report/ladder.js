"use strict";

/**
 * The polymorphs of one formula: energy above the hull, or the model's score, against volume.
 *
 * @param ladder as `crystalgraph.report.ladder` has it.
 * @param color gives the page's colour of a name.
 * @param choose called with the row of a candidate that is clicked.
 * @returns a function that draws it with a row's candidate marked.
 */
function ladderPlot(ladder, color, choose) {
  const plot = byId("ladder-plot");
  const { points, is_energy: isEnergy, metastable } = ladder;
  let selected = null;

  function hoverText(point) {
    const value = isEnergy ? `${signed(point.y)} eV/atom above the hull${point.is_relaxed ? "" : ", as drawn"}` : `score ${minus(point.y.toFixed(2))}`;
    return `<b>${plainText(point.name)}</b>${point.row === null ? " · known phase" : ""}<br>${point.group ? `space group ${plainText(point.group)}` : "no space group known"}` +
      `<br>${value}, ${point.volume.toFixed(2)} Å³/atom`;
  }

  function draw(row) {
    selected = row;
    const known = points.filter((p) => p.row === null), candidates = points.filter((p) => p.row !== null);
    const trace = (name, chosen, marker) => ({ type: "scatter", mode: "markers", name, x: chosen.map((p) => p.volume), y: chosen.map((p) => p.y),
      text: chosen.map(hoverText), hovertemplate: "%{text}<extra></extra>", customdata: chosen.map((p) => points.indexOf(p)),
      marker: { size: 11, color: color("accent"), line: { width: 1, color: color("card") }, ...marker } });
    const traces = [trace("known phases", known, { symbol: "square", size: 9, color: color("known") })];
    if (isEnergy) {
      traces.push(trace("candidates, relaxed", candidates.filter((p) => p.is_relaxed), {}));
      traces.push(trace("candidates, as drawn", candidates.filter((p) => !p.is_relaxed), { symbol: "circle-open", color: color("second"), line: { width: 2, color: color("second") } }));
    } else traces.push(trace("candidates", candidates, {}));
    const marked = points.filter((p) => p.row === selected);
    traces.push({ type: "scatter", mode: "markers", hoverinfo: "skip", showlegend: false, x: marked.map((p) => p.volume), y: marked.map((p) => p.y),
      marker: { symbol: "circle-open", size: 20, color: color("ink"), line: { width: 2, color: color("ink") } } });
    const limit = { type: "line", xref: "paper", x0: 0, x1: 1, y0: metastable, y1: metastable, line: { color: color("muted"), width: 1, dash: "dot" } };
    Plotly.react(plot, traces.filter((one) => one.x.length), plotLayout(color, {
      showlegend: true, hovermode: "closest", shapes: isEnergy ? [limit] : [],
      xaxis: { title: { text: "volume (Å³/atom)", font: { size: 13.5 } } },
      yaxis: { title: { text: isEnergy ? "above the hull (eV/atom)" : "score", font: { size: 13.5 } }, zeroline: isEnergy, zerolinecolor: color("muted") },
    }), PLOT_CONFIG);
    selectByClick(plot, (place) => {
      const [{ volume, y }, all] = [points[place], points.map((p) => p.y)];
      const close = 0.02 * (Math.max(...all) - Math.min(...all));
      const near = points.filter((p) => Math.abs(p.y - y) <= close && Math.abs(p.volume - volume) <= 0.005 * volume && p.row !== null);
      return [...new Set([points[place].row, ...near.map((p) => p.row)])].filter((row) => row !== null);
    }, () => selected, choose);
  }

  return draw;
}
