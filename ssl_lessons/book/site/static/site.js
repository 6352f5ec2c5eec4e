// Names that the theme leaves out, and filters above the tables that say by what: <table data-filters='{"verdict": "Verdict"}'>, <tr data-verdict="holds here">.
"use strict";

function labelled(text, element) {
  const label = document.createElement("label");
  label.append(text, element);
  return label;
}

function filters(table) {
  const rows = [...table.tBodies[0].rows];
  const form = document.createElement("form");
  const count = document.createElement("output");
  const word = document.createElement("input");
  const choices = new Map();
  form.className = "ssl-filters";
  form.addEventListener("submit", (event) => event.preventDefault());
  word.type = "search";
  for (const [name, text] of Object.entries(JSON.parse(table.dataset.filters))) {
    const select = document.createElement("select");
    const values = new Set(rows.flatMap((row) => row.dataset[name].split("|")).filter(Boolean));
    select.append(new Option("all", ""));
    for (const value of [...values].sort()) select.append(new Option(value, value));
    choices.set(name, select);
    form.append(labelled(text, select));
  }
  form.append(labelled("Words", word), count);
  const show = () => {
    const wanted = word.value.trim().toLowerCase();
    for (const row of rows) {
      row.hidden = !(row.textContent.toLowerCase().includes(wanted)
        && [...choices].every(([name, select]) => !select.value || row.dataset[name].split("|").includes(select.value)));
    }
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  form.addEventListener("input", show);
  show();
  table.closest(".ssl-box").before(form);
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table[data-filters]").forEach(filters);
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
  for (const summary of document.querySelectorAll(".toctree-l1 > details > summary")) {
    summary.setAttribute("aria-label", `Pages below "${summary.closest("li").querySelector("a").textContent.trim()}"`);
  }
});
