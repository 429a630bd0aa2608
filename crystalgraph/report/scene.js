"use strict";

/* A periodic cell as what there is to draw of it: atoms, bonds and polyhedra, in as many cells as one likes. */

const ON_THE_FACE = 0.01; // of a cell length; atoms this close to a face are drawn on the opposite one too

/** Fractional coordinates as Cartesian ones (Å); lattice vectors are rows. */
const cartesian = (lattice, frac) => [0, 1, 2].map((d) => frac[0] * lattice[0][d] + frac[1] * lattice[1][d] + frac[2] * lattice[2][d]);

/** Names of the sites of a scene, such as "Nb1": numbered within their element, in the order of the file. */
function siteLabels(scene) {
  const counts = scene.elements.map(() => 0);
  return Array.from({ length: scene.sites.length / 4 }, (_, site) => {
    const element = scene.sites[4 * site];
    counts[element] += 1;
    return `${scene.elements[element][0]}${counts[element]}`;
  });
}

/** To how many atoms each site is bonded. */
const coordinations = (scene) => scene.neighbors.map((flat) => flat.length / 4);

/**
 * The atoms in some cells and on all their faces, with what is bonded to those that have polyhedra.
 *
 * @param scene as `crystalgraph.report.drawing.scene` has it.
 * @param cells how often the cell is repeated along a, b and c.
 * @returns `lattice` of the repeated cell; `atoms` with `site`, `element`, `label`, `coordination` and `at` (Å); `bonds`
 *   as pairs of positions in `atoms`; `polyhedra` as the position of the centre, and faces as lists of positions.
 */
function repeatedScene(scene, cells) {
  const [labels, neighborCounts] = [siteLabels(scene), coordinations(scene)];
  const faces = new Map(scene.polyhedra);
  const atoms = [], places = new Map();
  const key = (site, image) => `${site},${image.join()}`;
  const add = (site, image) => {
    const name = key(site, image);
    if (places.has(name)) return;
    places.set(name, atoms.length);
    const frac = [0, 1, 2].map((d) => scene.sites[4 * site + 1 + d] + image[d]);
    atoms.push({ site, image, element: scene.elements[scene.sites[4 * site]], label: labels[site], coordination: neighborCounts[site], at: cartesian(scene.lattice, frac) });
  };
  const neighbors = (site, image) => {
    const flat = scene.neighbors[site];
    return Array.from({ length: flat.length / 4 }, (_, k) => [flat[4 * k], [0, 1, 2].map((d) => flat[4 * k + 1 + d] + image[d])]);
  };
  labels.forEach((_, site) => {
    const ranges = [0, 1, 2].map((d) => {
      const frac = scene.sites[4 * site + 1 + d];
      const [first, last] = [Math.ceil(-ON_THE_FACE - frac), Math.floor(cells[d] + ON_THE_FACE - frac)];
      return Array.from({ length: last - first + 1 }, (_, k) => first + k);
    });
    for (const a of ranges[0]) for (const b of ranges[1]) for (const c of ranges[2]) add(site, [a, b, c]);
  });
  for (const { site, image } of atoms.slice()) {
    if (faces.has(site)) for (const [other, there] of neighbors(site, image)) add(other, there);
  }
  const bonds = [], polyhedra = [];
  atoms.forEach(({ site, image }, k) => {
    const around = neighbors(site, image).map(([other, there]) => places.get(key(other, there)));
    for (const other of around) if (other !== undefined && k < other) bonds.push([k, other]);
    const drawn = faces.get(site);
    if (drawn && drawn.length && !around.includes(undefined)) {
      polyhedra.push([k, drawn.map((face) => face.map((corner) => around[corner]))]);
    }
  });
  return { lattice: scene.lattice.map((row, d) => row.map((v) => v * cells[d])), elements: scene.elements, atoms, bonds, polyhedra };
}

/** How the atoms of each element are surrounded, such as "Nb 6" or "O 2 (×4), 3 (×6)"; one text an element. */
function coordinationTexts(scene) {
  const counted = scene.elements.map(() => new Map());
  coordinations(scene).forEach((number, site) => {
    const counts = counted[scene.sites[4 * site]];
    counts.set(number, (counts.get(number) || 0) + 1);
  });
  return scene.elements.map(([symbol], k) => {
    const sorted = [...counted[k]].sort((one, other) => one[0] - other[0]);
    const parts = sorted.map(([number, times]) => (sorted.length > 1 ? `${number} (×${times})` : `${number}`));
    return `${symbol} ${parts.join(", ")}`;
  });
}
