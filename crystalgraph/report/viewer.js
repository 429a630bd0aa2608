"use strict";

/**
 * A crystal in three dimensions, painted from back to front, which can be turned, enlarged, repeated and measured.
 *
 * @param root has the canvas "#view", the buttons and choices of ".tools", and what is said of atoms.
 * @param color gives the page's colour of a name.
 * @returns `show(scene, keep)`: a crystal as `crystalgraph.report.drawing.scene` has it, seen from where one looks when
 *   `keep` is true; `draw()`: again, in today's colours; `picture()`: a promise of it as a PNG.
 */
function crystalViewer(root, color) {
  const canvas = root.querySelector("#view"), [atomSaid, measured] = [byId("atom"), byId("measured")];
  const MOST_ATOMS = 4000, CLICK = 4, PICTURE = 2400; // atoms drawn; pixels that a click may move; width of a picture
  let source = null, scene = null, points = [], extent = 1, middle = [0, 0, 0];
  let zoom = 1, shift = [0, 0], turn = null, polyhedra = true, labels = "", picked = [], pointed = null, brush = null;
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const unit = (a) => { const n = Math.hypot(...a) || 1; return a.map((v) => v / n); };

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

  function enlarge(factor) {
    zoom = Math.min(20, Math.max(0.2, zoom * factor));
    draw();
  }

  /** As large as it fits from where one looks. */
  function reset() {
    [zoom, shift, turn] = [1, [0, 0], along(1)];
    rotate(-0.32, 0.2);
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width) return;
    const { project } = projection(width, height);
    const seen = cell().flat().concat(points.map((p) => p.from)).map(project);
    const reach = (axis, size) => Math.max(...seen.map((p) => Math.abs(p[axis] - size / 2)));
    enlarge(Math.min(2, (0.5 * width - 36) / reach(0, width), (0.5 * height - 36) / reach(1, height)));
  }

  function show(next, keep) {
    source = next;
    const choice = byId("cells");
    const nSites = source.sites.length / 4;
    for (const option of choice.options) {
      option.disabled = option.value.split(" ").reduce((n, times) => n * Number(times), nSites) > MOST_ATOMS;
    }
    if (choice.selectedOptions[0].disabled) choice.value = "1 1 1";
    repeat();
    if (keep && turn) draw();
    else reset();
  }

  function repeat() {
    scene = repeatedScene(source, byId("cells").value.split(" ").map(Number));
    middle = cartesian(scene.lattice, [0.5, 0.5, 0.5]);
    points = scene.atoms.map((atom) => ({ ...atom, from: atom.at.map((v, k) => v - middle[k]) }));
    extent = Math.max(...cell().flat().concat(points.map((p) => p.from)).map((p) => Math.hypot(...p))) + 0.6;
    pick([]);
  }

  /** Edges of the cell, as pairs of corners around its middle. */
  function cell() {
    const at = (...corner) => cartesian(scene.lattice, corner.map((v) => v - 0.5));
    const edges = [];
    for (const i of [0, 1]) for (const j of [0, 1]) {
      edges.push([at(0, i, j), at(1, i, j)], [at(i, 0, j), at(i, 1, j)], [at(i, j, 0), at(i, j, 1)]);
    }
    return edges;
  }

  /** Where atoms and other points are on a canvas of a size, and how large an atom is there. */
  function projection(width, height) {
    const scale = (zoom * Math.min(width, height)) / (2 * extent);
    const project = (p) => {
      const [x, y, z] = turn.map((row) => dot(row, p));
      return [width / 2 + shift[0] * width + scale * x, height / 2 + shift[1] * height - scale * y, z];
    };
    return { scale, project, radius: (point) => 0.34 * point.element[2] ** 0.6 * scale };
  }

  function paint(context, brush, width, height) {
    const ink = Object.fromEntries(["muted", "ink", "card", "accent"].map((name) => [name, color(name)]));
    context.clearRect(0, 0, width, height);
    const { scale, project, radius } = projection(width, height);
    const seen = points.map((p) => project(p.from));
    const items = [];
    for (const [a, b] of cell()) {
      const parts = 8; // short pieces, so that they hide behind what is before them
      for (let k = 0; k < parts; k++) {
        const between = (t) => a.map((v, d) => v + (b[d] - v) * t);
        const [from, to] = [project(between(k / parts)), project(between((k + 1) / parts))];
        items.push([(from[2] + to[2]) / 2, () => brush.line(from, to, ink.muted, 1)]);
      }
    }
    for (const [i, j] of scene.bonds) {
      const half = seen[i].map((v, d) => (v + seen[j][d]) / 2);
      for (const end of [i, j]) {
        items.push([(seen[end][2] + half[2]) / 2 - 0.05, () => brush.stick(seen[end], half, points[end].element[1], Math.max(2, 0.13 * scale))]);
      }
    }
    const words = { element: (p) => p.element[0], site: (p) => p.label, coordination: (p) => String(p.coordination) }[labels];
    points.forEach((p, k) => items.push([seen[k][2], () => {
      brush.ball(seen[k], radius(p), p.element[1]);
      if (words) brush.text(words(p), seen[k], ink.ink, ink.card);
    }]));
    if (polyhedra) {
      for (const [center, faces] of scene.polyhedra) {
        for (const face of faces) {
          const depth = face.reduce((sum, k) => sum + seen[k][2], 0) / face.length;
          items.push([depth, () => brush.polygon(face.map((k) => seen[k]), points[center].element[1])]);
        }
      }
    }
    items.sort((a, b) => a[0] - b[0]).forEach(([, put]) => put());
    for (const k of picked) brush.ring(seen[k], radius(points[k]) + 3, ink.accent);
    if (pointed !== null && !picked.includes(pointed)) brush.ring(seen[pointed], radius(points[pointed]) + 2, ink.muted);
    picked.slice(1).forEach((k, n) => {
      const [from, to] = [seen[picked[n]], seen[k]];
      brush.line(from, to, ink.accent, 2, [5, 5]);
      brush.text(`${distanceBetween(points[picked[n]], points[k]).toFixed(3)} Å`, [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2], ink.accent, ink.card);
    });
    const corner = [36, height - 32];
    ["a", "b", "c"].forEach((name, k) => {
      const [x, y] = turn.map((row) => dot(row, unit(scene.lattice[k])));
      brush.line(corner, [corner[0] + 20 * x, corner[1] - 20 * y], ink.ink, 1.5);
      brush.text(name, [corner[0] + 28 * x, corner[1] - 28 * y], ink.ink, ink.card, "italic 12px system-ui, sans-serif");
    });
  }

  function draw() {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!scene || !width) return;
    const dense = window.devicePixelRatio || 1;
    const context = canvas.getContext("2d");
    if (!brush || canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
      canvas.width = Math.round(width * dense);
      canvas.height = Math.round(height * dense);
      brush = crystalBrush(context, dense);
    }
    context.setTransform(dense, 0, 0, dense, 0, 0);
    paint(context, brush, width, height);
  }

  function picture() {
    const { clientWidth: width, clientHeight: height } = canvas;
    const large = make("canvas"), dense = PICTURE / width;
    [large.width, large.height] = [PICTURE, Math.round(height * dense)];
    const context = large.getContext("2d");
    context.setTransform(dense, 0, 0, dense, 0, 0);
    paint(context, crystalBrush(context, dense), width, height);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = color("card");
    context.fillRect(0, 0, width, height);
    return new Promise((done) => large.toBlob(done, "image/png"));
  }

  /* ---- atoms that are pointed at and picked ---- */

  /** The atom in front at a point of the canvas; null where there is none. */
  function atomAt(x, y) {
    if (!scene) return null;
    const { project, radius } = projection(canvas.clientWidth, canvas.clientHeight);
    let [front, depth] = [null, -Infinity];
    points.forEach((p, k) => {
      const [px, py, z] = project(p.from);
      if (z > depth && Math.hypot(px - x, py - y) <= Math.max(radius(p), 5)) [front, depth] = [k, z];
    });
    return front;
  }

  function point(atom) {
    pointed = atom;
    const there = atom === null ? null : points[atom];
    atomSaid.textContent = there ? `${there.label}, ${there.coordination} neighbours` : "";
  }

  function pick(next) {
    picked = next;
    pointed = null;
    atomSaid.textContent = "";
    measured.textContent = measureText(picked.map((k) => points[k]));
    byId("unpick").hidden = !picked.length;
  }

  function pickOne(atom) {
    if (atom === null) return;
    if (picked.includes(atom)) pick(picked.filter((k) => k !== atom));
    else pick(picked.length === MOST_PICKED ? [atom] : [...picked, atom]);
    draw();
  }

  /* ---- pointers, wheel and keys ---- */

  const pointers = new Map();
  let travelled = 0;
  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const spread = () => { const [one, other] = [...pointers.values()]; return Math.hypot(one[0] - other[0], one[1] - other[1]); };

  canvas.addEventListener("pointerdown", (event) => {
    if (!pointers.size) travelled = 0;
    pointers.set(event.pointerId, place(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!scene) return;
    const [x, y] = place(event);
    const last = pointers.get(event.pointerId);
    if (!last) {
      const before = pointed;
      point(atomAt(x, y));
      if (pointed !== before) draw();
      return;
    }
    const [dx, dy] = [x - last[0], y - last[1]];
    travelled += Math.hypot(dx, dy);
    const before = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, [x, y]);
    if (pointers.size === 2) enlarge(spread() / (before || 1));
    else if (travelled > CLICK && event.shiftKey) { shift = [shift[0] + dx / canvas.clientWidth, shift[1] + dy / canvas.clientHeight]; draw(); }
    else if (travelled > CLICK) rotate(-dx / 110, dy / 110);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (pointers.size === 1 && travelled <= CLICK) pickOne(atomAt(...place(event)));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => { if (pointed !== null && !pointers.size) { point(null); draw(); } });
  canvas.addEventListener("wheel", (event) => {
    if (!scene) return;
    event.preventDefault();
    enlarge(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0015)));
  }, { passive: false });

  /** The atom that comes next from front to back. */
  function nextAtom(step) {
    const order = points.map((_, k) => k).sort((i, j) => dot(turn[2], points[j].from) - dot(turn[2], points[i].from));
    const at = order.indexOf(pointed);
    point(order[(at + step + order.length + (at < 0 && step < 0 ? 1 : 0)) % order.length]);
    draw();
  }
  const KEYS = {
    ArrowLeft: () => rotate(0.12, 0), ArrowRight: () => rotate(-0.12, 0), ArrowUp: () => rotate(0, -0.12), ArrowDown: () => rotate(0, 0.12),
    "+": () => enlarge(1.15), "-": () => enlarge(1 / 1.15), 0: reset, ".": () => nextAtom(1), ",": () => nextAtom(-1),
    Enter: () => { const atom = pointed; pickOne(atom); if (atom !== null) point(atom); draw(); }, Escape: () => { pick([]); draw(); },
  };
  canvas.addEventListener("keydown", (event) => {
    if (!scene || !(event.key in KEYS) || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && document.fullscreenElement) return; // leaves the full screen
    event.preventDefault();
    KEYS[event.key]();
  });

  /* ---- tools ---- */

  root.querySelectorAll("[data-axis]").forEach((button) => button.addEventListener("click", () => { turn = along(Number(button.dataset.axis)); draw(); }));
  root.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", () => enlarge(Number(button.dataset.zoom))));
  byId("reset").addEventListener("click", reset);
  byId("unpick").addEventListener("click", () => { pick([]); draw(); canvas.focus(); });
  byId("cells").addEventListener("change", () => { repeat(); draw(); });
  byId("labels").addEventListener("change", (event) => { labels = event.target.value; draw(); });
  byId("polyhedra").addEventListener("click", (event) => {
    polyhedra = !polyhedra;
    event.currentTarget.setAttribute("aria-pressed", String(polyhedra));
    draw();
  });

  /* Where the browser has no full screen, as on telephones, the viewer fills the window. */
  const isWhole = () => document.fullscreenElement === root || root.classList.contains("whole");
  function showWhole() {
    byId("whole").textContent = isWhole() ? "Leave full screen" : "Full screen";
    byId("whole").setAttribute("aria-pressed", String(isWhole()));
    draw();
  }
  byId("whole").addEventListener("click", async () => {
    if (document.fullscreenElement) await document.exitFullscreen();
    else if (root.classList.contains("whole")) root.classList.remove("whole");
    else {
      try { await root.requestFullscreen(); } catch { root.classList.add("whole"); }
    }
    showWhole();
  });
  document.addEventListener("fullscreenchange", showWhole);
  root.addEventListener("keydown", (event) => { if (event.key === "Escape" && root.classList.contains("whole")) { root.classList.remove("whole"); showWhole(); } });

  new ResizeObserver(() => draw()).observe(canvas);
  return { show, draw, picture };
}
