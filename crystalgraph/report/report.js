"use strict";

/* The page at work: its theme, the table with its filter, and the crystal that is chosen; see viewer.js and plots.js. */
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

  const viewer = crystalViewer(byId("view"), color);
  const plots = reportPlots(data, color, (row) => select(row, "hull"));

  /** A formula with its numbers as subscripts, put into an element. */
  function setFormula(element, formula) {
    element.replaceChildren();
    for (const part of formula.split(/(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)/)) {
      if (part) element.append(/^\d/.test(part) ? make("sub", part) : part);
    }
  }

  /* ---- theme ---- */

  const themeButton = byId("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";

  function showTheme() {
    themeButton.textContent = isDark() ? "Light" : "Dark";
    themeButton.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    themeButton.setAttribute("aria-pressed", String(isDark()));
    plots.hull(selected);
    plots.distributions();
    if (version) plots.pattern(version.pattern);
    viewer.draw();
  }
  themeButton.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  prefersDark.addEventListener("change", showTheme);

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
    plots.pattern(version.pattern);
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
    plots.hull(selected);
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
