"use strict";

/* The page at work: its parts together, the theme, the address of a crystal, and what is taken home of those ticked. */
(() => {
  const data = JSON.parse(byId("data").textContent);
  const isNarrow = () => window.matchMedia("(max-width: 1080px)").matches;
  let selected = null, marked = [];

  /* ---- parts ---- */

  const viewer = crystalViewer(document.querySelector(".viewer"), themeColor);
  const byPlot = (row) => select(row, "plot");
  const drawHull = data.hull ? hullPlot(data.hull, themeColor, byPlot) : () => {};
  const drawLadder = data.ladder ? ladderPlot(data.ladder, themeColor, byPlot) : () => {};
  const drawHistograms = histogramPlots(data.distributions, themeColor);
  const powder = powderPattern(data.radiations, data.crystals, themeColor, showMatches);
  const panel = structurePanel(data.phases, viewer, powder);
  const table = crystalTable(byId("table"), data.groups, select, showMarked);

  const energies = [["Polymorphs", byId("ladder-part"), drawLadder], ["Convex hull", byId("hull-part"), drawHull]].filter(([, part]) => part);
  let energy = 0;
  function drawEnergies() {
    energies.forEach(([, part], k) => { part.hidden = k !== energy; });
    if (energies.length > 1) setSegments(byId("energies"), energies.map(([name]) => name), energy, (k) => { energy = k; drawEnergies(); });
    if (energies.length) energies[energy][2](selected);
  }

  /* ---- the chosen crystal and its address ---- */

  function select(row, from) {
    selected = row;
    table.select(row, from);
    panel.show(data.crystals[row] || null);
    drawEnergies();
    if (from !== "start") byId("link-said").textContent = "";
    if (from !== "start" && from !== "address" && table.rows[row]) {
      window.history.replaceState(null, "", `#crystal=${encodeURIComponent(table.rows[row].values.name)}`);
    }
    if ((from === "table" || from === "address") && isNarrow()) byId("structure").scrollIntoView();
  }

  /** Choose the crystal that the address names; false where it names none. */
  function followAddress() {
    const [, coded] = window.location.hash.match(/^#crystal=(.*)$/) || [];
    if (coded === undefined) return false;
    let name = coded;
    try { name = decodeURIComponent(coded); } catch { /* taken as it is written */ }
    const row = table.rowOf(name);
    if (row >= 0) select(row, "address");
    else byId("link-said").textContent = `The address names ${name}, which is not on this page.`;
    return row >= 0;
  }
  window.addEventListener("hashchange", followAddress);

  /* ---- what a measured pattern finds ---- */

  function showMatches(matches) {
    table.setMatches(matches);
    if (!matches || !matches.size) return;
    const [best] = [...matches].sort((one, other) => other[1] - one[1])[0];
    select(best, "pattern");
  }

  /* ---- what is taken home ---- */

  function showMarked(rows) {
    marked = rows;
    byId("taken").hidden = !rows.length;
    byId("n-taken").textContent = `${rows.length} ticked`;
    byId("taken-said").textContent = "";
  }

  /** The texts of the ticked crystals as an archive. */
  function saveTexts(kind, textOf, nameOf) {
    const taken = new Set();
    const files = marked.map((row) => data.crystals[row]).filter(Boolean)
      .map((crystal) => [crystal, crystal.versions.find((version) => textOf(version))]).filter(([, version]) => version)
      .map(([crystal, version]) => [freeName(nameOf(crystal, version), taken), textOf(version)]);
    const lacking = marked.length - files.length;
    byId("taken-said").textContent = lacking ? `${lacking} of them ${lacking === 1 ? "has" : "have"} no ${kind} on this page.` : "";
    if (files.length) saveFile(`${files.length}_${kind}.zip`, zipArchive(files));
  }
  byId("take-cif").addEventListener("click", () => saveTexts("CIF", (version) => (version.kind === "CIF" ? version.text : ""), (crystal, version) => version.file || `${crystal.name}.cif`));
  byId("take-poscar").addEventListener("click", () => saveTexts("POSCAR", (version) => version.poscar, (crystal) => `${crystal.name}.vasp`));
  byId("take-csv").addEventListener("click", () => saveFile("candidates_ticked.csv", table.csv(marked)));
  byId("take-none").addEventListener("click", () => table.unmark());

  /* ---- theme ---- */

  const themeButton = byId("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";

  function showTheme() {
    themeButton.textContent = isDark() ? "Light" : "Dark";
    themeButton.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    themeButton.setAttribute("aria-pressed", String(isDark()));
    drawEnergies();
    drawHistograms();
    powder.draw();
    viewer.draw();
  }
  themeButton.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  prefersDark.addEventListener("change", showTheme);

  /* ---- start ---- */

  if (!followAddress() && table.rows.length) select(0, "start");
  showTheme();
})();
