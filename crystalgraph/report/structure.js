"use strict";

/**
 * The chosen crystal: its states, drawing, cell, pattern and file.
 *
 * @param phases known phases to compare with.
 * @param viewer see viewer.js.
 * @param powder see powder.js.
 * @returns `show(crystal)`: null for one whose structure is not on the page.
 */
function structurePanel(phases, viewer, powder) {
  let crystal = null, shown = null, versions = [];

  /** The known phase that a crystal is, else the one of its formula with the most similar powder pattern. */
  function knownVersion() {
    const same = phases.filter((phase) => phase.formula === crystal.formula);
    const equal = phases.find((phase) => phase.name === crystal.known);
    if (equal) return { ...equal, label: `known: ${equal.name}`, heading: "known", note: `the known phase ${equal.name}, which it equals` };
    const own = crystal.versions.map((version) => version.reflections).find((lines) => lines && lines.length);
    if (!own) return null;
    const near = same.filter((phase) => phase.reflections && phase.reflections.length)
      .map((phase) => ({ phase, likeness: powder.similarity(own, phase.reflections) }))
      .sort((one, other) => other.likeness - one.likeness)[0];
    return near ? { ...near.phase, label: `nearest known: ${near.phase.name}`, heading: "nearest known", note: `the known phase ${near.phase.name}, nearest by powder pattern (similarity ${near.likeness.toFixed(2)})` } : null;
  }

  function factsInto(list, facts) {
    list.replaceChildren(...facts.map(([label, value]) => {
      const line = make("div");
      line.append(make("dt", label), make("dd", value));
      return line;
    }));
  }

  /** Cells of all states beside one another. */
  function compareCells() {
    const drawn = versions.filter((version) => version.cell);
    const lines = [
      ["a (Å)", ({ cell }) => cell.lengths[0].toFixed(3)], ["b (Å)", ({ cell }) => cell.lengths[1].toFixed(3)], ["c (Å)", ({ cell }) => cell.lengths[2].toFixed(3)],
      ["α (°)", ({ cell }) => cell.angles[0].toFixed(2)], ["β (°)", ({ cell }) => cell.angles[1].toFixed(2)], ["γ (°)", ({ cell }) => cell.angles[2].toFixed(2)],
      ["atoms", ({ cell }) => String(cell.atoms)], ["Å³/atom", ({ cell }) => (cell.volume / cell.atoms).toFixed(2)], ["g/cm³", ({ cell }) => cell.density.toFixed(2)],
    ];
    const elements = drawn.length ? coordinationTexts(drawn[0].scene) : [];
    elements.forEach((text) => {
      const symbol = text.split(" ")[0];
      lines.push([`neighbours of ${symbol}`, ({ scene }) => {
        const found = coordinationTexts(scene).find((line) => line.split(" ")[0] === symbol);
        return found ? found.slice(symbol.length + 1) : "";
      }]);
    });
    const table = byId("cells-compared");
    table.hidden = !drawn.length;
    const head = make("tr");
    head.append(make("td"), ...drawn.map((version) => {
      const cell = make("th", version.heading || version.label);
      cell.scope = "col";
      return cell;
    }));
    const body = lines.map(([label, value]) => {
      const row = make("tr"), name = make("th", label);
      name.scope = "row";
      row.append(name, ...drawn.map((version) => make("td", value(version))));
      return row;
    });
    table.tHead.replaceChildren(head);
    table.tBodies[0].replaceChildren(...body);
  }

  function showVersion(next, keep) {
    shown = next;
    byId("versions").hidden = versions.length < 2;
    setSegments(byId("versions"), versions.map((version) => version.label), versions.indexOf(shown), (k) => showVersion(versions[k], true));
    byId("version-note").textContent = shown.note || "";
    byId("version-note").hidden = !shown.note;
    document.querySelector(".viewer").hidden = !shown.scene;
    byId("no-drawing").hidden = Boolean(shown.scene);
    if (shown.scene) {
      byId("legend").replaceChildren(...shown.scene.elements.map(([symbol, fill]) => {
        const entry = make("span"), dot = make("i");
        dot.style.background = fill;
        entry.append(dot, symbol);
        return entry;
      }));
      byId("polyhedra").hidden = !shown.scene.polyhedra.some(([, faces]) => faces.length);
      viewer.show(shown.scene, keep);
    }
    factsInto(byId("facts"), shown.facts || crystal.facts);
    powder.show(shown.reflections);
    byId("text-part").hidden = !shown.text;
    byId("text").textContent = shown.text || "";
    byId("file").textContent = shown.file || `${shown.kind} (no such file in the folder)`;
    byId("download").textContent = `Download ${shown.kind}`;
    byId("copy").textContent = `Copy ${shown.kind}`;
    byId("said").textContent = "";
  }

  function show(next) {
    crystal = next;
    byId("structure-none").hidden = Boolean(crystal);
    byId("structure-body").hidden = !crystal;
    byId("structure-name").textContent = crystal ? crystal.name : "";
    if (!crystal) {
      byId("structure-formula").textContent = "Structure";
      byId("structure-none").textContent = "This crystal's structure is not on the page; its files are in the folder.";
      return;
    }
    setFormula(byId("structure-formula"), crystal.formula);
    versions = crystal.versions.length ? crystal.versions.slice() : [{ label: "", scene: null, reflections: null, text: "" }];
    const known = knownVersion();
    if (known) versions.push(known);
    compareCells();
    showVersion(versions[0], false);
  }

  byId("picture").addEventListener("click", async () => saveFile(`${freeName(crystal.name, new Set())}.png`, await viewer.picture()));

  byId("download").addEventListener("click", () => {
    saveFile(shown.file.split("/").pop() || `${crystal.name}.${shown.kind === "CIF" ? "cif" : "vasp"}`, shown.text);
    byId("said").textContent = "";
  });

  /** Put a text on the clipboard and say so. */
  async function copy(text, done) {
    let isCopied = false;
    try {
      await navigator.clipboard.writeText(text);
      isCopied = true;
    } catch {
      const area = make("textarea"); // browsers that keep the clipboard from local files
      area.value = text;
      document.body.append(area);
      area.select();
      isCopied = document.execCommand("copy");
      area.remove();
    }
    byId("said").textContent = isCopied ? done : `The browser refused: ${text.length < 400 ? text : "the text is below"}`;
  }
  byId("copy").addEventListener("click", () => copy(shown.text, "Copied"));
  byId("link").addEventListener("click", () => copy(crystalAddress(crystal.name), "Link copied"));

  return { show };
}

/** The address of this page with a crystal chosen. */
const crystalAddress = (name) => `${window.location.href.split("#")[0]}#crystal=${encodeURIComponent(name)}`;
