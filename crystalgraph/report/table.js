"use strict";

/**
 * The table of crystals: it sorts, filters, and lets rows be chosen and marked.
 *
 * @param section the element "#table".
 * @param groups see filters.js.
 * @param choose called with the row that is clicked or reached by keys, and which of the two.
 * @param marked called with the rows whose boxes are ticked.
 * @returns `select(row, from)`; `rowOf(name)`: -1 where there is none; `setMatches(values)`: similarities by row, or null;
 *   `csv(rows)`; `unmark()`.
 */
function crystalTable(section, groups, choose, marked) {
  const body = section.querySelector("tbody"), box = section.querySelector(".scroll"), table = box.querySelector("table");
  const heads = [...section.querySelectorAll("thead th")];
  const at = new Map(heads.map((head, k) => [head.dataset.column, k]));
  const columns = heads.filter((head) => head.dataset.column).map((head) => ({
    key: head.dataset.column, label: head.dataset.key, kind: head.dataset.kind, isNumber: !["text", "formula"].includes(head.dataset.kind),
  }));
  const rows = [...body.rows].map((line) => {
    const values = Object.fromEntries(columns.map(({ key }) => [key, line.cells[at.get(key)].dataset.v]));
    const text = columns.map(({ key }) => `${line.cells[at.get(key)].textContent} ${values[key]}`).join(" ").toLowerCase();
    return { line, row: Number(line.dataset.row), values, text, formula: values.formula || "", tick: line.querySelector(".pick input") };
  });
  const ofLine = new Map(rows.map((one) => [one.line, one]));
  const visible = () => [...body.rows].filter((line) => !line.hidden);

  /* ---- order ---- */

  function sort(column, direction) {
    heads.forEach((head) => (head.dataset.column === column.key ? head.setAttribute("aria-sort", direction) : head.removeAttribute("aria-sort")));
    const sign = direction === "ascending" ? 1 : -1;
    const ordered = rows.slice().sort((one, other) => {
      const [a, b] = [one.values[column.key], other.values[column.key]];
      if (a === "" || b === "") return (a === "") - (b === "") || one.row - other.row; // what has no value comes last either way
      return sign * (column.isNumber ? a - b : a.localeCompare(b, "en", { numeric: true })) || one.row - other.row;
    });
    body.append(...ordered.map(({ line }) => line));
    box.scrollTop = 0;
  }
  for (const head of heads.filter((one) => one.dataset.column)) {
    const column = columns.find(({ key }) => key === head.dataset.column);
    const first = head.dataset.best === "high" ? "descending" : "ascending"; // the best in front
    head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      sort(column, now === first ? (first === "ascending" ? "descending" : "ascending") : first);
    });
  }

  /* ---- filters ---- */

  const filters = tableFilters(columns, groups);
  const inputs = { words: byId("filter"), group: byId("filter-group"), ratio: byId("filter-ratio"), energy: byId("filter-energy"), source: byId("filter-source") };

  function filter() {
    const energy = inputs.energy && inputs.energy.value !== "" ? Number(inputs.energy.value) : null;
    const tests = {
      words: filters.words(inputs.words.value), group: filters.group(inputs.group.value), ratio: filters.ratio(inputs.ratio.value),
      energy: energy === null ? () => true : ({ values }) => values.e_above_hull !== "" && Number(values.e_above_hull) <= energy,
      source: inputs.source && inputs.source.value ? ({ values }) => values.source === inputs.source.value : () => true,
    };
    const unknown = Object.keys(tests).filter((name) => tests[name] === null);
    for (const [name, input] of Object.entries(inputs)) if (input) input.setAttribute("aria-invalid", String(unknown.includes(name)));
    let shown = 0;
    for (const one of rows) {
      one.line.hidden = !Object.values(tests).every((test) => test === null || test(one));
      shown += !one.line.hidden;
    }
    const faults = { words: "no such column or number", group: "no such space group", ratio: "a ratio is written as O/Nb>=2" };
    byId("count").textContent = unknown.length ? unknown.map((name) => faults[name]).join("; ") : `${shown} of ${rows.length}`;
    showMarks();
  }
  for (const input of Object.values(inputs)) if (input) input.addEventListener("input", filter);
  section.querySelectorAll(".example").forEach((button) => button.addEventListener("click", () => {
    const { words } = inputs;
    words.value = words.value.includes(button.textContent) ? words.value.replace(button.textContent, "").trim() : `${words.value} ${button.textContent}`.trim();
    filter();
  }));
  byId("unfilter").addEventListener("click", () => {
    for (const input of Object.values(inputs)) if (input) input.value = "";
    filter();
  });

  /* ---- columns that there is room for ---- */

  const hiding = document.head.appendChild(make("style"));
  let showAll = false, widthBefore = 0;

  function fit() {
    hiding.textContent = "";
    const present = heads.map((head, k) => [head, k]).filter(([head]) => !head.hidden);
    table.style.width = "max-content";
    const widths = present.map(([head]) => head.getBoundingClientRect().width);
    table.style.width = "";
    const style = getComputedStyle(box);
    let left = box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const hidden = present.filter((_, k) => {
      const fits = widths[k] <= left || k < 3; // the box to tick, the rank and what comes next stay
      if (fits) left -= widths[k];
      return !fits;
    }).map(([, k]) => k);
    const button = byId("all-columns");
    button.hidden = !hidden.length;
    button.textContent = showAll ? "Fewer columns" : `${hidden.length} more columns`;
    button.setAttribute("aria-pressed", String(showAll));
    if (!showAll && hidden.length) {
      hiding.textContent = `${hidden.map((k) => `#table tr > :nth-child(${k + 1})`).join(", ")} { display: none; }`;
    }
  }
  byId("all-columns").addEventListener("click", () => { showAll = !showAll; fit(); });
  new ResizeObserver(() => {
    if (box.clientWidth === widthBefore) return;
    widthBefore = box.clientWidth;
    fit();
  }).observe(box);

  /* ---- rows that are ticked ---- */

  const everything = byId("pick-all");
  function showMarks() {
    const shown = rows.filter(({ line }) => !line.hidden), ticked = rows.filter(({ tick }) => tick.checked);
    const here = shown.filter(({ tick }) => tick.checked).length;
    everything.checked = shown.length > 0 && here === shown.length;
    everything.indeterminate = here > 0 && here < shown.length;
    marked([...body.rows].map((line) => ofLine.get(line)).filter((one) => ticked.includes(one)).map(({ row }) => row));
  }
  everything.addEventListener("change", () => {
    for (const { line, tick } of rows) if (!line.hidden) tick.checked = everything.checked;
    showMarks();
  });
  body.addEventListener("change", showMarks);

  /** Rows as CSV (RFC 4180), in the order of the table. */
  function csv(wanted) {
    const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
    const there = columns.filter(({ key }) => !heads[at.get(key)].hidden);
    const lines = wanted.map((row) => rows.find((one) => one.row === row)).map(({ values }) => there.map(({ key }) => cell(values[key])).join(","));
    return `${[there.map(({ key }) => cell(key)).join(","), ...lines].join("\n")}\n`;
  }

  /* ---- the row that is chosen ---- */

  function select(row, from) {
    const line = body.querySelector(`tr[data-row="${row}"]`);
    if (!line) return;
    for (const other of body.querySelectorAll('tr[aria-selected="true"]')) {
      other.setAttribute("aria-selected", "false");
      other.tabIndex = -1;
    }
    line.setAttribute("aria-selected", "true");
    line.tabIndex = 0;
    if (from === "start") return;
    const head = table.tHead.offsetHeight;
    if (line.offsetTop - head < box.scrollTop) box.scrollTop = line.offsetTop - head;
    else if (line.offsetTop + line.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = line.offsetTop + line.offsetHeight - box.clientHeight;
  }
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr[data-row]");
    if (line && !event.target.closest(".pick") && !String(window.getSelection())) choose(Number(line.dataset.row), "table");
  });
  body.addEventListener("keydown", (event) => {
    const line = event.target.closest("tr");
    if (event.target !== line) return;
    if (event.key === " ") {
      event.preventDefault();
      const { tick } = ofLine.get(line);
      tick.checked = !tick.checked;
      showMarks();
      return;
    }
    const lines = visible(), now = lines.indexOf(line);
    const to = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: lines.length - 1 }[event.key];
    if (to === undefined || !lines[to]) return;
    event.preventDefault();
    choose(Number(lines[to].dataset.row), "keys");
    lines[to].focus({ preventScroll: true });
  });

  /* ---- similarity to a measured pattern ---- */

  function setMatches(matches) {
    const place = at.get("match");
    heads[place].hidden = !matches;
    for (const one of rows) {
      const value = matches && matches.has(one.row) ? matches.get(one.row) : null;
      one.values.match = value === null ? "" : String(value);
      one.line.cells[place].hidden = !matches;
      one.line.cells[place].textContent = value === null ? "" : value.toFixed(3);
    }
    sort(columns.find(({ key }) => key === (matches ? "match" : "place")), matches ? "descending" : "ascending");
    fit();
    filter();
  }

  filter();
  return { select, setMatches, csv, rowOf: (name) => rows.findIndex(({ values }) => values.name === name), unmark: () => { for (const { tick } of rows) tick.checked = false; showMarks(); }, rows };
}
