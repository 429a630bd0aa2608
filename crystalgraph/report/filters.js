"use strict";

/**
 * What the filters of the table understand.
 *
 * @param columns with `key`, `label` and `kind` each.
 * @param groups Hermann–Mauguin symbol, in lower case without spaces -> number of the space group.
 * @returns `words(text)`, `group(text)`, `ratio(text)`: tests of a row with `values`, `text` and `formula`; null for what
 *   cannot be understood.
 */
function tableFilters(columns, groups) {
  const COMPARISONS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => Math.abs(a - b) < 1e-6 };
  const TURNED = { "<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=" };
  const SIGN = "(<=|>=|=|<|>)";
  const bare = (text) => text.toLowerCase().replace(/[ _]/g, "");

  /** Numbers of atoms in a formula; null for what is none. */
  function counts(formula) {
    const found = {};
    for (const [, symbol, number] of formula.matchAll(/([A-Z][a-z]?)(\d*\.?\d*)/g)) found[symbol] = (found[symbol] || 0) + (number === "" ? 1 : Number(number));
    return found;
  }

  const number = (text) => {
    const fraction = text.replace("−", "-").match(/^(-?\d*\.?\d+)(?:\/(\d*\.?\d+))?$/);
    return fraction ? Number(fraction[1]) / Number(fraction[2] || 1) : NaN;
  };

  /** The number of a space group that is written as number or symbol; null for what is none. */
  function groupNumber(text) {
    const plain = bare(text.normalize("NFD").replace(/(\d)\u0305/g, "-$1")).replace(/[₀-₉]/g, (digit) => String(digit.charCodeAt(0) - 0x2080)).replace(/−/g, "-");
    if (/^\d+$/.test(plain)) return Number(plain) >= 1 && Number(plain) <= 230 ? Number(plain) : null;
    return Object.hasOwn(groups, plain) ? groups[plain] : null;
  }

  /** What a name stands for: a function of a row that gives a number or a text, undefined where it has none; null for no name. */
  function quantity(name) {
    const ratio = name.match(/^([A-Z][a-z]?)\/([A-Z][a-z]?)$/);
    if (ratio) return ({ formula }) => { const n = counts(formula); return n[ratio[2]] ? (n[ratio[1]] || 0) / n[ratio[2]] : undefined; };
    const column = columns.find(({ key, label }) => [key, label].some((one) => bare(one) === bare(name)));
    if (column) return Object.assign(({ values }) => (values[column.key] === "" ? undefined : column.isNumber ? Number(values[column.key]) : values[column.key].toLowerCase()), { column });
    if (/^[A-Z][a-z]?$/.test(name)) return ({ formula }) => { const n = counts(formula); return (n[name] || 0) / Object.values(n).reduce((a, b) => a + b, 0); };
    return null;
  }

  function comparison(name, sign, bound) {
    const value = quantity(name);
    if (!value) return null;
    const { column } = value;
    let wanted = column && !column.isNumber ? bound.toLowerCase() : number(bound.replace(/^yes$/i, "1").replace(/^no$/i, "0"));
    if (Number.isNaN(wanted) && column && column.kind === "group") wanted = groupNumber(bound) ?? NaN;
    if (typeof wanted === "number" && Number.isNaN(wanted)) return null;
    return (row) => {
      const found = value(row);
      if (found === undefined) return false;
      return typeof found === "string" ? (sign === "=" ? found === wanted : COMPARISONS[sign](found, wanted)) : COMPARISONS[sign](found, wanted);
    };
  }

  /** A comparison, such as "atoms<=12" or "2<=O/Nb<3"; undefined for what is none, null for one with something unknown. */
  function compared(term) {
    const chain = term.match(new RegExp(`^(.+?)${SIGN}(.+?)${SIGN}(.+)$`));
    const parts = chain ? null : term.match(new RegExp(`^(.+?)${SIGN}(.+)$`));
    if (chain) {
      const [low, high] = [comparison(chain[3], TURNED[chain[2]], chain[1]), comparison(chain[3], chain[4], chain[5])];
      return low && high ? (row) => low(row) && high(row) : null;
    }
    if (!parts) return undefined;
    if (!Number.isNaN(number(parts[1]))) return comparison(parts[3], TURNED[parts[2]], parts[1]);
    return comparison(parts[1], parts[2], parts[3]);
  }

  const terms = (text) => text.replace(new RegExp(`\\s*${SIGN}\\s*`, "g"), "$1").trim().split(/\s+/).filter(Boolean);
  const all = (tests) => (tests.includes(null) ? null : (row) => tests.every((test) => test(row)));

  return {
    words: (text) => all(terms(text).map((term) => {
      const test = compared(term);
      if (test !== undefined) return test;
      const group = /^\d+$/.test(term) ? null : groupNumber(term);
      return (row) => row.text.includes(term.toLowerCase()) || (group !== null && Number(row.values.group) === group);
    })),
    group: (text) => {
      if (!text.trim()) return () => true;
      const wanted = text.split(/[,;]/).map((one) => one.trim()).filter(Boolean).map(groupNumber);
      return wanted.includes(null) ? null : (row) => wanted.includes(Number(row.values.group));
    },
    ratio: (text) => all(terms(text).map((term) => compared(term) ?? null)),
  };
}
