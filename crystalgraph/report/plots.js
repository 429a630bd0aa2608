"use strict";

/**
 * The page's plots: the hull of known phases with the candidates in it, histograms, and powder patterns.
 *
 * @param data with `hull`, as `crystalgraph.report.hull_picture` has it, null if there is none, and `distributions`, the
 *   histograms of `crystalgraph.report.distributions`.
 * @param color gives the page's colour of a name.
 * @param choose called with the row of a candidate that is clicked; the next one at each click where several lie.
 * @returns `hull(row)`: drawn with that row's candidate marked; `distributions()`; `pattern(lines)`: null hides it.
 */
function reportPlots({ hull, distributions }, color, choose) {
  /** Text for plotly, which reads some tags: nothing in it is one. */
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const plotFormula = (formula) => plain(formula).replace(/(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)/g, "<sub>$1</sub>");
  const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(3)}`;

  const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };

  function layout(more) {
    const axis = { gridcolor: color("grid"), linecolor: color("line"), zerolinecolor: color("line"), ticks: "outside",
      tickcolor: color("line"), automargin: true, fixedrange: true };
    const { xaxis, yaxis, ...others } = more;
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: color("ink") },
      margin: { l: 8, r: 8, t: 8, b: 8 }, showlegend: false,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { size: 12.5 } },
      hoverlabel: { bgcolor: color("card"), bordercolor: color("line"), font: { color: color("ink"), size: 13 } },
      xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...others,
    };
  }

  function hoverText(point) {
    const group = point.group ? `space group ${plain(point.group)}` : "no space group known";
    return `<b>${plotFormula(point.formula)}</b> · ${plain(point.name)}<br>${group}` +
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

  function drawHull(row) {
    if (!hull) return;
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
    Plotly.react(plot, hullTraces(), layout(more), CONFIG);
    if (!plot.dataset.ready) {
      plot.dataset.ready = "yes";
      plot.on("plotly_click", (event) => {
        const place = event.points.map((point) => point.customdata).find((value) => value !== undefined);
        if (place === undefined) return;
        const points = [hullPoints[place], ...together(hullPoints[place])];
        const rows = [...new Set(points.map((point) => point.row))].filter((row) => row !== undefined);
        if (rows.length) choose(rows[(rows.indexOf(selected) + 1) % rows.length]); // the next one at each click
      });
    }
  }

  function drawDistribution(plot) {
    const histogram = distributions[Number(plot.dataset.plot)];
    const names = Object.keys(histogram.counts), labelled = histogram.labels.length > 0;
    const highest = Math.max(...Object.values(histogram.counts).flat());
    const traces = names.map((name) => {
      const isBackground = names.length > 1 && name !== "relaxed";
      const common = { type: "bar", name, marker: { color: color(isBackground ? "bars" : "accent"), opacity: isBackground || labelled ? 1 : 0.8 }, y: histogram.counts[name] };
      if (histogram.labels.length) {
        return { ...common, x: histogram.labels.map(histogram.key === "formulas" ? plotFormula : plain), hovertemplate: `%{x}: %{y}<extra>${plain(name)}</extra>` };
      }
      const middles = histogram.edges.slice(1).map((edge, k) => (edge + histogram.edges[k]) / 2);
      const texts = middles.map((_, k) => `${+histogram.edges[k].toPrecision(6)} to ${+histogram.edges[k + 1].toPrecision(6)}`);
      return { ...common, x: middles, width: middles.map((_, k) => histogram.edges[k + 1] - histogram.edges[k]), text: texts, textposition: "none",
        hovertemplate: `%{text}: %{y}<extra>${plain(name)}</extra>` };
    });
    Plotly.react(plot, traces, layout({
      barmode: labelled ? "group" : "overlay", bargap: labelled ? 0.25 : 0, showlegend: names.length > 1,
      xaxis: { title: { text: plain(histogram.axis), font: { size: 12.5 } }, type: labelled ? "category" : "linear", showgrid: false,
        ...(labelled ? { dtick: 1, tickfont: { size: 11 }, tickangle: histogram.labels.length > 6 ? -60 : 0 } : {}) },
      yaxis: { title: { text: "crystals", font: { size: 12.5 } }, rangemode: "tozero", tickformat: "d", ...(highest <= 5 ? { dtick: 1 } : {}) },
    }), CONFIG);
  }

  function drawPattern(lines) {
    document.getElementById("pattern-part").hidden = !lines;
    if (!lines) return;
    const x = lines.flatMap(([angle]) => [angle, angle, null]);
    const y = lines.flatMap(([, intensity]) => [0, intensity, null]);
    Plotly.react(document.getElementById("pattern"), [
      { type: "scatter", mode: "lines", x, y, line: { color: color("accent"), width: 1.6 }, hoverinfo: "skip" },
      { type: "scatter", mode: "markers", x: lines.map((l) => l[0]), y: lines.map((l) => l[1]), marker: { size: 8, opacity: 0 },
        text: lines.map((l) => plain(l[2])), hovertemplate: "(%{text})<br>2θ %{x:.2f}°, %{y:.0f} %<extra></extra>" },
    ], layout({ hovermode: "closest", xaxis: { title: { text: "2θ (°)", font: { size: 12.5 } }, range: [10, 90], showgrid: false },
      yaxis: { range: [0, 106], showticklabels: false, ticks: "", title: { text: "intensity", font: { size: 12.5 } } } }), CONFIG);
  }

  return {
    hull: drawHull,
    distributions: () => document.querySelectorAll(".distribution").forEach(drawDistribution),
    pattern: drawPattern,
  };
}
