"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const isNarrow = () => window.matchMedia("(max-width: 1080px)").matches;

  /* ---- text ---- */

  /** A formula with its numbers as subscripts, put into an element. */
  function setFormula(element, formula) {
    element.replaceChildren();
    for (const part of formula.split(/(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)/)) {
      if (part) element.append(/^\d/.test(part) ? make("sub", part) : part);
    }
  }

  /** Text for plotly, which reads some tags: nothing in it is one. */
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const plotFormula = (formula) => plain(formula).replace(/(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)/g, "<sub>$1</sub>");
  const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(3)}`;

  /* ---- theme ---- */

  const themeButton = byId("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";

  function showTheme() {
    themeButton.textContent = isDark() ? "Light" : "Dark";
    themeButton.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    themeButton.setAttribute("aria-pressed", String(isDark()));
    drawPlots();
    viewer.draw();
  }
  themeButton.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  prefersDark.addEventListener("change", showTheme);

  /* ---- plots ---- */

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

  const hullPoints = data.hull ? [...data.hull.candidates, ...data.hull.known] : [];

  const heights = hullPoints.map((point) => point.e_form);
  const close = 0.025 * (Math.max(...heights) - Math.min(...heights)); // eV/atom; about the size of a marker

  /** The points drawn on one another, candidates first. */
  function together(point) {
    const flat = data.hull.elements.length === 3; // a triangle does not show energies
    return hullPoints.filter((other) => other.fractions.every((part, k) => Math.abs(part - point.fractions[k]) < 1e-6) &&
      (flat || Math.abs(other.e_form - point.e_form) < close));
  }

  function hoverTexts(point) {
    const all = together(point), shown = all.slice(0, 4).map(hoverText);
    return shown.join("<br>") + (all.length > shown.length ? `<br>and ${all.length - shown.length} more` : "");
  }

  /** Traces of points in either kind of hull. */
  function hullTraces(hull) {
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

  function drawHull() {
    const hull = data.hull;
    if (!hull) return;
    const [left, right, top] = hull.elements;
    const side = (title) => ({ title: { text: title }, gridcolor: color("grid"), linecolor: color("line"), tickcolor: color("line"), ticks: "", showticklabels: false });
    const more = hull.elements.length === 3
      ? { showlegend: true, margin: { l: 30, r: 20, t: 60, b: 30 }, legend: { orientation: "h", x: 0, y: 1.16, yanchor: "top", font: { size: 12.5 } },
        ternary: { sum: 1, bgcolor: "rgba(0,0,0,0)", aaxis: side(top), baxis: side(left), caxis: side(right) } }
      : { showlegend: true, hovermode: "closest",
        xaxis: { title: { text: `x in ${left}<sub>1−x</sub>${right}<sub>x</sub>`, font: { size: 13.5 } }, range: [-0.03, 1.03] },
        yaxis: { title: { text: "formation energy (eV/atom)", font: { size: 13.5 } }, zeroline: true, zerolinecolor: color("muted") } };
    const plot = byId("hull-plot");
    Plotly.react(plot, hullTraces(hull), layout(more), CONFIG);
    if (!plot.dataset.ready) {
      plot.dataset.ready = "yes";
      plot.on("plotly_click", (event) => {
        const place = event.points.map((point) => point.customdata).find((value) => value !== undefined);
        if (place === undefined) return;
        const points = [hullPoints[place], ...together(hullPoints[place])];
        const rows = [...new Set(points.map((point) => point.row))].filter((row) => row !== undefined);
        if (rows.length) select(rows[(rows.indexOf(selected) + 1) % rows.length], "hull"); // the next one at each click
      });
    }
  }

  function drawDistribution(plot) {
    const found = data.distributions[Number(plot.dataset.plot)];
    const names = Object.keys(found.counts), labelled = found.labels.length > 0;
    const highest = Math.max(...Object.values(found.counts).flat());
    const traces = names.map((name) => {
      const isBackground = names.length > 1 && name !== "relaxed";
      const common = { type: "bar", name, marker: { color: color(isBackground ? "bars" : "accent"), opacity: isBackground || labelled ? 1 : 0.8 }, y: found.counts[name] };
      if (found.labels.length) {
        return { ...common, x: found.labels.map(found.key === "formulas" ? plotFormula : plain), hovertemplate: `%{x}: %{y}<extra>${plain(name)}</extra>` };
      }
      const middles = found.edges.slice(1).map((edge, k) => (edge + found.edges[k]) / 2);
      const texts = middles.map((_, k) => `${+found.edges[k].toPrecision(6)} to ${+found.edges[k + 1].toPrecision(6)}`);
      return { ...common, x: middles, width: middles.map((_, k) => found.edges[k + 1] - found.edges[k]), text: texts, textposition: "none",
        hovertemplate: `%{text}: %{y}<extra>${plain(name)}</extra>` };
    });
    Plotly.react(plot, traces, layout({
      barmode: labelled ? "group" : "overlay", bargap: labelled ? 0.25 : 0, showlegend: names.length > 1,
      xaxis: { title: { text: plain(found.axis), font: { size: 12.5 } }, type: labelled ? "category" : "linear", showgrid: false,
        ...(labelled ? { dtick: 1, tickfont: { size: 11 }, tickangle: found.labels.length > 6 ? -60 : 0 } : {}) },
      yaxis: { title: { text: "crystals", font: { size: 12.5 } }, rangemode: "tozero", tickformat: "d", ...(highest <= 5 ? { dtick: 1 } : {}) },
    }), CONFIG);
  }

  function drawPattern(version) {
    byId("pattern-part").hidden = !version.pattern;
    if (!version.pattern) return;
    const lines = version.pattern;
    const x = lines.flatMap(([angle]) => [angle, angle, null]);
    const y = lines.flatMap(([, intensity]) => [0, intensity, null]);
    Plotly.react(byId("pattern"), [
      { type: "scatter", mode: "lines", x, y, line: { color: color("accent"), width: 1.6 }, hoverinfo: "skip" },
      { type: "scatter", mode: "markers", x: lines.map((l) => l[0]), y: lines.map((l) => l[1]), marker: { size: 8, opacity: 0 },
        text: lines.map((l) => plain(l[2])), hovertemplate: "(%{text})<br>2θ %{x:.2f}°, %{y:.0f} %<extra></extra>" },
    ], layout({ hovermode: "closest", xaxis: { title: { text: "2θ (°)", font: { size: 12.5 } }, range: [10, 90], showgrid: false },
      yaxis: { range: [0, 106], showticklabels: false, ticks: "", title: { text: "intensity", font: { size: 12.5 } } } }), CONFIG);
  }

  function drawPlots() {
    drawHull();
    document.querySelectorAll(".distribution").forEach(drawDistribution);
    if (version) drawPattern(version);
  }

  /* ---- the crystal in three dimensions: painted from back to front ---- */

  const viewer = (() => {
    const canvas = byId("view");
    const context = canvas.getContext("2d");
    let scene = null, points = [], extent = 1, zoom = 1, turn = null, polyhedra = true;
    const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    const unit = (a) => { const n = Math.hypot(...a) || 1; return a.map((v) => v / n); };
    const rows = (m, v) => m.map((row) => dot(row, v));

    /** Rows x (right), y (up), z (to the eye). */
    function along(axis) {
      const z = unit(scene.lattice[axis]);
      const up = scene.lattice[axis === 2 ? 1 : 2];
      const y = unit(up.map((v, k) => v - dot(up, z) * z[k]));
      return [cross(y, z), y, z];
    }

    function rotate(dx, dy) {
      const [cx, sx, cy, sy] = [Math.cos(dx), Math.sin(dx), Math.cos(dy), Math.sin(dy)];
      const [x, y, z] = turn;
      const mix = (a, p, b, q) => a.map((v, k) => p * v + q * b[k]);
      const [x1, z1] = [mix(x, cx, z, sx), mix(z, cx, x, -sx)];
      turn = [x1, mix(y, cy, z1, -sy), mix(z1, cy, y, sy)];
      draw();
    }

    function show(next) {
      scene = next;
      zoom = 1;
      const middle = [0, 1, 2].map((k) => (scene.lattice[0][k] + scene.lattice[1][k] + scene.lattice[2][k]) / 2);
      points = [];
      for (let k = 0; k < scene.atoms.length; k += 4) {
        points.push({ element: scene.elements[scene.atoms[k]], at: [1, 2, 3].map((d) => scene.atoms[k + d] - middle[d - 1]) });
      }
      const corners = cell().flat();
      extent = Math.max(...corners.concat(points.map((p) => p.at)).map((p) => Math.hypot(...p))) + 0.6;
      turn = along(1);
      const view = [-0.32, 0.2];
      rotate(view[0], view[1]);
    }

    /** Edges of the cell, as pairs of corners around its middle. */
    function cell() {
      const at = (i, j, k) => [0, 1, 2].map((d) => (i - 0.5) * scene.lattice[0][d] + (j - 0.5) * scene.lattice[1][d] + (k - 0.5) * scene.lattice[2][d]);
      const edges = [];
      for (const i of [0, 1]) for (const j of [0, 1]) {
        edges.push([at(0, i, j), at(1, i, j)], [at(i, 0, j), at(i, 1, j)], [at(i, j, 0), at(i, j, 1)]);
      }
      return edges;
    }

    function draw() {
      const { clientWidth: width, clientHeight: height } = canvas;
      if (!scene || !width) return;
      const dense = window.devicePixelRatio || 1;
      if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
        canvas.width = Math.round(width * dense);
        canvas.height = Math.round(height * dense);
      }
      context.setTransform(dense, 0, 0, dense, 0, 0);
      context.clearRect(0, 0, width, height);
      const scale = zoom * Math.min(width, height) / (2 * extent);
      const project = (p) => { const [x, y, z] = rows(turn, p); return [width / 2 + scale * x, height / 2 - scale * y, z]; };
      const seen = points.map((p) => project(p.at));
      const radius = (k) => 0.34 * points[k].element[2] ** 0.6 * scale;
      const items = [];
      for (const [a, b] of cell()) {
        const parts = 8; // short pieces, so that they hide behind what is before them
        for (let k = 0; k < parts; k++) {
          const between = (t) => a.map((v, d) => v + (b[d] - v) * t);
          const [from, to] = [project(between(k / parts)), project(between((k + 1) / parts))];
          items.push([(from[2] + to[2]) / 2, () => line(from, to, color_.muted, 1)]);
        }
      }
      for (let k = 0; k < scene.bonds.length; k += 2) {
        const [i, j] = [scene.bonds[k], scene.bonds[k + 1]];
        const half = seen[i].map((v, d) => (v + seen[j][d]) / 2);
        for (const end of [i, j]) {
          items.push([(seen[end][2] + half[2]) / 2 - 0.05, () => stick(seen[end], half, points[end].element[1], Math.max(2, 0.13 * scale))]);
        }
      }
      points.forEach((p, k) => items.push([seen[k][2], () => ball(seen[k], radius(k), p.element[1])]));
      if (polyhedra) {
        for (const [center, faces] of scene.polyhedra) {
          for (const face of faces) {
            const depth = face.reduce((sum, k) => sum + seen[k][2], 0) / face.length;
            items.push([depth, () => polygon(face.map((k) => seen[k]), points[center].element[1])]);
          }
        }
      }
      items.sort((a, b) => a[0] - b[0]).forEach(([, paint]) => paint());
      const corner = [34, height - 30];
      ["a", "b", "c"].forEach((name, k) => {
        const [x, y] = rows(turn, unit(scene.lattice[k]));
        line(corner, [corner[0] + 20 * x, corner[1] - 20 * y], color_.ink, 1.5);
        context.fillStyle = color_.ink;
        context.font = "italic 12px system-ui, sans-serif";
        context.fillText(name, corner[0] + 27 * x - 3, corner[1] - 27 * y + 4);
      });
    }

    const color_ = { muted: "", ink: "", card: "" };
    const paint = () => { for (const name of Object.keys(color_)) color_[name] = color(name); draw(); };
    const mixed = (hex, other, share) => {
      const value = (text, k) => parseInt(text.slice(1 + 2 * k, 3 + 2 * k), 16);
      return `rgb(${[0, 1, 2].map((k) => Math.round(value(hex, k) * (1 - share) + value(other, k) * share)).join(" ")})`;
    };

    function line([x0, y0], [x1, y1], stroke, width) {
      context.strokeStyle = stroke;
      context.lineWidth = width;
      context.lineCap = "round";
      context.beginPath();
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      context.stroke();
    }
    function stick(from, to, fill, width) {
      line(from, to, mixed(fill, "#000000", 0.45), width + 1.2);
      line(from, to, mixed(fill, "#000000", 0.08), width);
      line(from, to, mixed(fill, "#ffffff", 0.4), width / 3);
    }
    function ball([x, y], r, fill) {
      const shade = context.createRadialGradient(x - 0.35 * r, y - 0.4 * r, 0.08 * r, x, y, r);
      shade.addColorStop(0, mixed(fill, "#ffffff", 0.75));
      shade.addColorStop(0.45, fill);
      shade.addColorStop(1, mixed(fill, "#000000", 0.38));
      context.fillStyle = shade;
      context.beginPath();
      context.arc(x, y, r, 0, 2 * Math.PI);
      context.fill();
      context.lineWidth = 0.7;
      context.strokeStyle = mixed(fill, "#000000", 0.55);
      context.stroke();
    }
    function polygon(corners, fill) {
      context.beginPath();
      corners.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
      context.globalAlpha = 0.26;
      context.fillStyle = fill;
      context.fill();
      context.globalAlpha = 0.55;
      context.lineWidth = 0.8;
      context.strokeStyle = mixed(fill, "#000000", 0.3);
      context.stroke();
      context.globalAlpha = 1;
    }

    let last = null;
    canvas.addEventListener("pointerdown", (event) => { last = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!last || !scene) return;
      const [dx, dy] = [event.clientX - last[0], event.clientY - last[1]];
      last = [event.clientX, event.clientY];
      rotate(-dx / 110, dy / 110);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { last = null; });
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [0.12, 0], ArrowRight: [-0.12, 0], ArrowUp: [0, -0.12], ArrowDown: [0, 0.12] };
      const zooms = { "+": 1.15, "-": 1 / 1.15 };
      if (!scene || !(event.key in steps || event.key in zooms)) return;
      event.preventDefault();
      if (event.key in steps) rotate(...steps[event.key]);
      else { zoom *= zooms[event.key]; draw(); }
    });
    document.querySelectorAll(".tools [data-axis]").forEach((button) => button.addEventListener("click", () => { turn = along(Number(button.dataset.axis)); draw(); }));
    document.querySelectorAll(".tools [data-zoom]").forEach((button) => button.addEventListener("click", () => { zoom *= Number(button.dataset.zoom); draw(); }));
    byId("polyhedra").addEventListener("click", (event) => {
      polyhedra = !polyhedra;
      event.currentTarget.setAttribute("aria-pressed", String(polyhedra));
      draw();
    });
    new ResizeObserver(() => draw()).observe(canvas);
    return { show, draw: paint };
  })();

  /* ---- the chosen crystal ---- */

  let selected = null, crystal = null, version = null;

  function factsInto(list, facts) {
    list.replaceChildren(...facts.map(([label, value]) => {
      const line = make("div");
      line.append(make("dt", label), make("dd", value));
      return line;
    }));
  }

  function showVersion(next) {
    version = next;
    byId("versions").hidden = crystal.versions.length < 2;
    byId("versions").replaceChildren(...crystal.versions.map((other) => {
      const button = make("button", other.label);
      button.type = "button";
      button.setAttribute("aria-pressed", String(other === version));
      button.addEventListener("click", () => showVersion(other));
      return button;
    }));
    document.querySelector(".viewer").hidden = !version.scene;
    byId("no-drawing").hidden = Boolean(version.scene);
    if (version.scene) {
      byId("legend").replaceChildren(...version.scene.elements.map(([symbol, fill]) => {
        const entry = make("span");
        const dot = make("i");
        dot.style.background = fill;
        entry.append(dot, symbol);
        return entry;
      }));
      byId("polyhedra").hidden = !version.scene.polyhedra.length;
      viewer.draw();
      viewer.show(version.scene);
    }
    factsInto(byId("facts"), [...crystal.facts, ...(version.cell || [])]);
    drawPattern(version);
    byId("text-part").hidden = !version.text;
    byId("text").textContent = version.text;
    byId("file").textContent = version.file || `${version.kind} (no such file in the folder)`;
    byId("download").textContent = `Download ${version.kind}`;
    byId("copy").textContent = `Copy ${version.kind}`;
    byId("said").textContent = "";
  }

  function select(row, from) {
    const line = body.querySelector(`tr[data-row="${row}"]`);
    if (!line) return;
    for (const other of body.querySelectorAll('tr[aria-selected="true"]')) {
      other.setAttribute("aria-selected", "false");
      other.tabIndex = -1;
    }
    line.setAttribute("aria-selected", "true");
    line.tabIndex = 0;
    if (from !== "start") {
      const box = line.closest(".scroll"), head = box.querySelector("thead").offsetHeight;
      if (line.offsetTop - head < box.scrollTop) box.scrollTop = line.offsetTop - head;
      else if (line.offsetTop + line.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = line.offsetTop + line.offsetHeight - box.clientHeight;
    }
    selected = row;
    crystal = data.crystals[row] || null;
    byId("structure-none").hidden = Boolean(crystal);
    byId("structure-body").hidden = !crystal;
    if (crystal) {
      setFormula(byId("structure-formula"), crystal.formula);
      byId("structure-name").textContent = crystal.name;
      showVersion(crystal.versions[0] || { scene: null, pattern: null, text: "" });
    } else {
      byId("structure-formula").textContent = "Structure";
      byId("structure-name").textContent = "";
      byId("structure-none").textContent = "This crystal's structure is not on the page; its files are in the folder.";
    }
    drawHull();
    if (from === "table" && isNarrow()) byId("structure").scrollIntoView();
  }

  byId("download").addEventListener("click", () => {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([version.text], { type: "application/octet-stream" }));
    link.download = version.file.split("/").pop() || `${crystal.name}.${version.kind === "CIF" ? "cif" : "vasp"}`;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    byId("said").textContent = "";
  });

  byId("copy").addEventListener("click", async () => {
    let done = false;
    try {
      await navigator.clipboard.writeText(version.text);
      done = true;
    } catch {
      const area = make("textarea"); // browsers that keep the clipboard from local files
      area.value = version.text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    byId("said").textContent = done ? "Copied" : "The browser refused; the text is below";
  });

  /* ---- the table ---- */

  const section = byId("table");
  const body = section.querySelector("tbody");
  const heads = [...section.querySelectorAll("thead th")];
  const lines = [...body.rows];
  const keys = heads.map((head) => head.dataset.key);
  const isNumber = heads.map((head) => head.className !== "text" && head.className !== "formula");
  const values = new Map(lines.map((line) => [line, [...line.cells].map((cell) => cell.dataset.v)]));
  const texts = new Map(lines.map((line) => [line, [...line.cells].map((cell) => `${cell.textContent} ${cell.dataset.v}`).join(" ").toLowerCase()]));

  function sort(column, direction) {
    heads.forEach((head, k) => (k === column ? head.setAttribute("aria-sort", direction) : head.removeAttribute("aria-sort")));
    const sign = direction === "ascending" ? 1 : -1;
    const ordered = lines.slice().sort((a, b) => {
      const [one, other] = [values.get(a)[column], values.get(b)[column]];
      if (one === "" || other === "") return (one === "") - (other === ""); // what has no value comes last either way
      const order = isNumber[column] ? one - other : one.localeCompare(other, "en", { numeric: true });
      return sign * order || a.dataset.row - b.dataset.row;
    });
    body.append(...ordered);
    section.querySelector(".scroll").scrollTop = 0;
  }
  heads.forEach((head, k) => head.querySelector("button").addEventListener("click", () => {
    sort(k, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
  }));

  const COMPARISONS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };

  /** A word or a comparison as a test of a row; null for a comparison with a column that is not there. */
  function term(text) {
    const parts = text.match(/^(.+?)(<=|>=|=|<|>)(.+)$/);
    if (!parts) return (line) => texts.get(line).includes(text.toLowerCase());
    const wanted = parts[1].toLowerCase().replace(/[ _]/g, "");
    const column = keys.findIndex((key) => key.toLowerCase().replace(/[ _]/g, "") === wanted);
    if (column < 0) return null;
    const bound = isNumber[column] ? Number(parts[3].replace(/^yes$/i, "1").replace(/^no$/i, "0").replace("−", "-")) : parts[3].toLowerCase();
    if (Number.isNaN(bound)) return null;
    return (line) => {
      const value = values.get(line)[column];
      return value !== "" && COMPARISONS[parts[2]](isNumber[column] ? Number(value) : value.toLowerCase(), bound);
    };
  }

  const input = byId("filter");
  function filter() {
    const written = input.value.replace(/\s*(<=|>=|=|<|>)\s*/g, "$1").trim();
    const terms = written.split(/\s+/).filter(Boolean).map(term);
    input.setAttribute("aria-invalid", String(terms.includes(null)));
    let shown = 0;
    for (const line of lines) {
      line.hidden = !terms.every((test) => test === null || test(line));
      shown += !line.hidden;
    }
    byId("count").textContent = terms.includes(null) ? "no such column or number" : `${shown} of ${lines.length}`;
  }
  input.addEventListener("input", filter);
  section.querySelectorAll(".example").forEach((button) => button.addEventListener("click", () => {
    input.value = input.value.includes(button.textContent) ? input.value.replace(button.textContent, "").trim() : `${input.value} ${button.textContent}`.trim();
    filter();
  }));

  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr[data-row]");
    if (line && !String(window.getSelection())) select(Number(line.dataset.row), "table");
  });
  body.addEventListener("keydown", (event) => {
    const visible = [...body.rows].filter((line) => !line.hidden);
    const at = visible.indexOf(event.target.closest("tr"));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: visible.length - 1 }[event.key];
    if (to === undefined || !visible[to]) return;
    event.preventDefault();
    select(Number(visible[to].dataset.row), "keys");
    visible[to].focus({ preventScroll: true });
  });

  /* ---- start ---- */

  filter();
  if (lines.length) select(Number(lines[0].dataset.row), "start");
  showTheme();
})();
