"use strict";

/* What all plots share: how texts are written for plotly, and what they look like in today's theme. */

/** Text for plotly, which reads some tags: nothing in it is one. */
const plainText = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const plotFormula = (formula) => plainText(formula).replace(/(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)/g, "<sub>$1</sub>");
const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(3)}`;

const PLOT_CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };

/** A layout in the page's colours, with more of its own. */
function plotLayout(color, more) {
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

/** Call `choose` with a row at each click on a plot: the next of those that `rowsOf` gives for the point's customdata. */
function selectByClick(plot, rowsOf, selected, choose) {
  if (plot.dataset.ready) return;
  plot.dataset.ready = "yes";
  plot.on("plotly_click", (event) => {
    const place = event.points.map((point) => point.customdata).find((value) => value !== undefined);
    const rows = place === undefined ? [] : rowsOf(place);
    if (rows.length) choose(rows[(rows.indexOf(selected()) + 1) % rows.length]);
  });
}
