/* Buttons, boxes and rows of the page. */

function buttons() {
  const group = document.getElementById("windows");
  for (const one of page.windows) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = one.name;
    button.title = `window ${one.width}, level ${one.level} HU`;
    button.addEventListener("click", () => {
      state.window = one;
      changed();
    });
    listeners.push(() => button.setAttribute("aria-pressed", String(state.window === one)));
    group.append(button);
  }
  document.getElementById("larger").addEventListener("click", () => zoomTo(state.zoom * 1.5));
  document.getElementById("smaller").addEventListener("click", () => zoomTo(state.zoom / 1.5));
  document.getElementById("cross").addEventListener("change", (event) => {
    state.cross = event.target.checked;
    changed();
  });
  document.getElementById("opacity").addEventListener("input", (event) => {
    state.opacity = Number(event.target.value) / 100;
    changed();
  });
}

/* The boxes before the structures' names, and the one before all of them. */
function overlays() {
  const boxes = [...document.querySelectorAll("input[data-value]")], all = document.getElementById("all");
  const update = () => {
    state.hidden = new Set(boxes.filter((box) => !box.checked).map((box) => Number(box.dataset.value)));
    all.checked = boxes.every((box) => box.checked);
    all.indeterminate = !all.checked && boxes.some((box) => box.checked);
    changed();
  };
  for (const box of boxes) box.addEventListener("change", update);
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    update();
  });
  update();
}

function lesions() {
  for (const button of document.querySelectorAll("button[data-lesion]")) {
    const lesion = page.lesions.find((one) => one.number === Number(button.dataset.lesion));
    if (!lesion) continue;
    button.addEventListener("click", () => {
      goTo(lesion.middle);
      if (state.zoom > 1) zoomTo(state.zoom);
      document.getElementById("viewer").scrollIntoView({ block: "nearest" });
    });
    listeners.push(() => {
      const here = lesion.middle.every((value, axis) => Math.round(value) === state.at[axis]);
      button.closest("tr").classList.toggle("here", here);
    });
  }
}

/* What lies under the crosshair. */
function readout() {
  const place = document.getElementById("place"), names = new Map(page.structures.map((one) => [one.value, one.title]));
  listeners.push(() => {
    const i = voxel(state.at), name = names.get(labels[i]);
    place.textContent = `${placeOf(state.at)} · ${page.levels[ct[i]]} HU${name ? ` · ${name}` : ""}`;
  });
}

async function start() {
  const viewer = document.getElementById("viewer"), message = document.getElementById("message");
  viewer.hidden = false;
  try {
    if (!window.DecompressionStream) throw new Error("this browser is too old (Chrome 80, Firefox 113 and Safari 16.4 can)");
    await load();
  } catch (error) {
    message.textContent = `The slices cannot be shown: ${error.message}.`;
    return;
  }
  document.documentElement.classList.add("alive");
  const figures = [...viewer.querySelectorAll("figure")];
  figures.slice(0, 3).forEach((figure, plane) => new Plane(figure, plane));
  buttons();
  overlays();
  lesions();
  readout();
  changed();
  message.hidden = true;
  try {
    await new Solid(figures[3]).build();
  } catch (error) {
    figures[3].querySelector("figcaption").textContent = "3-D needs WebGL, which this browser does not give.";
  }
  document.documentElement.classList.add("complete");
}

start();
