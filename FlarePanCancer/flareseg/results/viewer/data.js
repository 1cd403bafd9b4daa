/* The CT and its labels out of the page, and what is shown of them now. */

const page = JSON.parse(document.getElementById("facts").textContent);
const [DEPTH, HEIGHT, WIDTH] = page.shape;
const SIZE = page.shape;
const MM = page.spacing;

/* Arrays are (z, y, x), canonical: z to the head, y to the back, x to the patient's left. */
let ct = null;
let labels = null;

const state = {
  at: page.start.map(Math.round),
  window: page.windows[0],
  hidden: new Set(),
  opacity: 0.45,
  cross: true,
  zoom: 1,
  centre: SIZE.map((n) => (n - 1) / 2),
};

const listeners = [];
let scheduled = false;

/* Redraw everything before the next frame, once, however often it is called. */
function changed() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    for (const listener of listeners) listener();
  });
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

function goTo(index) {
  state.at = index.map((value, axis) => clamp(Math.round(value), 0, SIZE[axis] - 1));
  changed();
}

function zoomTo(factor) {
  state.zoom = clamp(factor, 1, 8);
  state.centre = state.zoom > 1 ? state.at.slice() : SIZE.map((n) => (n - 1) / 2);
  changed();
}

function voxel(index) {
  return (index[0] * HEIGHT + index[1]) * WIDTH + index[2];
}

/* LPS millimetres of a voxel. */
function worldOf(index) {
  return page.origin.map((start, row) =>
    start + page.direction[row].reduce((sum, cosine, k) => sum + cosine * MM[2 - k] * index[2 - k], 0));
}

/* A place as radiologists write it: "L 12 · P 40 · S 112 mm". */
function placeOf(index) {
  const letters = [["R", "L"], ["A", "P"], ["I", "S"]];
  const parts = worldOf(index).map((mm, axis) => `${letters[axis][mm > 0 ? 1 : 0]} ${Math.abs(mm).toFixed(0)}`);
  return `${parts.join(" · ")} mm`;
}

async function load() {
  const [codes, values] = await Promise.all(["ct", "labels"].map((id) => unpacked(document.getElementById(id).textContent.trim())));
  if (codes.length !== DEPTH * HEIGHT * WIDTH || values.length !== codes.length) throw new Error("the file is damaged");
  for (let row = 0; row < codes.length; row += WIDTH) {
    for (let i = row + 1; i < row + WIDTH; i++) codes[i] += codes[i - 1]; // stored as differences, modulo 256
  }
  ct = codes;
  labels = values;
}
