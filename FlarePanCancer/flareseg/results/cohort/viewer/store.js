/* The cases, and what readers said of them: kept while the page is open, and by the browser where it may. */

const facts = JSON.parse(document.getElementById("facts").textContent);
const cases = facts.cases;
const columns = facts.structures;
const IMPLIED = { accept: "right", reject: "wrong", unsure: "unsure" };
const WORDS = { accept: "accepted", reject: "rejected", unsure: "not sure", right: "right", wrong: "wrong" };
const PREFIX = "flareseg-review\n";

const store = { reader: "", entries: new Map(), unsaved: new Set(), steps: [], keeps: true };
const listeners = [];

function changed() {
  for (const listener of listeners) listener();
}

function keyOf(one, reader) {
  return [one.labels, one.name, reader].join("\n");
}

/* A review, or undefined. */
function entryOf(one, reader = store.reader) {
  return store.entries.get(keyOf(one, reader));
}

function entriesOf(one) {
  return [...store.entries.values()].filter((entry) => entry.labels_sha256 === one.labels && entry.case === one.name);
}

/* The verdict on a structure: its own, or that of the case; accepting one says nothing of what was not found in it. */
function verdictOf(entry, name) {
  if (!entry) return undefined;
  if (Object.hasOwn(entry.structures, name)) return entry.structures[name];
  return entry.verdict === "accept" && entry.absent.includes(name) ? undefined : IMPLIED[entry.verdict];
}

function says(entry) {
  return Boolean(entry) && (entry.verdict !== null || Object.keys(entry.structures).length > 0);
}

/* Whether two readers say different things of a structure. */
function apart(one) {
  const entries = entriesOf(one).filter(says);
  return Object.keys(one.structures).some((name) => {
    const said = new Set(entries.map((entry) => verdictOf(entry, name)).filter(Boolean));
    return said.size > 1;
  });
}

function empty(one) {
  return {
    case: one.name, labels_sha256: one.labels, reviewer: store.reader, time: "", verdict: null, structures: {},
    shown: Object.keys(one.structures), absent: Object.keys(one.structures).filter((name) => one.structures[name][0] === null),
  };
}

/* Change the reader's review of a case by `change`, which gets a copy; one step to undo. */
function judge(one, change) {
  const before = entryOf(one);
  const entry = before ? { ...before, structures: { ...before.structures } } : empty(one);
  change(entry);
  put(one, entry);
  store.steps.push({ one, before });
  changed();
}

/* What was before the last step, but said now, so that no file of earlier wins over it. Gives the case, or null. */
function undo() {
  const step = store.steps.pop();
  if (!step) return null;
  put(step.one, { ...(step.before || empty(step.one)) });
  changed();
  return step.one;
}

function put(one, entry) {
  entry.time = new Date().toISOString();
  const key = keyOf(one, entry.reviewer);
  store.entries.set(key, entry);
  store.unsaved.add(key);
  keep(key);
}

function keep(key) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify({ entry: store.entries.get(key), unsaved: store.unsaved.has(key) }));
    localStorage.setItem("flareseg-reader", store.reader);
  } catch (error) {
    store.keeps = false; // private windows, a full disk, a rule of the house: the page asks before it is left
  }
}

/* What the browser kept of an earlier visit. */
function remember() {
  try {
    store.reader = localStorage.getItem("flareseg-reader") || "";
    for (const one of cases.filter((each) => each.labels)) byKey.set([one.labels, one.name].join("\n"), one);
    for (let i = 0; i < localStorage.length; i++) {
      const name = localStorage.key(i);
      if (!name.startsWith(PREFIX)) continue;
      const key = name.slice(PREFIX.length), [labels, title] = key.split("\n");
      if (!byKey.has([labels, title].join("\n"))) continue;
      const kept = JSON.parse(localStorage.getItem(name));
      if (problemOf(kept.entry)) continue;
      store.entries.set(key, kept.entry);
      if (kept.unsaved) store.unsaved.add(key);
    }
  } catch (error) {
    store.keeps = false;
  }
}

const byKey = new Map();
