/* The table: sorted, searched, filtered; slices come when their row is near the window. */

const FAR = 3.5, UNSURE_BELOW = 0.7, SMALL = 0.5;
const body = document.querySelector("#cases tbody");
const rows = [...body.rows].map((element, place) => {
  const number = element.dataset.case === undefined ? null : Number(element.dataset.case);
  const one = number === null ? null : cases[number];
  const text = [element.textContent, ...(one ? [...one.warnings, ...one.notes, one.model] : [])].join(" ").toLowerCase();
  return { element, place, number, one, text };
});
const table = { sort: "rank", down: false };

const filters = {
  all: () => true,
  unusual: (row) => row.one && row.one.unusual,
  open: (row) => row.one && row.one.labels && !hasVerdict(row.one),
  accept: (row) => row.one && entryOf(row.one)?.verdict === "accept",
  reject: (row) => row.one && entryOf(row.one)?.verdict === "reject",
  unsure: (row) => row.one && entryOf(row.one)?.verdict === "unsure",
  wrong: (row) => row.one && entriesOf(row.one).some((entry) => Object.values(entry.structures).includes("wrong")),
  apart: (row) => row.one && apart(row.one),
  lesions: (row) => row.one && row.one.lesions.length > 0,
  failed: (row) => !row.one,
};

function hasVerdict(one) {
  return Boolean(entryOf(one)?.verdict);
}

function longest(one) {
  return Math.max(0, ...one.lesions.map((lesion) => lesion[2] || 0));
}

/* By what a row is sorted; undefined comes last, whichever way. */
function valueOf(row, sort) {
  if (sort === "rank") return row.place;
  if (sort === "name") return (row.one ? row.one.title : row.element.cells[1].textContent).toLowerCase();
  if (!row.one) return undefined;
  if (sort === "lesions") return row.one.lesions.length ? longest(row.one) : undefined;
  if (sort === "verdict") return entryOf(row.one)?.verdict || undefined;
  const found = row.one.structures[columns[Number(sort)].name];
  if (!found) return undefined;
  const kind = document.getElementById("number").value;
  return (kind === "score" ? found[1] : kind === "dsc" ? found[2] : found[0]) ?? undefined;
}

function sortBy(sort) {
  table.down = table.sort === sort ? !table.down : sort === "lesions";
  table.sort = sort;
  for (const button of document.querySelectorAll("#cases thead button")) {
    if (button.dataset.sort === sort) button.setAttribute("aria-sort", table.down ? "descending" : "ascending");
    else button.removeAttribute("aria-sort");
  }
  arrange();
}

function arrange() {
  const keyed = rows.map((row) => ({ row, value: valueOf(row, table.sort) }));
  keyed.sort((a, b) => {
    if (a.value === undefined || b.value === undefined) return (a.value === undefined) - (b.value === undefined) || a.row.place - b.row.place;
    const order = typeof a.value === "string" ? a.value.localeCompare(b.value, undefined, { numeric: true }) : a.value - b.value;
    return (table.down ? -order : order) || a.row.place - b.row.place;
  });
  table.order = keyed.map((each) => each.row);
  body.append(...table.order.map((row) => row.element));
  sift();
}

function sift() {
  const filter = filters[document.getElementById("filter").value];
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const shown = Boolean(filter(row)) && words.every((word) => row.text.includes(word));
    row.element.hidden = !shown;
    count += shown;
  }
  document.getElementById("shown").textContent = count === rows.length ? "" : `${count} of ${rows.length} shown`;
}

/* The numbers of the cases that are shown and can be judged, in the table's order. */
function shownCases() {
  return table.order.filter((row) => row.one && !row.element.hidden).map((row) => row.number);
}

function numbers() {
  const kind = document.getElementById("number").value;
  for (const row of rows.filter((each) => each.one)) {
    columns.forEach((column, i) => {
      const found = row.one.structures[column.name], cell = row.element.cells[3 + i];
      if (!found) return;
      const [ml, score, dsc, cut, text] = found;
      const volume = ml === null ? "–" : `${cut ? "≥" : ""}${text}`;
      const signed = score === null ? "" : `${score > 0 ? "+" : score < 0 ? "−" : ""}${Math.abs(score).toFixed(1)}`;
      cell.textContent = kind === "volume" ? volume : kind === "score" ? signed : dsc === null ? "" : dsc.toFixed(2);
      const far = kind === "dsc" ? dsc !== null && dsc < UNSURE_BELOW : score !== null && Math.abs(score) >= FAR;
      cell.classList.toggle("far", far);
      cell.title = [column.title, ml === null ? "not found" : `${volume} ml`, signed && `z ${signed}`, dsc !== null && `expected DSC ${dsc.toFixed(2)}`]
        .filter(Boolean).join(", ");
    });
  }
}

function badge(entry, named) {
  const element = document.createElement("div"), mark = document.createElement("span");
  const whole = entry.verdict;
  mark.className = `badge ${whole || ""}`;
  mark.textContent = whole ? WORDS[whole] : "begun";
  element.append(...(named ? [`${entry.reviewer}: `] : []), mark);
  const own = Object.entries(entry.structures).filter(([, said]) => said !== IMPLIED[whole]);
  for (const [name, said] of own) {
    const title = columns.find((column) => column.name === name)?.title || name;
    element.append(Object.assign(document.createElement("div"), { textContent: `${title} ${WORDS[said]}` }));
  }
  return element;
}

/* What others said is shown once the reader has spoken, or where nobody reads. */
function visibleEntries(one) {
  const mine = entryOf(one);
  if (store.reader && !says(mine)) return [];
  return entriesOf(one).filter(says).sort((a, b) => (b === mine) - (a === mine));
}

function verdicts() {
  for (const row of rows.filter((each) => each.one)) {
    const entries = visibleEntries(row.one), cell = row.element.querySelector(".verdict");
    const named = entries.some((entry) => entry.reviewer !== store.reader);
    cell.replaceChildren(...entries.map((entry) => badge(entry, named)));
    if (!row.one.labels) cell.textContent = "its labels are not at hand";
  }
}

/* Two small slices in each row near the window; they go when it is far again, for memory. */
function thumbnails() {
  const observer = new IntersectionObserver((entries) => entries.forEach(async (entry) => {
    const place = entry.target, number = Number(place.parentElement.dataset.case);
    if (!entry.isIntersecting) {
      place.replaceChildren();
      return;
    }
    if (place.childElementCount) return;
    const made = await Promise.all(packedOf(number).filter((packed) => packed.first).map(unpack));
    place.replaceChildren(...made.map((slice) => {
      const canvas = document.createElement("canvas");
      draw(canvas, slice, cases[number], SMALL);
      return canvas;
    }));
  }), { rootMargin: "300px" });
  for (const row of rows) if (row.one) observer.observe(row.element.querySelector(".slices"));
}
