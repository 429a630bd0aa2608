"use strict";

/**
 * The histograms.
 *
 * @param distributions as `crystalgraph.report.distributions` has them.
 * @param color gives the page's colour of a name.
 * @returns a function that draws all of them.
 */
function histogramPlots(distributions, color) {
  function draw(plot) {
    const histogram = distributions[Number(plot.dataset.plot)];
    const names = Object.keys(histogram.counts), labelled = histogram.labels.length > 0;
    const highest = Math.max(...Object.values(histogram.counts).flat());
    const traces = names.map((name) => {
      const isBackground = names.length > 1 && name !== "relaxed";
      const common = { type: "bar", name, marker: { color: color(isBackground ? "bars" : "accent"), opacity: isBackground || labelled ? 1 : 0.8 }, y: histogram.counts[name] };
      if (histogram.labels.length) {
        return { ...common, x: histogram.labels.map(histogram.key === "formulas" ? plotFormula : plainText), hovertemplate: `%{x}: %{y}<extra>${plainText(name)}</extra>` };
      }
      const middles = histogram.edges.slice(1).map((edge, k) => (edge + histogram.edges[k]) / 2);
      const texts = middles.map((_, k) => `${+histogram.edges[k].toPrecision(6)} to ${+histogram.edges[k + 1].toPrecision(6)}`);
      return { ...common, x: middles, width: middles.map((_, k) => histogram.edges[k + 1] - histogram.edges[k]), text: texts, textposition: "none",
        hovertemplate: `%{text}: %{y}<extra>${plainText(name)}</extra>` };
    });
    Plotly.react(plot, traces, plotLayout(color, {
      barmode: labelled ? "group" : "overlay", bargap: labelled ? 0.25 : 0, showlegend: names.length > 1,
      xaxis: { title: { text: plainText(histogram.axis), font: { size: 12.5 } }, type: labelled ? "category" : "linear", showgrid: false,
        ...(labelled ? { dtick: 1, tickfont: { size: 11 }, tickangle: histogram.labels.length > 6 ? -60 : 0 } : {}) },
      yaxis: { title: { text: "crystals", font: { size: 12.5 } }, rangemode: "tozero", tickformat: "d", ...(highest <= 5 ? { dtick: 1 } : {}) },
    }), PLOT_CONFIG);
  }

  return () => document.querySelectorAll(".distribution").forEach(draw);
}
