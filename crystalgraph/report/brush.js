"use strict";

/**
 * Balls, sticks, polygons and texts on a canvas.
 *
 * @param context of the canvas.
 * @param dense pixels of the canvas for one of the page.
 */
function crystalBrush(context, dense) {
  const BALL = 96; // pixels across, of the picture that balls of a colour are made from
  const balls = new Map();
  const mixed = (hex, other, share) => {
    const value = (text, k) => parseInt(text.slice(1 + 2 * k, 3 + 2 * k), 16);
    return `rgb(${[0, 1, 2].map((k) => Math.round(value(hex, k) * (1 - share) + value(other, k) * share)).join(" ")})`;
  };

  function pictureOf(fill) {
    if (!balls.has(fill)) {
      const picture = document.createElement("canvas");
      picture.width = picture.height = BALL * dense;
      const pen = picture.getContext("2d"), half = (BALL * dense) / 2, r = half - 2 * dense;
      const shade = pen.createRadialGradient(half - 0.35 * r, half - 0.4 * r, 0.08 * r, half, half, r);
      shade.addColorStop(0, mixed(fill, "#ffffff", 0.75));
      shade.addColorStop(0.45, fill);
      shade.addColorStop(1, mixed(fill, "#000000", 0.38));
      pen.fillStyle = shade;
      pen.beginPath();
      pen.arc(half, half, r, 0, 2 * Math.PI);
      pen.fill();
      pen.lineWidth = 1.6 * dense;
      pen.strokeStyle = mixed(fill, "#000000", 0.55);
      pen.stroke();
      balls.set(fill, picture);
    }
    return balls.get(fill);
  }

  function line([x0, y0], [x1, y1], stroke, width, dash = []) {
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.lineCap = "round";
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
    context.setLineDash([]);
  }
  function stick(from, to, fill, width) {
    line(from, to, mixed(fill, "#000000", 0.45), width + 1.2);
    line(from, to, mixed(fill, "#000000", 0.08), width);
    line(from, to, mixed(fill, "#ffffff", 0.4), width / 3);
  }
  function ball([x, y], r, fill) {
    const size = (2 * r * BALL) / (BALL - 4);
    context.drawImage(pictureOf(fill), x - size / 2, y - size / 2, size, size);
  }
  function ring([x, y], r, stroke) {
    context.beginPath();
    context.arc(x, y, r, 0, 2 * Math.PI);
    context.lineWidth = 2.5;
    context.strokeStyle = stroke;
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
  /** A text around a point, with a rim of another colour, so that it can be read on anything. */
  function text(words, [x, y], ink, rim, style = "600 12px system-ui, sans-serif") {
    context.font = style;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = 3.5;
    context.strokeStyle = rim;
    context.strokeText(words, x, y);
    context.fillStyle = ink;
    context.fillText(words, x, y);
  }
  return { line, stick, ball, ring, polygon, text };
}
