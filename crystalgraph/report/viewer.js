"use strict";

/**
 * A crystal in three dimensions, painted from back to front.
 *
 * @param canvas where it is painted; pointer and keys on it turn and zoom, and so do the buttons in ".tools".
 * @param color gives the page's colour of a name: "muted", "ink" or "card".
 * @returns `show(scene)`: a crystal as `crystalgraph.report.drawing.scene` has it; `draw()`: again, in today's colours.
 */
function crystalViewer(canvas, color) {
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
  document.getElementById("polyhedra").addEventListener("click", (event) => {
    polyhedra = !polyhedra;
    event.currentTarget.setAttribute("aria-pressed", String(polyhedra));
    draw();
  });
  new ResizeObserver(() => draw()).observe(canvas);
  return { show, draw: paint };
}
