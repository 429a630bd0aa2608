"use strict";

/*
 * Powder patterns: lines of a crystal with any radiation, their profile, measured patterns, and how alike they are.
 *
 * The similarity is that of de Gelder, Wehrens and Hageman, J. Comput. Chem. 22, 273 (2001): the correlation of two
 * patterns, weighted by a triangle of the shift between them. A lattice that is a few percent too large or too small
 * is allowed for: the similarity is that at the best common scale of the cell's lengths.
 */

const TRIANGLE = 0.4; // half the base of the triangle, degrees
const SCALES = { most: 0.04, step: 0.002 }; // of the lengths of the cell
const WIDTHS = [0.04, 0.06, 0.09, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1]; // of lines, degrees, that are tried
const GRID = 0.02; // degrees, of measured patterns
const FEWEST_POINTS = 20; // that a measured pattern has
const SIGMA = 1 / Math.sqrt(8 * Math.log(2)); // of a Gaussian, over its full width at half maximum

/**
 * Lines of a crystal.
 *
 * @param reflections as `crystalgraph.report.drawing.reflections` has them.
 * @param wavelength in Å.
 * @param scale of the cell's lengths.
 * @returns `angle` (2θ, degrees), `intensity` (percent of the strongest) and `miller` of each that can be seen.
 */
function powderLines(reflections, wavelength, scale = 1) {
  const lines = [];
  let strongest = 0;
  for (const [inverse, strength, miller] of reflections) {
    const sine = (inverse / scale) * wavelength / 2;
    if (sine >= 1) continue;
    const theta = Math.asin(sine);
    const lorentz = (1 + Math.cos(2 * theta) ** 2) / (sine ** 2 * Math.cos(theta));
    lines.push({ angle: (360 * theta) / Math.PI, intensity: strength * lorentz, miller });
    strongest = Math.max(strongest, strength * lorentz);
  }
  for (const line of lines) line.intensity *= 100 / strongest;
  return lines;
}

/** Lines as Gaussians of a full width at half maximum (degrees), at some angles; the highest point is 100. */
function profileOf(lines, angles, width) {
  const sigma = width * SIGMA, values = new Float64Array(angles.length);
  const step = angles[1] - angles[0];
  for (const { angle, intensity } of lines) {
    const first = Math.max(0, Math.floor((angle - 5 * sigma - angles[0]) / step));
    const last = Math.min(angles.length - 1, Math.ceil((angle + 5 * sigma - angles[0]) / step));
    for (let k = first; k <= last; k++) values[k] += intensity * Math.exp(-0.5 * ((angles[k] - angle) / sigma) ** 2);
  }
  const highest = values.reduce((most, value) => Math.max(most, value), 0);
  return highest > 0 ? values.map((value) => (100 * value) / highest) : values;
}

/**
 * A measured pattern from the text of a file: two numbers a line, 2θ (degrees) and counts; what stands behind is left.
 *
 * @throws Error with one line for the reader if the text is none.
 */
function readPattern(text) {
  const points = [];
  for (const line of text.split(/\r\n?|\n/)) {
    const hasCommas = /^\s*[-+]?\d+,\d+[\s;]/.test(line) && !line.includes("."); // for points
    const fields = (hasCommas ? line.replace(/(\d),(\d)/g, "$1.$2") : line).trim().split(/[\s,;]+/);
    const [angle, counts] = fields.slice(0, 2).map((field) => (field === "" ? NaN : Number(field)));
    if (Number.isFinite(angle) && Number.isFinite(counts)) points.push([angle, counts]);
  }
  if (points.length < FEWEST_POINTS) {
    throw new Error(`no pattern: ${points.length} lines with two numbers, and ${FEWEST_POINTS} are the fewest; give 2θ in degrees and counts, a pair a line`);
  }
  points.sort((one, other) => one[0] - other[0]);
  const [first, last] = [points[0][0], points[points.length - 1][0]];
  if (first < 0 || last > 180 || last - first < 5) {
    throw new Error(`no pattern: its first column goes from ${first} to ${last}; 2θ in degrees lies between 0 and 180, and spans 5 at least`);
  }
  if (!points.some(([, counts]) => counts > 0)) throw new Error("no pattern: no count is above zero");
  return { angles: points.map((point) => point[0]), counts: points.map((point) => point[1]) };
}

/** A measured pattern on an even grid, without its background; the highest point is 100. */
function preparedPattern({ angles, counts }) {
  const n = Math.floor((angles[angles.length - 1] - angles[0]) / GRID) + 1;
  const grid = Float64Array.from({ length: n }, (_, k) => angles[0] + k * GRID);
  const values = new Float64Array(n);
  let left = 0;
  grid.forEach((angle, k) => {
    while (left < angles.length - 2 && angles[left + 1] < angle) left += 1;
    const span = angles[left + 1] - angles[left];
    const share = span > 0 ? Math.min(1, (angle - angles[left]) / span) : 0;
    values[k] = counts[left] * (1 - share) + counts[left + 1] * share;
  });
  return { angles: grid, counts: withoutBackground(values) };
}

/** Counts without what is below the peaks; the highest is 100. */
function withoutBackground(values) {
  const background = backgroundOf(averaged(values, Math.round(0.1 / GRID)));
  const above = values.map((value, k) => value - background[k]);
  const floor = Math.max(0, Float64Array.from(above).sort()[Math.floor(values.length / 2)]); // noise, where lines are few
  const clean = above.map((value) => Math.max(0, value - floor));
  const highest = clean.reduce((most, value) => Math.max(most, value), 0) || 1;
  return clean.map((value) => (100 * value) / highest);
}

/** The mean of each value and those around it. */
function averaged(values, reach) {
  const sums = new Float64Array(values.length + 1);
  values.forEach((value, k) => { sums[k + 1] = sums[k] + value; });
  return values.map((_, k) => {
    const [first, end] = [Math.max(0, k - reach), Math.min(values.length, k + reach + 1)];
    return (sums[end] - sums[first]) / (end - first);
  });
}

/** Background of a pattern: peaks clipped again and again (SNIP; Morháč et al., Nucl. Instrum. Methods A 401, 113 (1997)). */
function backgroundOf(values) {
  const WIDEST = 1.5; // degrees, half the width of what is taken as a peak
  let clipped = Float64Array.from(values, (value) => Math.log(Math.log(Math.sqrt(Math.max(0, value) + 1) + 1) + 1));
  let next = clipped.slice();
  for (let reach = Math.round(WIDEST / GRID); reach >= 1; reach -= reach > 12 ? 3 : 1) {
    for (let k = reach; k < clipped.length - reach; k++) {
      const across = (clipped[k - reach] + clipped[k + reach]) / 2;
      next[k] = clipped[k] < across ? clipped[k] : across;
    }
    [clipped, next] = [next, clipped];
    next.set(clipped);
  }
  return clipped.map((value) => (Math.exp(Math.exp(value) - 1) - 1) ** 2 - 1);
}

/** A kernel as a table over shifts from zero on, in steps of `GRID`: the triangle, blurred by a Gaussian. */
function blurredTriangle(sigma) {
  const reach = TRIANGLE + 4 * sigma, table = [];
  for (let shift = 0; shift <= reach; shift += GRID) {
    let [sum, weights] = [0, 0];
    for (let d = -4; d <= 4; d += 0.25) {
      const weight = Math.exp(-0.5 * d * d);
      sum += weight * Math.max(0, 1 - Math.abs(shift + d * sigma) / TRIANGLE);
      weights += weight;
    }
    table.push(sum / weights);
  }
  return table;
}

/** A pattern on the grid, weighted by a kernel. */
function weighted(counts, kernel) {
  const reach = kernel.length - 1, n = counts.length;
  const padded = new Float64Array(n + 2 * reach), sums = new Float64Array(n);
  padded.set(counts, reach);
  for (let k = 0; k < n; k++) {
    let sum = kernel[0] * padded[k + reach];
    for (let d = 1; d <= reach; d++) sum += kernel[d] * (padded[k + reach - d] + padded[k + reach + d]);
    sums[k] = sum;
  }
  return sums;
}

/** Sum over all pairs of lines of their intensities and the kernel of their shift; lines are in order of angle. */
function autocorrelation(lines, kernel) {
  let sum = 0;
  for (let i = 0; i < lines.length; i++) {
    sum += lines[i].intensity ** 2 * kernel[0];
    for (let j = i + 1; j < lines.length; j++) {
      const at = Math.round((lines[j].angle - lines[i].angle) / GRID);
      if (at >= kernel.length) break;
      sum += 2 * lines[i].intensity * lines[j].intensity * kernel[at];
    }
  }
  return sum;
}

/**
 * What compares crystals with a pattern.
 *
 * @param pattern on an even grid, see `preparedPattern`.
 * @param wavelength in Å.
 * @param width of the crystals' lines, full at half maximum, degrees.
 * @returns functions that give a `similarity`, 0 to 1, and the `scale` of the cell's lengths that it is reached at:
 *   `rough(reflections)` from the lines alone; `fine(reflections, scale)` near a scale, from profiles, whose background
 *   is taken away as that of the pattern was, so that crowded lines count alike in both.
 */
function patternMatcher(pattern, wavelength, width) {
  const sigma = width * SIGMA, triangle = blurredTriangle(0);
  const own = weighted(pattern.counts, triangle);
  const norm = pattern.counts.reduce((sum, value, k) => sum + value * own[k], 0);
  const blurred = weighted(pattern.counts, blurredTriangle(sigma));
  const kernel = blurredTriangle(sigma * Math.SQRT2);
  const [first, last] = [pattern.angles[0], pattern.angles[pattern.angles.length - 1]];

  function rough(reflections) {
    let best = { similarity: 0, scale: 1 };
    const most = Math.round(SCALES.most / SCALES.step);
    for (let k = -most; k <= most; k++) {
      const scale = 1 + k * SCALES.step;
      const lines = powderLines(reflections, wavelength, scale).filter(({ angle }) => angle >= first && angle <= last);
      lines.sort((one, other) => one.angle - other.angle);
      const shared = lines.reduce((sum, line) => sum + line.intensity * (blurred[Math.round((line.angle - first) / GRID)] ?? 0), 0);
      const similarity = shared / Math.sqrt(norm * autocorrelation(lines, kernel)) || 0;
      if (similarity > best.similarity + 1e-9) best = { similarity: Math.min(1, similarity), scale };
    }
    return best;
  }

  function fine(reflections, near) {
    let best = { similarity: 0, scale: near };
    for (const scale of [near - SCALES.step / 2, near, near + SCALES.step / 2]) {
      const counts = withoutBackground(profileOf(powderLines(reflections, wavelength, scale), pattern.angles, width));
      const around = weighted(counts, triangle);
      let [shared, itself] = [0, 0];
      counts.forEach((value, k) => { shared += value * own[k]; itself += value * around[k]; });
      const similarity = shared / Math.sqrt(norm * itself) || 0;
      if (similarity > best.similarity) best = { similarity: Math.min(1, similarity), scale };
    }
    return best;
  }
  return { rough, fine };
}

/** The width of lines, of those that are tried, with which a crystal is most similar to a pattern. */
function fittedWidth(pattern, wavelength, reflections, scale) {
  const tried = WIDTHS.map((width) => [patternMatcher(pattern, wavelength, width).fine(reflections, scale).similarity, width]);
  return tried.sort((one, other) => other[0] - one[0])[0][1];
}

/** A crystal's pattern on the grid, as if it had been measured. */
function simulatedPattern(reflections, wavelength, width) {
  const lines = powderLines(reflections, wavelength);
  const angles = Float64Array.from({ length: Math.round(90 / GRID) }, (_, k) => 5 + k * GRID);
  return { angles, counts: profileOf(lines, angles, width) };
}
