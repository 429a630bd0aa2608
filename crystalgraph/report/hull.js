"use strict";

/**
 * The hull of known phases with the candidates in it.
 *
 * @param hull as `crystalgraph.report.hull_picture` has it.
 * @param color gives the page's colour of a name.
 * @param choose called with the row of a candidate that is clicked; the next one at each click where several lie.
 * @returns a function that draws it with a row's candidate marked.
 */
function hullPlot(hull, color, choose) {
  function hoverText(point) {
    const group = point.group ? `space group ${plainText(point.group)}` : "no space group known";
    return `<b>${plotFormula(point.formula)}</b> · ${plainText(point.name)}<br>${group}` +
      `<br>${signed(point.e_above_hull)} eV/atom above the hull`;
  }

  const hullPoints = hull ? [...hull.candidates, ...hull.known] : [];
  const energies = hullPoints.map((point) => point.e_form);
  const close = 0.025 * (Math.max(...energies) - Math.min(...energies)); // eV/atom; about the size of a marker
  let selected = null;

  /** The points drawn on one another, candidates first. */
  function together(point) {
    const flat = hull.elements.length === 3; // a triangle does not show energies
    return hullPoints.filter((other) => other.fractions.every((part, k) => Math.abs(part - point.fractions[k]) < 1e-6) &&
      (flat || Math.abs(other.e_form - point.e_form) < close));
  }

  function hoverTexts(point) {
    const all = together(point), shown = all.slice(0, 4).map(hoverText);
    return shown.join("<br>") + (all.length > shown.length ? `<br>and ${all.length - shown.length} more` : "");
  }

  /** Traces of points in either kind of hull. */
  function hullTraces() {
    const ternary = hull.elements.length === 3;
    const place = (points) => ternary
      ? { type: "scatterternary", cliponaxis: false, a: points.map((p) => p.fractions[2]), b: points.map((p) => p.fractions[0]), c: points.map((p) => p.fractions[1]) }
      : { type: "scatter", x: points.map((p) => p.fractions[1]), y: points.map((p) => p.e_form) };
    const described = (points) => ({ text: points.map(hoverTexts), hovertemplate: "%{text}<extra></extra>",
      customdata: points.map((p) => hullPoints.indexOf(p)) });
    const ends = hull.edges.flatMap(([i, j]) => [hull.known[i], hull.known[j], { fractions: [null, null, null], e_form: null }]);
    const stable = new Set(hull.edges.flat());
    const known = (wanted) => hull.known.filter((_, k) => stable.has(k) === wanted);
    const chosen = hull.candidates.filter((p) => p.row === selected);
    const candidates = (name, points, marker) => ({ ...place(points), ...described(points), mode: "markers", name, marker: { size: 10, line: { width: 1, color: color("card") }, ...marker } });
    return [
      { ...place(ends), mode: "lines", line: { color: color("known"), width: 1.5 }, hoverinfo: "skip", showlegend: false },
      { ...place(known(false)), ...described(known(false)), mode: "markers", name: "known phases",
        marker: { symbol: "circle-open", size: 7, color: color("known"), line: { width: 1.2, color: color("known") } } },
      { ...place(known(true)), ...described(known(true)), mode: "markers", name: "on the hull",
        marker: { symbol: "square", size: 8, color: color("known") } },
      ...(ternary ? [candidates("candidates", hull.candidates, {
        color: hull.candidates.map((p) => p.e_above_hull), cmin: 0, cmax: 0.3, colorscale: [[0, color("accent")], [1, color("second")]],
        showscale: hull.candidates.length > 0,
        colorbar: { title: { text: "eV/atom<br>above hull", font: { size: 12 } }, thickness: 10, len: 0.6, outlinewidth: 0 },
      })] : [
        candidates(`candidates, at most ${hull.metastable} eV/atom above`, hull.candidates.filter((p) => p.e_above_hull <= hull.metastable), { color: color("accent") }),
        candidates("candidates further above", hull.candidates.filter((p) => p.e_above_hull > hull.metastable), { color: color("second") }),
      ]),
      { ...place(chosen), mode: "markers", hoverinfo: "skip", showlegend: false,
        marker: { symbol: "circle-open", size: 19, color: color("ink"), line: { width: 2, color: color("ink") } } },
    ];
  }

  function draw(row) {
    selected = row;
    const [left, right, top] = hull.elements;
    const side = (title) => ({ title: { text: title }, gridcolor: color("grid"), linecolor: color("line"), tickcolor: color("line"), ticks: "", showticklabels: false });
    const more = hull.elements.length === 3
      ? { showlegend: true, margin: { l: 30, r: 20, t: 60, b: 30 }, legend: { orientation: "h", x: 0, y: 1.16, yanchor: "top", font: { size: 12.5 } },
        ternary: { sum: 1, bgcolor: "rgba(0,0,0,0)", aaxis: side(top), baxis: side(left), caxis: side(right) } }
      : { showlegend: true, hovermode: "closest",
        xaxis: { title: { text: `x in ${left}<sub>1−x</sub>${right}<sub>x</sub>`, font: { size: 13.5 } }, range: [-0.03, 1.03] },
        yaxis: { title: { text: "formation energy (eV/atom)", font: { size: 13.5 } }, zeroline: true, zerolinecolor: color("muted") } };
    const plot = document.getElementById("hull-plot");
    Plotly.react(plot, hullTraces(), plotLayout(color, more), PLOT_CONFIG);
    selectByClick(plot, (place) => {
      const points = [hullPoints[place], ...together(hullPoints[place])];
      return [...new Set(points.map((point) => point.row))].filter((row) => row !== undefined);
    }, () => selected, choose);
  }

  return draw;
}
