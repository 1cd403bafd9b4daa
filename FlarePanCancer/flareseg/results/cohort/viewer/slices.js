/* The slices of a case: unpacked when they are to be seen, and drawn with the structures in their colours. */

const FILL = 0.38, DIM = 0.4, STRIPES = [179, 38, 30];
const palette = new Map(columns.map((one) => [one.name, one.colour]));

function packedOf(number) {
  const element = document.getElementById(`slices-${number}`);
  return element ? JSON.parse(element.textContent) : [];
}

async function unpack(packed) {
  const image = new Image();
  image.src = packed.grey;
  const [labels] = await Promise.all([unpacked(packed.labels), image.decode()]);
  if (labels.length !== packed.width * packed.height) throw new Error("a slice is damaged");
  return { ...packed, image, labels };
}

const recent = new Map();

/* Those of one case, the next ones kept ready. */
function slicesOf(number) {
  if (!recent.has(number)) {
    recent.set(number, Promise.all(packedOf(number).map(unpack)));
    if (recent.size > 8) recent.delete(recent.keys().next().value);
  }
  return recent.get(number);
}

/* Draw a slice, `scale` times as large as it is stored.
   how: hidden, no colours; lit, the name of the one structure that counts; wrong, names that are striped. */
function draw(canvas, slice, one, scale, how = {}) {
  const width = Math.round(slice.width * scale), height = Math.round(slice.height * scale);
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.drawImage(slice.image, 0, 0, width, height);
  if (how.hidden) return;
  const picture = pen.getImageData(0, 0, width, height), data = picture.data;
  const rows = Int32Array.from({ length: height }, (_, y) => Math.min(slice.height - 1, Math.floor(y / scale)) * slice.width);
  const places = Int32Array.from({ length: width }, (_, x) => Math.min(slice.width - 1, Math.floor(x / scale)));
  const labels = slice.labels;
  for (let y = 0; y < height; y++) {
    const row = rows[y], above = rows[Math.max(0, y - 1)], below = rows[Math.min(height - 1, y + 1)];
    for (let x = 0; x < width; x++) {
      const column = places[x], value = labels[row + column];
      if (!value) continue;
      const name = one.values[value], colour = palette.get(name);
      if (!colour) continue;
      const edge = labels[above + column] !== value || labels[below + column] !== value ||
        labels[row + places[Math.max(0, x - 1)]] !== value || labels[row + places[Math.min(width - 1, x + 1)]] !== value;
      const others = how.lit && how.lit !== name;
      const wrong = how.wrong && how.wrong.has(name) && (x + y) % 8 < 3;
      const share = edge ? (others ? DIM : 1) : others ? 0 : wrong ? 0.75 : FILL;
      const [red, green, blue] = wrong ? STRIPES : colour, i = 4 * (y * width + x);
      data[i] += share * (red - data[i]);
      data[i + 1] += share * (green - data[i + 1]);
      data[i + 2] += share * (blue - data[i + 2]);
    }
  }
  pen.putImageData(picture, 0, 0);
}

/* The structure at a place of a canvas that shows a slice, or undefined. */
function structureAt(canvas, slice, one, event) {
  const box = canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * slice.width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * slice.height);
  if (x < 0 || y < 0 || x >= slice.width || y >= slice.height) return undefined;
  return one.values[slice.labels[y * slice.width + x]];
}
