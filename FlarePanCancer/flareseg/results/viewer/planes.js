/* Three linked slices through one point. */

const BACKGROUND = [13, 15, 19];
const LETTERS = [["R", "L", "A", "P"], ["R", "L", "S", "I"], ["A", "P", "S", "I"]];
/* Per plane: the axis across it, and the axes of its rows and columns; upright planes start at the head. */
const ACROSS = [0, 1, 2], DOWN = [1, 0, 0], ALONG = [2, 2, 1];

const colours = new Map(page.structures.map((one) => [one.value, one.colour]));

/* Grey of each code in the window chosen; air has the colour of the background. */
function greys() {
  const table = new Float32Array(256);
  page.levels.forEach((hu, code) => {
    table[code] = clamp((hu - state.window.level) / state.window.width + 0.5, 0, 1);
  });
  return table;
}

class Plane {
  constructor(figure, plane) {
    this.plane = plane;
    this.figure = figure;
    this.canvas = figure.querySelector("canvas");
    this.slider = figure.querySelector("input");
    this.place = figure.querySelector("output");
    this.rows = SIZE[DOWN[plane]];
    this.columns = SIZE[ALONG[plane]];
    this.image = new ImageData(this.columns, this.rows);
    this.small = document.createElement("canvas");
    this.small.width = this.columns;
    this.small.height = this.rows;
    this.slider.max = SIZE[plane] - 1;
    this.slider.addEventListener("input", () => this.moveTo(Number(this.slider.value)));
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    const point = (event) => goTo(this.indexAt(event.offsetX, event.offsetY));
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.canvas.setPointerCapture(event.pointerId);
      point(event);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) point(event);
    });
    this.turned = 0;
    new ResizeObserver(changed).observe(this.canvas);
    listeners.push(() => this.draw());
  }

  moveTo(slice) {
    const index = state.at.slice();
    index[this.plane] = slice;
    goTo(index);
  }

  wheel(event) {
    event.preventDefault();
    if (event.ctrlKey) {
      zoomTo(state.zoom * Math.exp(-event.deltaY / 300));
      return;
    }
    this.turned += event.deltaMode === 0 ? event.deltaY / 40 : event.deltaY; // a touchpad sends many small turns
    const steps = Math.trunc(this.turned);
    if (!steps) return;
    this.turned -= steps;
    this.moveTo(state.at[this.plane] - steps);
  }

  key(event) {
    const steps = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (!steps) return;
    event.preventDefault();
    this.moveTo(state.at[this.plane] + steps);
  }

  upright() {
    return this.plane !== 0;
  }

  /* Screen pixels of an index: where its row and column lie. */
  screenOf(index) {
    const down = DOWN[this.plane], along = ALONG[this.plane];
    const y = (index[down] - state.centre[down]) * MM[down] * this.scale;
    const x = (index[along] - state.centre[along]) * MM[along] * this.scale;
    return [this.width / 2 + x, this.height / 2 + (this.upright() ? -y : y)];
  }

  indexAt(x, y) {
    const down = DOWN[this.plane], along = ALONG[this.plane], index = state.at.slice();
    const rise = (y - this.height / 2) / this.scale / MM[down];
    index[down] = state.centre[down] + (this.upright() ? -rise : rise);
    index[along] = state.centre[along] + (x - this.width / 2) / this.scale / MM[along];
    return index;
  }

  /* Paint the slice, voxel by voxel, into `small`. */
  paint() {
    const { rows, columns, plane } = this;
    const grey = greys(), data = this.image.data, shown = new Map();
    for (const [value, colour] of colours) if (!state.hidden.has(value)) shown.set(value, colour);
    const rowStep = plane === 0 ? WIDTH : -HEIGHT * WIDTH, columnStep = plane === 2 ? WIDTH : 1;
    const start = voxel(plane === 0 ? [state.at[0], 0, 0]
      : plane === 1 ? [DEPTH - 1, state.at[1], 0] : [DEPTH - 1, 0, state.at[2]]);
    for (let row = 0, to = 0; row < rows; row++) {
      for (let column = 0, from = start + row * rowStep; column < columns; column++, from += columnStep, to += 4) {
        const light = grey[ct[from]], value = labels[from], colour = value ? shown.get(value) : undefined;
        let share = 0;
        if (colour) {
          const edge = (column > 0 && labels[from - columnStep] !== value) || (row > 0 && labels[from - rowStep] !== value)
            || (column < columns - 1 && labels[from + columnStep] !== value)
            || (row < rows - 1 && labels[from + rowStep] !== value);
          share = edge ? Math.min(1, 2 * state.opacity) : state.opacity;
        }
        for (let k = 0; k < 3; k++) {
          const below = BACKGROUND[k] + (255 - BACKGROUND[k]) * light;
          data[to + k] = colour ? below * (1 - share) + colour[k] * share : below;
        }
        data[to + 3] = 255;
      }
    }
    this.small.getContext("2d").putImageData(this.image, 0, 0);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    if (!this.width) return;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    const down = DOWN[this.plane], along = ALONG[this.plane];
    this.scale = state.zoom * Math.min(this.width / (this.columns * MM[along]), this.height / (this.rows * MM[down]));
    this.paint();
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = `rgb(${BACKGROUND})`;
    pen.fillRect(0, 0, this.width, this.height);
    const [x0, y0] = this.screenOf([this.upright() ? DEPTH - 0.5 : -0.5, -0.5, -0.5]);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.small, x0, y0, this.columns * MM[along] * this.scale, this.rows * MM[down] * this.scale);
    this.drawDiameters(pen);
    if (state.cross) this.drawCross(pen);
    this.drawLetters(pen);
    this.slider.value = state.at[this.plane];
    const mm = worldOf(state.at)[2 - this.plane];
    const letter = [["I", "S"], ["A", "P"], ["R", "L"]][this.plane][mm > 0 ? 1 : 0];
    this.place.textContent = `${letter} ${Math.abs(mm).toFixed(0)} mm`;
  }

  drawCross(pen) {
    const [x, y] = this.screenOf(state.at), gap = 12;
    pen.strokeStyle = "rgba(120, 190, 255, 0.55)";
    pen.lineWidth = 1;
    pen.beginPath();
    for (const [ax, ay, bx, by] of [[0, y, x - gap, y], [x + gap, y, this.width, y],
      [x, 0, x, y - gap], [x, y + gap, x, this.height]]) {
      pen.moveTo(ax, ay);
      pen.lineTo(bx, by);
    }
    pen.stroke();
  }

  /* The diameters of lesions that were taken in this slice, with their lengths. */
  drawDiameters(pen) {
    if (this.plane !== 0) return;
    for (const lesion of page.lesions) {
      if (lesion.slice !== state.at[0] || state.hidden.has(lesion.value)) continue;
      for (const [line, dashes] of [[lesion.longest, []], [lesion.perpendicular, [4, 3]]]) {
        const [ax, ay] = this.screenOf(line.from), [bx, by] = this.screenOf(line.to);
        for (const [style, width] of [["rgba(0, 0, 0, 0.6)", 4], ["#fff", 1.5]]) {
          pen.strokeStyle = style;
          pen.lineWidth = width;
          pen.setLineDash(style === "#fff" ? dashes : []);
          pen.beginPath();
          pen.moveTo(ax, ay);
          pen.lineTo(bx, by);
          pen.stroke();
        }
        pen.setLineDash([]);
        if (line === lesion.longest) {
          const right = ax > bx ? [ax, ay] : [bx, by];
          this.write(pen, `${lesion.number}: ${line.mm.toFixed(0)} × ${lesion.perpendicular.mm.toFixed(0)} mm`,
            right[0] + 6, right[1] + 4, "left");
        }
      }
    }
  }

  drawLetters(pen) {
    const [left, right, top, bottom] = LETTERS[this.plane];
    this.write(pen, left, 8, this.height / 2 + 5, "left");
    this.write(pen, right, this.width - 8, this.height / 2 + 5, "right");
    this.write(pen, top, this.width / 2, 18, "center");
    this.write(pen, bottom, this.width / 2, this.height - 8, "center");
  }

  write(pen, text, x, y, align) {
    pen.font = "600 14px system-ui, sans-serif";
    pen.textAlign = align;
    pen.lineWidth = 3;
    pen.strokeStyle = "rgba(13, 15, 19, 0.8)";
    pen.strokeText(text, x, y);
    pen.fillStyle = "#e8eaee";
    pen.fillText(text, x, y);
  }
}
