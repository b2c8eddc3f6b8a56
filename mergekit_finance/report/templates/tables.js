"use strict";
// Tables of a page: sort, filter, copy. report.js, which follows it in the page, uses the three functions below.

const make = (kind, text, look) => {
  const found = document.createElement(kind);
  if (text !== undefined) found.textContent = text;
  if (look) found.className = look;
  return found;
};
const say = (text) => { document.getElementById("said").textContent = text; };

const copied = async (text, area) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const range = document.createRange();
    range.selectNodeContents(area);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return document.execCommand("copy");
  }
};

// ---- tables: sort and filter

const order = (cell) => ("order" in cell.dataset ? Number(cell.dataset.order) : cell.textContent);
const compare = (a, b) => {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  return typeof a === "number" ? -1 : 1;
};
const directed = (up) => (a, b) => { // empty cells are last in both directions
  if (a === "" || b === "") return (a === "") - (b === "");
  return up ? compare(a, b) : compare(b, a);
};
const sortBy = (table, column) => {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows].map((row) => [order(row.cells[column]), row]);
  const before = heads[column].getAttribute("aria-sort"); // first click: names ascending, numbers descending
  const up = before ? before === "descending" : rows.every((pair) => typeof pair[0] === "string");
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  const inOrder = directed(up);
  rows.sort((a, b) => inOrder(a[0], b[0]));
  table.tBodies[0].append(...rows.map((pair) => pair[1]));
  say(`sorted by ${heads[column].textContent}, ${up ? "ascending" : "descending"}`);
};
for (const table of document.querySelectorAll("table.data")) {
  table.querySelectorAll("button.sort").forEach((button, column) => {
    button.disabled = false;
    button.addEventListener("click", () => sortBy(table, column));
  });
}
for (const controls of document.querySelectorAll(".controls[data-for]")) {
  const table = document.getElementById(controls.dataset.for);
  const rows = [...table.tBodies[0].rows];
  const text = controls.querySelector("input");
  const selects = [...controls.querySelectorAll("select")];
  for (const select of selects) {
    const values = new Set(rows.map((row) => row.cells[select.dataset.column].textContent));
    for (const value of values) {
      const option = make("option", value || "(none)");
      option.value = value === "" ? "\u0000" : value;
      select.append(option);
    }
  }
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const all = [...row.cells].map((cell) => cell.textContent).join("\n").toLowerCase();
      const fits = words.every((word) => all.includes(word)) && selects.every((select) =>
        select.value === "" || row.cells[select.dataset.column].textContent === select.value.replace("\u0000", ""));
      row.hidden = !fits;
      shown += fits;
    }
    controls.querySelector("output").textContent = `${shown} of ${rows.length} rows`;
  };
  text.addEventListener("input", filter);
  selects.forEach((select) => select.addEventListener("change", filter));
  controls.hidden = false;
  filter();
}

// ---- tables: copy as Markdown, LaTeX or CSV

const cells = (table) => {
  const head = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden && !row.querySelector(".detail"));
  return [head, rows.map((row) => [...row.cells])];
};
const shown = (cell) => cell.textContent.replaceAll("\u00a0", " "); // which keeps an interval on one line
const markdown = (table) => {
  const [head, rows] = cells(table);
  const row = (texts) => `| ${texts.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
  const lines = rows.map((columns) => row(columns.map(shown)));
  return [row(head), row(head.map(() => "---")), ...lines].join("\n");
};
const MARKS = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "λ": "$\\lambda$",
  "▲": "$\\uparrow$", "▼": "$\\downarrow$" };
const tex = (text) => text.replace(/[\\~^λ▲▼&%$#_{}]/g, (mark) => MARKS[mark] || `\\${mark}`);
const latex = (table) => {
  const [head, rows] = cells(table);
  const right = rows.length ? rows[0].map((cell) => cell.classList.contains("number")) : [];
  const row = (texts) => `${texts.join(" & ")} \\\\`;
  const body = rows.map((columns) => row(columns.map((cell) =>
    cell.classList.contains("best") ? `\\textbf{${tex(shown(cell))}}` : tex(shown(cell)))));
  return [`\\begin{tabular}{${head.map((_, i) => (right[i] ? "r" : "l")).join("")}}`, "\\toprule",
    row(head.map(tex)), "\\midrule", ...body, "\\bottomrule", "\\end{tabular}"].join("\n");
};
const csv = (table) => { // exact numbers; the ends of intervals, and both counts of flips, in columns of their own
  const [head, rows] = cells(table);
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const plain = (text) => text.replace(/^[=+\-@\t]/, "'$&"); // spreadsheets do not run it as a formula
  const valueOf = (cell) => {
    if ("value" in cell.dataset) return cell.dataset.value;
    return cell.classList.contains("number") && "order" in cell.dataset ? cell.dataset.order : plain(cell.textContent);
  };
  const has = (key) => head.map((_, i) => rows.some((columns) => columns[i] && key in columns[i].dataset));
  const [ends, flips] = [has("low"), has("right")];
  const names = head.flatMap((name, i) => {
    if (flips[i]) return [`${name} became right`, `${name} became wrong`];
    return ends[i] ? [name, `${name} low`, `${name} high`] : [name];
  });
  const lines = rows.map((columns) => columns.flatMap((cell, i) => {
    const { low = "", high = "", right = "", wrong = "" } = cell.dataset;
    if (flips[i]) return [right, wrong];
    return ends[i] ? [valueOf(cell), low, high] : [valueOf(cell)];
  }));
  return [names, ...lines].map((line) => line.map(quoted).join(",")).join("\n");
};
const formats = { markdown, latex, csv };
for (const line of document.querySelectorAll(".exports")) {
  const table = document.getElementById(line.dataset.for);
  line.hidden = false;
  for (const button of line.querySelectorAll("button")) {
    const name = button.textContent;
    button.setAttribute("aria-label", `Copy the table ${table.caption.textContent} as ${name}`);
    button.addEventListener("click", async () => {
      const area = make("pre", formats[button.dataset.format](table));
      line.after(area);
      const done = await copied(area.textContent, area);
      if (done) area.remove();
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      say(button.textContent);
      setTimeout(() => { button.textContent = name; }, 1600);
    });
  }
}
