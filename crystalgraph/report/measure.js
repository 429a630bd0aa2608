"use strict";

/* Distances and angles between atoms that the reader picked. */

const MOST_PICKED = 3;

/** Distance of two atoms in Å. */
const distanceBetween = (one, other) => Math.hypot(...one.at.map((v, k) => v - other.at[k]));

/** Angle at the second of three atoms, in degrees. */
function angleAt(one, vertex, other) {
  const [a, b] = [one, other].map((end) => end.at.map((v, k) => v - vertex.at[k]));
  const cosine = a.reduce((sum, v, k) => sum + v * b[k], 0) / (Math.hypot(...a) * Math.hypot(...b));
  return (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI;
}

/** What is to be said of the picked atoms: who they are, their distances, and the angle at the second. */
function measureText(picked) {
  if (!picked.length) return "";
  if (picked.length === 1) return `${picked[0].label}: ${picked[0].coordination} neighbours. Pick a second atom for a distance.`;
  const parts = picked.slice(1).map((atom, k) => `${picked[k].label}–${atom.label} ${distanceBetween(picked[k], atom).toFixed(3)} Å`);
  if (picked.length === 3) parts.push(`∠ ${picked.map((atom) => atom.label).join("–")} ${angleAt(...picked).toFixed(2)}°`);
  return parts.join("; ");
}
