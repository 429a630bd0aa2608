"use strict";

/**
 * The powder pattern of the chosen crystal, with radiation and line width to choose, and a measured one laid over it.
 *
 * @param radiations names and wavelengths (Å).
 * @param crystals all that can be looked at; null for those that cannot.
 * @param color gives the page's colour of a name.
 * @param matched called with the similarity of every crystal, by row, when there is a measured pattern; else with null.
 * @returns `show(reflections)`: null hides it; `draw()`: again, in today's colours; `similarity(one, other)` of two
 *   crystals' reflections.
 */
function powderPattern(radiations, crystals, color, matched) {
  const plot = byId("pattern"), radiation = byId("radiation"), other = byId("wavelength"), width = byId("width"), said = byId("pattern-said");
  let reflections = null, measured = null, matches = null;

  radiation.replaceChildren(...radiations.map(([name, length]) => new Option(`${name} (${length} Å)`, length)), new Option("other wavelength", ""));
  const inside = (input, usual) => {
    const number = Number(input.value);
    const fits = input.value !== "" && number >= Number(input.min) && number <= Number(input.max);
    input.setAttribute("aria-invalid", String(!fits));
    return fits ? number : usual;
  };
  const wavelength = () => (radiation.value ? Number(radiation.value) : inside(other, radiations[0][1]));
  const lineWidth = () => inside(width, 0.15);

  function draw() {
    byId("pattern-part").hidden = !reflections && !measured;
    if (byId("pattern-part").hidden) return;
    const lines = reflections ? powderLines(reflections, wavelength()).filter((line) => line.angle <= 150) : [];
    const farthest = lines.reduce((most, line) => Math.max(most, line.angle), 20);
    const range = measured ? [measured.angles[0], measured.angles[measured.angles.length - 1]] : [5, Math.min(150, Math.ceil(farthest / 10) * 10)];
    const angles = Float64Array.from({ length: 3000 }, (_, k) => range[0] + ((range[1] - range[0]) * k) / 2999);
    const traces = [];
    if (measured) {
      traces.push({ type: "scatter", mode: "lines", name: "measured", x: [...measured.angles], y: [...measured.counts],
        line: { color: color("second"), width: 1.2 }, hoverinfo: "skip" });
    }
    traces.push(
      { type: "scatter", mode: "lines", name: "simulated", x: [...angles], y: [...profileOf(lines, angles, lineWidth())], line: { color: color("accent"), width: 1.4 }, hoverinfo: "skip" },
      { type: "scatter", mode: "lines", showlegend: false, x: lines.flatMap(({ angle }) => [angle, angle, null]), y: lines.flatMap(() => [-9, -3, null]), line: { color: color("accent"), width: 1 }, hoverinfo: "skip" },
      { type: "scatter", mode: "markers", showlegend: false, x: lines.map((line) => line.angle), y: lines.map((line) => line.intensity), marker: { size: 8, opacity: 0, color: color("accent") },
        text: lines.map((line) => plainText(line.miller)), hovertemplate: "(%{text})<br>2θ %{x:.3f}°, %{y:.1f} %<extra></extra>" },
    );
    Plotly.react(plot, traces, plotLayout(color, { hovermode: "closest", showlegend: Boolean(measured),
      xaxis: { title: { text: "2θ (°)", font: { size: 12.5 } }, range, showgrid: false },
      yaxis: { range: [-11, 106], showticklabels: false, ticks: "", title: { text: "intensity", font: { size: 12.5 } } } }), PLOT_CONFIG);
  }

  /* ---- the measured pattern ---- */

  /** Compare every crystal, as it is shown first; `isNew`: with the line width that suits the best of them. */
  function compare(isNew) {
    if (!measured) return;
    const lines = new Map();
    crystals.forEach((crystal, row) => {
      const shown = crystal && crystal.versions.find((version) => version.reflections && version.reflections.length);
      if (shown) lines.set(row, shown.reflections);
    });
    const { rough } = patternMatcher(measured, wavelength(), lineWidth());
    const found = new Map([...lines].map(([row, own]) => [row, rough(own)]));
    if (isNew && found.size) {
      const [[row, { scale }]] = [...found].sort((one, other) => other[1].similarity - one[1].similarity);
      width.value = fittedWidth(measured, wavelength(), lines.get(row), scale);
    }
    const { fine } = patternMatcher(measured, wavelength(), lineWidth());
    matches = new Map([...found].map(([row, { scale }]) => [row, fine(lines.get(row), scale)]));
    matched(new Map([...matches].map(([row, { similarity }]) => [row, similarity])));
  }

  function sayMatch() {
    if (!measured) return;
    if (!reflections || !reflections.length) { said.textContent = `${measured.name}: no pattern of this crystal to compare.`; return; }
    const { rough, fine } = patternMatcher(measured, wavelength(), lineWidth());
    const { similarity, scale } = fine(reflections, rough(reflections).scale);
    const best = Math.max(...[...matches.values()].map((match) => match.similarity));
    said.textContent = `${measured.name}: similarity ${similarity.toFixed(3)} with cell lengths times ${scale.toFixed(3)}; the best of ${matches.size} crystals has ${best.toFixed(3)}.`;
  }

  async function take(file) {
    if (!file) return;
    try {
      measured = { ...preparedPattern(readPattern(await file.text())), name: file.name };
    } catch (error) {
      said.textContent = `${file.name} is ${error.message}.`;
      return;
    }
    byId("unmeasure").hidden = false;
    compare(true);
    sayMatch();
    draw();
  }

  byId("measured-file").addEventListener("click", (event) => { event.target.value = ""; }); // the same file may be taken again
  byId("measured-file").addEventListener("change", (event) => take(event.target.files[0]));
  byId("unmeasure").addEventListener("click", () => {
    [measured, matches] = [null, null];
    said.textContent = "";
    byId("measured-file").value = "";
    byId("unmeasure").hidden = true;
    matched(null);
    draw();
  });
  const zone = byId("pattern-part");
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files[0]); });

  function change() {
    byId("wavelength-label").hidden = Boolean(radiation.value);
    compare(false);
    sayMatch();
    draw();
  }
  for (const input of [radiation, other, width]) input.addEventListener("change", change);

  return {
    draw,
    show(next) {
      reflections = next;
      sayMatch();
      draw();
    },
    similarity(one, another) {
      const [[, length], lines] = [radiations[0], 0.15];
      return patternMatcher(simulatedPattern(one, length, lines), length, lines).rough(another).similarity;
    },
  };
}
