/* Reviews out of files and into one. What is checked here is what Python checks. */

const KEYS = ["case", "labels_sha256", "reviewer", "time", "verdict", "structures", "shown", "absent"];
const DAY = 10; // letters of a date

/* Why a review is none; "" where it is one. */
function problemOf(entry) {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) return "it is no table";
  const lacking = KEYS.find((key) => !Object.hasOwn(entry, key)), unknown = Object.keys(entry).find((key) => !KEYS.includes(key));
  if (lacking) return `it lacks '${lacking}'`;
  if (unknown !== undefined) return `it has '${unknown.slice(0, 40)}', which nobody knows`;
  const text = ["case", "labels_sha256", "reviewer", "time"].find((key) => typeof entry[key] !== "string" || !entry[key].trim());
  if (text) return `'${text}' is no text`;
  if (!/^[0-9a-f]{64}$/.test(entry.labels_sha256)) return "'labels_sha256' is no SHA-256";
  if (!/(Z|[+-]\d\d:\d\d)$/.test(entry.time) || Number.isNaN(Date.parse(entry.time))) return "its time is none";
  if (entry.verdict !== null && !Object.hasOwn(IMPLIED, entry.verdict)) return "its verdict is none";
  if (!Array.isArray(entry.shown) || entry.shown.some((name) => typeof name !== "string")) return "'shown' is no list of names";
  if (!Array.isArray(entry.absent) || entry.absent.some((name) => !entry.shown.includes(name))) return "'absent' is no list of names that were shown";
  if (typeof entry.structures !== "object" || entry.structures === null || Array.isArray(entry.structures)) return "'structures' is no table";
  for (const [name, said] of Object.entries(entry.structures)) {
    if (!Object.values(IMPLIED).includes(said)) return `'${name.slice(0, 40)}' has a verdict that is none`;
    if (!entry.shown.includes(name)) return `'${name.slice(0, 40)}' is judged, but was not shown`;
  }
  return "";
}

/* The reviews of a text; throws an error that says what is wrong. */
function parsed(text) {
  let data;
  try {
    data = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw new Error("it is no JSON");
  }
  if (typeof data !== "object" || data === null || !Object.hasOwn(data, "flareseg_review")) throw new Error("it is no file of reviews");
  if (data.flareseg_review !== 1) throw new Error("it is of another version of flareseg");
  if (!Array.isArray(data.reviews)) throw new Error("it has no list of reviews");
  data.reviews.forEach((entry, i) => {
    const problem = problemOf(entry);
    if (problem) throw new Error(`review ${i + 1} of ${data.reviews.length}: ${problem}`);
  });
  return data.reviews;
}

/* Take reviews over: of one reader and case the later one counts. Gives what to tell. */
function take(reviews) {
  const byLabels = new Map(), names = new Map(cases.map((one) => [one.name, one]));
  for (const one of cases) if (one.labels) byLabels.set(one.labels, [...(byLabels.get(one.labels) || []), one]);
  const taken = [], stale = [], strange = [];
  for (const entry of reviews) {
    const alike = byLabels.get(entry.labels_sha256) || [];
    const one = alike.find((each) => each.name === entry.case) || (alike.length === 1 ? alike[0] : null);
    if (!one) {
      (names.has(entry.case) ? stale : strange).push(entry.case);
      continue;
    }
    const reviewer = entry.reviewer.trim().replace(/\s+/g, " "), key = keyOf(one, reviewer), known = store.entries.get(key);
    taken.push(reviewer);
    if (known && Date.parse(known.time) > Date.parse(entry.time)) continue;
    store.entries.set(key, { ...entry, reviewer, case: one.name });
    store.unsaved.delete(key);
    keep(key);
  }
  const readers = [...new Set(taken)];
  if (!store.reader && readers.length === 1) [store.reader] = readers;
  const some = (list) => `${list.slice(0, 3).join(", ")}${list.length > 3 ? ", …" : ""}`;
  const parts = [`Loaded ${taken.length} review${taken.length === 1 ? "" : "s"}${readers.length ? ` of ${some(readers)}` : ""}.`];
  if (stale.length) parts.push(`Not taken, for the labels are others now: ${stale.length} (${some(stale)}).`);
  if (strange.length) parts.push(`Not taken, for the cases are not on this page: ${strange.length} (${some(strange)}).`);
  return parts.join(" ");
}

async function load(files) {
  const told = [], reviews = [];
  for (const file of files) {
    try {
      reviews.push(...parsed(await file.text()));
    } catch (error) {
      told.push(`'${file.name}' was not loaded: ${error.message}.`);
    }
  }
  if (reviews.length || !told.length) told.push(take(reviews));
  changed();
  return told.join(" ");
}

/* What a saved file holds: the reader's own reviews and those that were loaded. */
function saved() {
  const reviews = [...store.entries.values()].sort((a, b) => (a.time < b.time ? -1 : 1));
  return JSON.stringify({ flareseg_review: 1, saved: new Date().toISOString(), reviews }, null, 1);
}

function save() {
  const link = document.createElement("a");
  const who = store.reader.replace(/[^\p{L}\p{N}]+/gu, "_").replace(/^_+|_+$/g, "") || "reader";
  link.download = `review_${who}_${new Date().toISOString().slice(0, DAY)}.json`;
  link.href = URL.createObjectURL(new Blob([saved()], { type: "application/json" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  const keys = [...store.unsaved];
  store.unsaved.clear();
  keys.forEach(keep);
  changed();
  return `Saved as ${link.download}, where your browser puts downloads.`;
}
