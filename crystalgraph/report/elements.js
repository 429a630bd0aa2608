"use strict";

/* Elements of the document, as all parts of the page find, make and fill them. */

const byId = (id) => document.getElementById(id);

/** A new element; what it says is text, never markup. */
function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

/** The page's colour of a name, such as "ink", in today's theme. */
const themeColor = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** A formula with its numbers as subscripts, put into an element. */
function setFormula(element, formula) {
  element.replaceChildren();
  for (const part of formula.split(/(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)/)) {
    if (part) element.append(/^\d/.test(part) ? make("sub", part) : part);
  }
}

/** Buttons of which one is pressed; `choose` is called with the position of the one that is clicked. */
function setSegments(group, labels, pressed, choose) {
  group.replaceChildren(...labels.map((label, k) => {
    const button = make("button", label);
    button.type = "button";
    button.setAttribute("aria-pressed", String(k === pressed));
    button.addEventListener("click", () => choose(k));
    return button;
  }));
}

/** Give the reader a file. */
function saveFile(name, content) {
  const link = make("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: "application/octet-stream" }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** A number with a true minus. */
const minus = (text) => String(text).replace("-", "−");
