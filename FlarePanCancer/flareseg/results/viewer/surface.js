/* Surfaces of structures, by surface nets: a vertex in each cell that the surface crosses, at the mean of its crossings. */

const SURFACE_MM = 2.5;

/* The share of a structure (0 to 1) on a coarse grid of even spacing around it, smoothed, as a Float32Array; or null. */
function shareOf(value) {
  const low = SIZE.slice(), high = [-1, -1, -1];
  for (let z = 0, i = 0; z < DEPTH; z++) {
    for (let y = 0; y < HEIGHT; y++) {
      for (let x = 0; x < WIDTH; x++, i++) {
        if (labels[i] !== value) continue;
        if (z < low[0]) low[0] = z;
        if (y < low[1]) low[1] = y;
        if (x < low[2]) low[2] = x;
        if (z > high[0]) high[0] = z;
        if (y > high[1]) high[1] = y;
        if (x > high[2]) high[2] = x;
      }
    }
  }
  if (high[0] < 0) return null;
  const extent = low.map((start, axis) => (high[axis] - start + 1) * MM[axis]);
  // Small things need a finer grid than the liver does.
  const step = clamp(Math.min(...extent) / 12, Math.min(...MM), SURFACE_MM);
  const size = extent.map((mm) => Math.ceil(mm / step) + 4);
  const first = low.map((start, axis) => (start - 0.5) * MM[axis] - 1.5 * step);
  const share = new Float32Array(size[0] * size[1] * size[2]);
  const from = size.map((n, axis) => Array.from({ length: n }, (_, k) => (first[axis] + k * step) / MM[axis]));
  for (let k = 0, to = 0; k < size[0]; k++) {
    for (let j = 0; j < size[1]; j++) {
      for (let i = 0; i < size[2]; i++, to++) share[to] = sampled(value, from[0][k], from[1][j], from[2][i]);
    }
  }
  return { share: smoothed(share, size), size, first, step };
}

/* Linear interpolation of the mask of a structure. */
function sampled(value, z, y, x) {
  const z0 = Math.floor(z), y0 = Math.floor(y), x0 = Math.floor(x);
  let sum = 0;
  for (let corner = 0; corner < 8; corner++) {
    const dz = corner >> 2, dy = (corner >> 1) & 1, dx = corner & 1;
    const index = [z0 + dz, y0 + dy, x0 + dx];
    if (index.some((n, axis) => n < 0 || n >= SIZE[axis]) || labels[voxel(index)] !== value) continue;
    sum += (dz ? z - z0 : 1 - z + z0) * (dy ? y - y0 : 1 - y + y0) * (dx ? x - x0 : 1 - x + x0);
  }
  return sum;
}

/* (1 2 1) / 4 along each axis. */
function smoothed(share, size) {
  const steps = [size[1] * size[2], size[2], 1];
  for (let axis = 0; axis < 3; axis++) {
    const before = share.slice(), step = steps[axis];
    for (let i = step; i < share.length - step; i++) share[i] = (before[i - step] + 2 * before[i] + before[i + step]) / 4;
  }
  return share;
}

/* Triangles of where the share is `LEVEL`: vertices in mm (x, y, z), normals, and indices. Pointed things lose volume when
   they are smoothed; a level below a half gives it back. */
const LEVEL = 0.4;

function surfaceOf(value) {
  const grid = shareOf(value);
  if (!grid) return null;
  const { share, size, first, step } = grid;
  const [depth, height, width] = size, steps = [height * width, width, 1];
  const numbers = new Int32Array(share.length).fill(-1);
  const points = [], normals = [], triangles = [];
  for (let k = 0; k < depth - 1; k++) {
    for (let j = 0; j < height - 1; j++) {
      for (let i = 0; i < width - 1; i++) {
        const cell = k * steps[0] + j * steps[1] + i;
        const corners = new Array(8);
        let inside = 0;
        for (let c = 0; c < 8; c++) {
          corners[c] = share[cell + (c >> 2) * steps[0] + ((c >> 1) & 1) * steps[1] + (c & 1)];
          if (corners[c] > LEVEL) inside |= 1 << c;
        }
        if (inside === 0 || inside === 255) continue;
        numbers[cell] = points.length / 3;
        const mean = meanCrossing(corners, inside);
        points.push(first[2] + (i + mean[2]) * step, first[1] + (j + mean[1]) * step, first[0] + (k + mean[0]) * step);
        normals.push(...slope(corners));
        joinCells(numbers, share, cell, [k, j, i], steps, triangles);
      }
    }
  }
  return { points: new Float32Array(points), normals: new Float32Array(normals), triangles: new Uint32Array(triangles) };
}

/* Mean of the points (z, y, x; 0 to 1) at which the surface crosses the edges of a cell. */
function meanCrossing(corners, inside) {
  const mean = [0, 0, 0];
  let count = 0;
  for (let a = 0; a < 8; a++) {
    for (const bit of [1, 2, 4]) {
      const b = a | bit;
      if (a & bit || !(((inside >> a) ^ (inside >> b)) & 1)) continue;
      const share = (LEVEL - corners[a]) / (corners[b] - corners[a]);
      mean[0] += (a >> 2) + (bit === 4 ? share : 0);
      mean[1] += ((a >> 1) & 1) + (bit === 2 ? share : 0);
      mean[2] += (a & 1) + (bit === 1 ? share : 0);
      count++;
    }
  }
  return mean.map((sum) => sum / count);
}

/* The direction (x, y, z) in which the share falls. */
function slope(corners) {
  const result = [0, 0, 0];
  for (let c = 0; c < 8; c++) {
    result[0] += c & 1 ? -corners[c] : corners[c];
    result[1] += c & 2 ? -corners[c] : corners[c];
    result[2] += c & 4 ? -corners[c] : corners[c];
  }
  return result;
}

/* Two triangles for each edge, from this cell's first corner on, that the surface crosses: they join the four cells
   around the edge. */
function joinCells(numbers, share, cell, place, steps, triangles) {
  for (let axis = 0; axis < 3; axis++) {
    const u = (axis + 1) % 3, v = (axis + 2) % 3;
    if (!place[u] || !place[v]) continue;
    const here = share[cell] > LEVEL, there = share[cell + steps[axis]] > LEVEL;
    if (here === there) continue;
    const a = numbers[cell], b = numbers[cell - steps[u]], c = numbers[cell - steps[u] - steps[v]];
    const d = numbers[cell - steps[v]];
    triangles.push(a, b, c, a, c, d);
  }
}
