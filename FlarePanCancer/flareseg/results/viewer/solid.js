/* The structures in 3-D: turned by dragging, larger and smaller by the wheel. Organs let lesions shine through. */

const VERTEX = `
attribute vec3 point, normal;
uniform mat4 view;
uniform mat3 turn;
varying vec3 facing;
void main() { facing = turn * normal; gl_Position = view * vec4(point, 1.0); }`;
const FRAGMENT = `
precision mediump float;
uniform vec4 colour;
varying vec3 facing;
void main() {
  float light = abs(normalize(facing).z);
  gl_FragColor = vec4(colour.rgb * (0.45 + 0.6 * light), colour.a);
}`;
const ORGAN_OPACITY = 0.5;

class Solid {
  constructor(figure) {
    this.canvas = figure.querySelector("canvas");
    this.gl = this.canvas.getContext("webgl", { antialias: true, alpha: false });
    if (!this.gl || !this.gl.getExtension("OES_element_index_uint")) throw new Error("no WebGL");
    this.turn = [0, 0]; // about the long axis, and towards the viewer; radians
    this.near = 1;
    this.parts = [];
    this.prepare();
    this.canvas.addEventListener("pointerdown", (event) => this.canvas.setPointerCapture(event.pointerId));
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) this.turnBy(event.movementX / 120, event.movementY / 120);
    });
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.near = clamp(this.near * Math.exp(-event.deltaY / 600), 0.4, 6);
      changed();
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[event.key];
      if (!by) return;
      event.preventDefault();
      this.turnBy(...by);
    });
    new ResizeObserver(changed).observe(this.canvas);
    listeners.push(() => this.draw());
  }

  turnBy(about, towards) {
    this.turn = [this.turn[0] + about, clamp(this.turn[1] + towards, -1.5, 1.5)];
    changed();
  }

  prepare() {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.places = Object.fromEntries(["point", "normal"].map((name) => [name, gl.getAttribLocation(program, name)]));
    this.uniforms = Object.fromEntries(["view", "turn", "colour"].map((n) => [n, gl.getUniformLocation(program, n)]));
    gl.enable(gl.DEPTH_TEST);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.clearColor(...BACKGROUND.map((byte) => byte / 255), 1);
  }

  /* Make the surfaces one by one, so that the page stays alive meanwhile. */
  async build() {
    for (const structure of page.structures.filter((one) => one.found)) {
      await new Promise((done) => setTimeout(done, 0));
      const surface = surfaceOf(structure.value);
      if (surface && surface.triangles.length) this.add(structure, surface);
      changed();
    }
  }

  add(structure, surface) {
    const gl = this.gl, buffers = {};
    for (const [name, kind, array] of [["points", gl.ARRAY_BUFFER, surface.points],
      ["normals", gl.ARRAY_BUFFER, surface.normals], ["triangles", gl.ELEMENT_ARRAY_BUFFER, surface.triangles]]) {
      buffers[name] = gl.createBuffer();
      gl.bindBuffer(kind, buffers[name]);
      gl.bufferData(kind, array, gl.STATIC_DRAW);
    }
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    surface.points.forEach((mm, i) => {
      low[i % 3] = Math.min(low[i % 3], mm);
      high[i % 3] = Math.max(high[i % 3], mm);
    });
    this.parts.push({ structure, buffers, count: surface.triangles.length, low, high });
  }

  /* Rows of the turn: from mm (x left, y back, z head) to the screen (right, up, towards the viewer). */
  rotation() {
    const [about, towards] = this.turn;
    const c = Math.cos(about), s = Math.sin(about), d = Math.cos(towards), t = Math.sin(towards);
    return [[c, -s, 0], [-t * s, -t * c, d], [-d * s, -d * c, -t]];
  }

  draw() {
    const gl = this.gl, ratio = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width) return;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!this.parts.length) return;
    const low = [0, 1, 2].map((k) => Math.min(...this.parts.map((part) => part.low[k])));
    const high = [0, 1, 2].map((k) => Math.max(...this.parts.map((part) => part.high[k])));
    const middle = low.map((mm, k) => (mm + high[k]) / 2);
    const across = Math.hypot(...low.map((mm, k) => high[k] - mm));
    const rows = this.rotation(), scale = 2.2 * this.near / across;
    const scales = [scale * Math.min(1, height / width), scale * Math.min(1, width / height), -1 / (2 * across)];
    const view = new Float32Array(16);
    rows.forEach((row, r) => {
      row.forEach((value, k) => { view[4 * k + r] = value * scales[r]; });
      view[12 + r] = -scales[r] * row.reduce((sum, value, k) => sum + value * middle[k], 0);
    });
    view[15] = 1;
    gl.uniformMatrix4fv(this.uniforms.view, false, view);
    gl.uniformMatrix3fv(this.uniforms.turn, false, new Float32Array([0, 1, 2].flatMap((k) => rows.map((row) => row[k]))));
    const depth = (part) => rows[2].reduce((sum, value, k) => sum + value * (part.low[k] + part.high[k]) / 2, 0);
    const shown = this.parts.filter((part) => !state.hidden.has(part.structure.value));
    const lesions = shown.filter((part) => part.structure.lesion);
    const organs = shown.filter((part) => !part.structure.lesion).sort((a, b) => depth(a) - depth(b));
    for (const part of lesions) this.drawPart(part, 1);
    for (const part of organs) this.drawPart(part, lesions.length ? ORGAN_OPACITY : 1);
  }

  /* Of a part that lets others shine through only the nearest surface is shown, or its own far side would too. */
  drawPart(part, opacity) {
    const gl = this.gl, { buffers, structure, count } = part;
    for (const [name, buffer] of [["point", buffers.points], ["normal", buffers.normals]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(this.places[name]);
      gl.vertexAttribPointer(this.places[name], 3, gl.FLOAT, false, 0, 0);
    }
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.triangles);
    gl.uniform4f(this.uniforms.colour, ...structure.colour.map((byte) => byte / 255), opacity);
    if (opacity < 1) {
      gl.colorMask(false, false, false, false);
      gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 0);
      gl.colorMask(true, true, true, true);
      gl.enable(gl.BLEND);
      gl.depthFunc(gl.LEQUAL);
    }
    gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 0);
    gl.disable(gl.BLEND);
    gl.depthFunc(gl.LESS);
  }
}
