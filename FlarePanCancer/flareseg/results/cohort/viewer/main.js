/* Buttons, boxes, and what is said below them. */

function tell(text) {
  byId("message").textContent = text;
}

function askName() {
  byId("reader").classList.add("missing");
  byId("reader").focus();
  tell("Enter your name first: it stands in the file of reviews, so that those of several readers can be put together.");
}

function refresh() {
  const open = cases.filter((one) => one.labels), done = open.filter(hasVerdict).length, unsaved = store.unsaved.size;
  byId("progress").max = Math.max(1, open.length);
  byId("progress").value = done;
  byId("done").textContent = `${done} of ${open.length} reviewed${unsaved ? `, ${unsaved} unsaved` : ""}`;
  byId("save").disabled = store.entries.size === 0;
  byId("begin").textContent = done && done < open.length ? "Go on reviewing" : "Review cases";
  byId("reader").value = document.activeElement === byId("reader") ? byId("reader").value : store.reader;
  verdicts();
  refreshReview();
}

function begin() {
  if (!store.reader) return askName();
  const order = shownCases(), first = order.find((number) => cases[number].labels && !hasVerdict(cases[number])) ?? order[0];
  if (first === undefined) return tell("No case is shown that could be reviewed.");
  return open(first);
}

function start() {
  remember();
  document.body.classList.add("alive");
  byId("reader").addEventListener("input", () => {
    store.reader = byId("reader").value.trim().replace(/\s+/g, " ");
    store.steps = []; // they were another reader's
    byId("reader").classList.remove("missing");
    tell("");
    changed();
  });
  byId("reader").addEventListener("keydown", (event) => event.key === "Enter" && begin());
  byId("begin").addEventListener("click", begin);
  byId("save").addEventListener("click", () => tell(save()));
  byId("load").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", async () => {
    tell(await load([...byId("files").files]));
    byId("files").value = "";
  });
  byId("search").addEventListener("input", sift);
  byId("filter").addEventListener("change", sift);
  byId("number").addEventListener("change", () => {
    numbers();
    arrange();
  });
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-case]");
    if (row) open(Number(row.dataset.case));
  });
  for (const button of document.querySelectorAll("#cases thead button")) {
    button.addEventListener("click", () => sortBy(button.dataset.sort));
  }
  for (const said of ["accept", "reject", "unsure"]) byId(said).addEventListener("click", () => verdict(said));
  byId("back").addEventListener("click", close);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("undo").addEventListener("click", undoLast);
  document.addEventListener("keydown", keys);
  document.addEventListener("keyup", (event) => event.key.toLowerCase() === "h" && show(true));
  window.addEventListener("resize", fit);
  window.addEventListener("blur", () => view.hidden && show(true));
  window.addEventListener("beforeunload", (event) => {
    if (!store.unsaved.size) return;
    event.preventDefault();
    event.returnValue = "";
  });
  listeners.push(refresh);
  numbers();
  arrange();
  changed();
  thumbnails();
  if (!store.keeps) tell("This browser keeps nothing of a page on disk: save the reviews before you close it.");
  document.documentElement.classList.add("complete");
}

start();
