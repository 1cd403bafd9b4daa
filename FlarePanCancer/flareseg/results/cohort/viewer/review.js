/* One case large, and the verdicts on it by keys. */

const LARGE = 2, WIDE_PX = 992, SHARE_OF_HEIGHT = 0.5, GAP_PX = 8, LEAST_PX = 240;
const STRUCTURE_KEYS = "1234567890qwetyuidfgxcvbml";
const NEXT_MARK = { wrong: "unsure", unsure: "right", right: undefined };
const MARKS = [["right", "✓"], ["wrong", "✗"], ["unsure", "?"]];
const view = { number: null, slices: [], hidden: false, lit: "" };
const section = document.getElementById("review");
const byId = (id) => document.getElementById(id);

function open(number) {
  view.number = number;
  view.lit = "";
  section.hidden = false;
  document.body.style.overflow = "hidden";
  section.scrollTop = 0;
  if (document.activeElement?.matches("input, select")) document.activeElement.blur(); // keys are for the case now
  listCase();
  changed();
  pictures(number);
}

function close() {
  if (view.number === null) return;
  const row = rows.find((each) => each.number === view.number);
  view.number = null;
  section.hidden = true;
  document.body.style.overflow = "";
  for (const each of rows) each.element.classList.toggle("here", each === row);
  sift();
  row.element.scrollIntoView({ block: "center" });
  row.element.querySelector(".open").focus({ preventScroll: true });
}

async function pictures(number) {
  const place = byId("pictures");
  try {
    const slices = await slicesOf(number);
    if (view.number !== number) return; // the reader has gone on
    view.slices = slices;
    place.replaceChildren(...slices.map((slice) => figure(slice, number)));
    if (!slices.length) place.textContent = "There are no pictures of this case: its CT was not at hand, or the page has too many cases.";
    fit();
    paint();
  } catch (error) {
    if (view.number === number) place.textContent = `The slices cannot be shown: ${error.message}.`;
    return;
  }
  const after = following(number, 1, () => true);
  if (after !== null) slicesOf(after).catch(() => {});
}

/* As large as the window allows: the number of columns in which all slices can be seen at once, at the largest scale. */
function fit() {
  const place = byId("pictures"), count = view.slices.length;
  if (view.number === null || !count) return;
  const wide = window.innerWidth >= WIDE_PX;
  const room = wide ? window.innerHeight - place.offsetTop - GAP_PX : window.innerHeight * SHARE_OF_HEIGHT;
  const height = Math.max(LEAST_PX, room), width = place.clientWidth;
  const choices = view.slices.map((_, i) => i + 1).map((across) => {
    const down = Math.ceil(count / across), each = (height - (down - 1) * GAP_PX) / down;
    const cell = (width - (across - 1) * GAP_PX) / across;
    return { across, each, scale: Math.min(...view.slices.map((slice) => Math.min(cell / slice.width, each / slice.height))) };
  });
  const best = choices.reduce((a, b) => (b.scale > a.scale ? b : a));
  place.style.gridTemplateColumns = `repeat(${best.across}, minmax(0, 1fr))`;
  for (const canvas of place.querySelectorAll("canvas")) canvas.style.maxHeight = `${Math.floor(best.each)}px`;
}

function figure(slice, number) {
  const element = document.createElement("figure"), caption = document.createElement("figcaption");
  const canvas = document.createElement("canvas"), letter = document.createElement("span");
  caption.textContent = `${slice.plane} ${slice.position}`;
  letter.className = "side-letter";
  [letter.textContent] = slice.letters;
  canvas.addEventListener("click", (event) => {
    const name = structureAt(canvas, slice, cases[number], event);
    if (name) mark(name);
  });
  canvas.addEventListener("mousemove", (event) => {
    const name = structureAt(canvas, slice, cases[number], event);
    canvas.title = name ? columns.find((column) => column.name === name)?.title || name : "";
  });
  element.append(canvas, caption, letter);
  return element;
}

function paint() {
  if (view.number === null) return;
  const one = cases[view.number], entry = entryOf(one);
  const wrong = new Set(Object.keys(one.structures).filter((name) => verdictOf(entry, name) === "wrong"));
  [...byId("pictures").querySelectorAll("canvas")].forEach((canvas, i) =>
    draw(canvas, view.slices[i], one, LARGE, { hidden: view.hidden, lit: view.lit, wrong }));
}

/* What stays while a case is open: its name, why to look, its structures and lesions. */
function listCase() {
  const one = cases[view.number];
  byId("name").textContent = one.title;
  byId("pictures").textContent = "";
  view.slices = [];
  const whole = [...one.warnings, ...one.reasons.filter((text) => / \(z | not found$/.test(text)), ...one.notes];
  byId("reasons").replaceChildren(...whole.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  byId("structures").tBodies[0].replaceChildren(...columns.map((column, i) => [column, i]).filter(([column]) => one.structures[column.name])
    .map(([column, i]) => structureRow(one, column, i)));
  byId("lesions").textContent = one.lesions.map(([title, ml, mm]) => `${title}: ${ml} ml${mm ? `, ${mm.toFixed(0)} mm` : ""}`).join("; ");
  const link = byId("report");
  link.hidden = !one.report;
  if (one.report) link.href = one.report;
}

function structureRow(one, column, i) {
  const [ml, score, dsc, cut, text] = one.structures[column.name];
  const row = document.createElement("tr"), head = document.createElement("th"), button = document.createElement("button");
  const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
  swatch.style.background = `rgb(${column.colour.join(" ")})`;
  const kbd = document.createElement("kbd");
  kbd.textContent = (STRUCTURE_KEYS[i] || "").toUpperCase();
  button.type = "button";
  button.append(...(STRUCTURE_KEYS[i] ? [kbd, " "] : []), swatch, column.title);
  button.addEventListener("click", () => mark(column.name));
  row.addEventListener("mouseenter", () => light(column.name));
  row.addEventListener("mouseleave", () => light(""));
  head.append(button);
  const volume = row.insertCell(), signed = row.insertCell(), marks = row.insertCell();
  row.prepend(head);
  row.dataset.structure = column.name;
  row.classList.toggle("absent", ml === null);
  volume.textContent = ml === null ? "not found" : `${cut ? "≥ " : ""}${text} ml`;
  volume.title = [column.usual && `95 of 100 healthy adults: ${column.usual[0]} to ${column.usual[1]} ml`, dsc !== null && `expected DSC ${dsc.toFixed(2)}`].filter(Boolean).join("; ");
  signed.textContent = score === null ? "" : `z ${score > 0 ? "+" : score < 0 ? "−" : ""}${Math.abs(score).toFixed(1)}`;
  signed.classList.toggle("far", score !== null && Math.abs(score) >= FAR);
  marks.className = "marks";
  for (const [said, sign] of MARKS) {
    const button_of = Object.assign(document.createElement("button"), { type: "button", className: said, textContent: sign });
    button_of.setAttribute("aria-label", `${column.title}: ${WORDS[said]}`);
    button_of.title = WORDS[said];
    button_of.addEventListener("click", () => mark(column.name, said));
    marks.append(button_of);
  }
  return row;
}

function light(name) {
  view.lit = name;
  paint();
}

/* Say something of a structure: `said`, or what comes after what was said; said again, it is taken back. */
function mark(name, said) {
  if (!mayJudge()) return;
  const one = cases[view.number], now = entryOf(one)?.structures[name];
  const then = said === undefined ? (now === undefined ? "wrong" : NEXT_MARK[now]) : said === now ? undefined : said;
  judge(one, (entry) => {
    if (then === undefined) delete entry.structures[name];
    else entry.structures[name] = then;
  });
}

/* Say something of the case, and go on to the next that has no verdict. */
function verdict(said) {
  if (!mayJudge()) return;
  const number = view.number;
  judge(cases[number], (entry) => (entry.verdict = said));
  const after = following(number, 1, (other) => !hasVerdict(cases[other]));
  if (after !== null) {
    open(after);
    return;
  }
  close();
  tell("All cases that are shown are reviewed. Save the reviews.");
}

function mayJudge() {
  if (view.number === null || !cases[view.number].labels) return false;
  if (store.reader) return true;
  close();
  askName();
  return false;
}

/* The case `step` places on that is `wanted`, going round; null for none but the present one. */
function following(number, step, wanted) {
  const order = shownCases(), start = order.indexOf(number);
  for (let i = 1; i <= order.length; i++) {
    const other = order[(start + i * step + order.length * (i + 1)) % order.length];
    if (other !== number && wanted(other)) return other;
  }
  return null;
}

function step(by) {
  const other = following(view.number, by, () => true);
  if (other !== null) open(other);
}

function undoLast() {
  const one = undo();
  if (one) open(cases.indexOf(one));
}

/* What changes with a verdict. */
function refreshReview() {
  if (view.number === null) return;
  const one = cases[view.number], entry = entryOf(one), order = shownCases(), place = order.indexOf(view.number);
  byId("place").textContent = `${place < 0 ? "–" : place + 1} of ${order.length} · ${byId("done").textContent}`;
  const marked = entry && Object.keys(entry.structures).length > 0;
  for (const said of ["accept", "reject", "unsure"]) {
    byId(said).classList.toggle("chosen", entry?.verdict === said);
    byId(said).disabled = !one.labels;
  }
  byId("accept").querySelector("span").textContent = marked ? "Accept rest" : "Accept";
  byId("reject").querySelector("span").textContent = marked ? "Reject rest" : "Reject";
  for (const row of byId("structures").rows) {
    const name = row.dataset.structure, own = entry?.structures[name], said = verdictOf(entry, name);
    for (const button of row.querySelectorAll(".marks button")) {
      const kind = button.className.split(" ")[0];
      button.setAttribute("aria-pressed", String(own === kind));
      button.classList.toggle("implied", own === undefined && said === kind);
    }
  }
  byId("undo").disabled = !store.steps.length;
  const others = visibleEntries(one).filter((each) => each !== entry);
  byId("others").replaceChildren(...others.map((each) => badge(each, true)));
  paint();
}

const KEYS_OF_REVIEW = {
  a: () => verdict("accept"), r: () => verdict("reject"), s: () => verdict("unsure"),
  n: () => step(1), j: () => step(1), arrowright: () => step(1),
  p: () => step(-1), k: () => step(-1), arrowleft: () => step(-1),
  z: undoLast, escape: close, o: () => byId("report").hidden || byId("report").click(),
};

function keys(event) {
  const key = event.key.toLowerCase();
  if (view.number === null || event.altKey || event.target.matches?.("input, select")) return;
  if (event.ctrlKey || event.metaKey) {
    if (key === "z" && !event.shiftKey) undoLast();
    return;
  }
  const i = STRUCTURE_KEYS.indexOf(key);
  if (key === "h") {
    if (!event.repeat) show(false);
  } else if (KEYS_OF_REVIEW[key]) {
    if (event.repeat && "ars".includes(key)) return; // a key held down judges one case, not a hundred
    KEYS_OF_REVIEW[key]();
  } else if (key.length === 1 && i >= 0 && i < columns.length && cases[view.number].structures[columns[i].name]) {
    if (!event.repeat) mark(columns[i].name);
  } else return;
  event.preventDefault();
}

function show(colours) {
  view.hidden = !colours;
  paint();
}
