// The pages are whole without this file. It keeps them fresh, gives them keys, and says times in the reader's zone.

const POLL = 2000, SLOW = 15000, IDLE = 3600e3, CHORD = 1200;
const root = document.body.dataset.root;
const html = document.documentElement;
let tag = "", timer = 0, failures = 0, held = false, active = Date.now(), pending = null, chord = 0;

html.classList.add("scripted");

// ---- times

function localize(scope) {
  for (const time of scope.querySelectorAll("time[data-shown]")) {
    const at = new Date(time.dateTime);
    if (isNaN(at)) continue;
    const two = (number) => String(number).padStart(2, "0");
    const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    time.title = time.dateTime;
    time.textContent = time.dataset.shown === "time" ? clock : `${day} ${clock}`;
  }
}

// ---- the page is asked for again, and only what has changed is changed

function say(state, words) {
  html.classList.toggle("stale", state === "stale");
  html.classList.toggle("held", state === "held");
  const live = document.querySelector("[data-live]");
  if (live && live.textContent !== words) live.textContent = words;
}

function isBusy() {
  // An open question and a field that is being written in stay as they are.
  const at = document.activeElement;
  return Boolean(document.querySelector(".ask[open]")) || (at && at.matches("main input:not([type=checkbox]), main select"));
}

const keep = {
  morphStyle: "outerHTML",
  ignoreActiveValue: true,
  callbacks: {
    beforeAttributeUpdated(name, node) {
      // What the reader has opened, checked or scrolled is the reader's.
      if (name === "open" && node.tagName === "DETAILS") return false;
      if (name === "checked" || (name === "class" && node.classList.contains("at"))) return false;
      return true;
    },
    beforeNodeMorphed(old) {
      return !(old.classList && (old.classList.contains("uplot") || old.hasAttribute("data-drawn")));
    },
  },
};

async function refresh() {
  clearTimeout(timer);
  if (document.hidden || held) return;
  if (Date.now() - active > IDLE) return say("held", "rests: nobody is here");
  if (isBusy()) return again(POLL);
  pending?.abort();
  pending = new AbortController();
  const limit = setTimeout(() => pending.abort(), SLOW);
  try {
    const headers = { "X-Part": "main", Accept: "text/html", ...(tag && { "If-None-Match": tag }) };
    const url = new URL(location.href);
    url.searchParams.delete("said");
    const answer = await fetch(url, { headers, signal: pending.signal, cache: "no-store", redirect: "manual" });
    if (answer.status === 401) return location.reload();
    if (answer.status === 200) {
      tag = answer.headers.get("etag") || "";
      show(await answer.text());
    } else if (answer.status !== 304) {
      throw new Error(String(answer.status));
    }
    failures = 0;
    say("live", "live, every 2 s");
  } catch (error) {
    failures += 1;
    if (failures > 1) say("stale", "no answer: as it was last");
  } finally {
    clearTimeout(limit);
  }
  again(failures ? Math.min(POLL * failures, 4000) : POLL);
}

function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("app");
  const old = document.getElementById("app");
  if (!fresh || !old || isBusy()) return;
  const said = old.querySelector("main > .said[role=status]");
  if (said) fresh.querySelector("main > header").after(said.cloneNode(true));
  localize(fresh);
  Idiomorph.morph(old, fresh.outerHTML, keep);
  dress();
}

function again(wait) {
  clearTimeout(timer);
  timer = setTimeout(refresh, wait);
}

function hold(on) {
  held = on;
  if (held) {
    clearTimeout(timer);
    say("held", "held: p goes on");
  } else {
    say("live", "live, every 2 s");
    refresh();
  }
  document.querySelector("[data-hold]")?.setAttribute("aria-pressed", String(held));
}

// ---- selection

function boxes() {
  return [...document.querySelectorAll("input[type=checkbox][name=id]")];
}

function countSelected() {
  const number = boxes().filter((box) => box.checked).length;
  for (const place of document.querySelectorAll("[data-selected]")) place.textContent = String(number);
  for (const button of document.querySelectorAll("[data-selection]")) button.disabled = number === 0;
  for (const question of document.querySelectorAll("details[data-of-selection]")) question.inert = number === 0;
  const all = document.querySelector("[data-all]");
  if (all) {
    all.checked = number > 0 && number === boxes().length;
    all.indeterminate = number > 0 && !all.checked;
  }
}

function dress() {
  // What a morph has set back to what the server knows.
  document.querySelector("[data-hold]")?.setAttribute("aria-pressed", String(held));
  countSelected();
  draw();
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) for (const box of boxes()) box.checked = event.target.checked;
  countSelected();
});

document.addEventListener("submit", (event) => {
  // The second click on a button does nothing: an action is not done twice.
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) return event.preventDefault();
  event.target.dataset.sent = "1";
});

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-keys], [data-hold]");
  if (target?.hasAttribute("data-keys")) document.getElementById("keys").showModal();
  else if (target) hold(!held);
  for (const open of document.querySelectorAll(".ask[open], .picker[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});

document.addEventListener("toggle", (event) => {
  if (!event.target.matches?.(".ask[open]")) return;
  for (const other of document.querySelectorAll(".ask[open]")) if (other !== event.target) other.open = false;
  event.target.querySelector("input:not([type=hidden]), .pri, .danger")?.focus();
}, true);

// ---- keys

const VIEWS = ["jobs", "running", "queues", "dead", "tasks", "workers", "history", "schedules", "limits", "graphs", "audit"];
const PAGES = { o: "/", ...Object.fromEntries(VIEWS.map((view) => [view[0], `/${view}`])) };

function rows() {
  return [...document.querySelectorAll("main tr[data-row]")];
}

function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.classList.contains("at"));
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  all[at]?.classList.remove("at");
  next.classList.add("at");
  next.scrollIntoView({ block: "nearest" });
  (next.querySelector("[data-open]") || next.querySelector("a, button, summary"))?.focus({ preventScroll: true });
}

function go(page) {
  const link = [...document.querySelectorAll("nav .links a")].find((each) => new URL(each.href).pathname === root + page);
  if (link) link.click();
}

function press(key) {
  // A capital acts on the row, or else on the page; a question is opened, and a button asks once.
  const row = document.querySelector("tr.at");
  const target = row?.querySelector(`[data-key="${key}"]`) || document.querySelector(`main [data-key="${key}"]`);
  if (!target) return;
  if (row && (target.form?.id === "selected" || target.closest("[data-of-selection]")) && !boxes().some((box) => box.checked)) {
    const box = row.querySelector("input[name=id]");
    if (box) box.checked = true;
    countSelected();
  }
  if (target.disabled || target.closest("[inert]")) return;
  if (target.tagName === "SUMMARY") target.parentElement.open = true;
  else ask(target);
}

function ask(button) {
  const dialog = document.createElement("dialog");
  const number = boxes().filter((box) => box.checked).length;
  const words = document.createElement("p");
  words.textContent = button.form?.id === "selected" ? `${button.textContent.trim()} ${number} selected?` : `${button.textContent.trim()}?`;
  const form = document.createElement("form");
  form.method = "dialog";
  form.className = "row";
  for (const [word, kind, value] of [["No", "btn", ""], [button.textContent.trim(), "btn pri", "yes"]]) {
    const choice = document.createElement("button");
    choice.textContent = word;
    choice.className = kind;
    choice.value = value;
    form.append(choice);
  }
  dialog.append(words, form);
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (dialog.returnValue === "yes") button.form ? button.form.requestSubmit(button) : button.click();
  });
  dialog.showModal();
  form.lastChild.focus();
}

document.addEventListener("keydown", (event) => {
  active = Date.now();
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    const open = document.querySelector(".ask[open], .picker[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    } else if (event.target.matches("input, select")) event.target.blur();
    return;
  }
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  if (Date.now() - chord < CHORD && event.key in PAGES) {
    chord = 0;
    event.preventDefault();
    return go(PAGES[event.key]);
  }
  chord = 0;
  const act = {
    "/": () => document.getElementById("q")?.focus(),
    g: () => { chord = Date.now(); },
    j: () => move(1),
    k: () => move(-1),
    x: () => document.querySelector("tr.at input[name=id]")?.click(),
    p: () => hold(!held),
    "?": () => document.getElementById("keys").showModal(),
    R: () => press("R"), C: () => press("C"), D: () => press("D"), P: () => press("P"),
  }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

// ---- charts: an element with data-series asks for its numbers; without this script they stand in a table below it

const drawn = new Map();

async function draw() {
  for (const place of document.querySelectorAll("[data-series]")) {
    const last = drawn.get(place);
    if (last && last.url === place.dataset.series && Date.now() - last.at < 5000) continue;
    drawn.set(place, { ...last, url: place.dataset.series, at: Date.now() });
    if (typeof uPlot === "undefined") await load(place.dataset.library);
    try {
      const answer = await fetch(place.dataset.series, { cache: "no-store" });
      if (answer.ok) plot(place, await answer.json());
    } catch { /* the next round asks again */ }
  }
}

function colour(name) {
  return getComputedStyle(html).getPropertyValue(name).trim();
}

function plot(place, series) {
  const { kind } = place.dataset;
  const scale = Number(place.dataset.scale || 1);
  let shown, words, draw;
  if (kind === "jobs") {
    // Bars that stand on each other: the tallest is drawn first.
    const sum = (...lists) => lists[0].map((_, at) => lists.reduce((total, list) => total + list[at], 0));
    const { succeeded, retried, failed } = series;
    shown = [sum(succeeded, retried, failed), sum(succeeded, retried), succeeded];
    words = (at) => `${succeeded[at]} succeeded\n${retried[at]} to be retried\n${failed[at]} failed, per second`;
    const paths = uPlot.paths.bars({ size: [0.86, 60], align: 1 });
    draw = ["--bad-fill", "--warn-fill", "--good-fill"].map((each) => ({ fill: colour(each), width: 0, paths, points: { show: false } }));
  } else {
    const names = kind === "times" ? place.dataset.names.split(" ") : ["pending"];
    const colours = kind === "times" ? place.dataset.colours.split(" ") : ["run"];
    shown = names.map((name) => series[name].map((value) => (value === null ? null : value * scale)));
    words = (at) => names.map((name, line) => `${name.replace("_", " ")} ${shown[line][at] === null ? "–" : shown[line][at].toPrecision(3)}`).join("\n");
    draw = colours.map((each, line) => {
      const few = shown[line].filter((value) => value !== null).length < 3;
      return { stroke: colour(each === "ink" ? "--ink-3" : `--${each}-fill`), width: 1.6, points: { show: few, size: 5 }, spanGaps: true };
    });
  }
  const state = drawn.get(place);
  const data = [series.at, ...shown];
  state.words = words, state.marks = series.marks;
  const theme = colour("--ink-3");
  if (state.chart && state.theme === theme) return state.chart.setData(data);
  const two = (number) => String(number).padStart(2, "0");
  const clock = (at) => {
    const when = new Date(at * 1000), hour = `${two(when.getHours())}:${two(when.getMinutes())}`;
    return series.step < 600 ? hour : `${when.getDate()}. ${hour}`;
  };
  const axis = { stroke: theme, grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "10.5px system-ui, sans-serif" };
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  const options = {
    width: place.clientWidth - 20,
    height: 200,
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: { x: { range: (_, first, last) => [first, last + series.step] }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [{ ...axis, grid: { show: false }, space: 80, size: 26, values: (_, splits) => splits.map(clock) }, { ...axis, size: 52 }],
    series: [{}, ...draw],
    hooks: {
      draw: [({ ctx, bbox, valToPos }) => (drawn.get(place).marks || []).forEach(([at, release]) => {
        const x = valToPos(at, "x", true);
        const right = x < bbox.left + bbox.width - 70 * devicePixelRatio;
        ctx.fillStyle = colour("--accent"), ctx.textAlign = right ? "left" : "right";
        ctx.fillRect(x, bbox.top, devicePixelRatio, bbox.height);
        ctx.fillText(release.slice(0, 20), x + (right ? 4 : -4) * devicePixelRatio, bbox.top + 10 * devicePixelRatio);
      })],
      setCursor: [(chart) => {
        const at = chart.cursor.idx;
        tip.hidden = at === null || at === undefined;
        if (tip.hidden) return;
        tip.textContent = `${new Date(chart.data[0][at] * 1000).toLocaleTimeString()}\n${drawn.get(place).words(at)}`;
        tip.style.left = `${Math.min(chart.cursor.left + 70, place.clientWidth - tip.offsetWidth - 8)}px`;
      }],
    },
  };
  const said = place.querySelector("svg")?.getAttribute("aria-label") || place.getAttribute("aria-label");
  place.replaceChildren();
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", said);
  place.setAttribute("data-drawn", "");
  state.chart = new uPlot(options, data, place);
  state.theme = theme;
  place.append(tip);
}

addEventListener("resize", () => {
  for (const [place, { chart }] of drawn) chart?.setSize({ width: place.clientWidth - 20, height: 200 });
});

const loading = {};

function load(library) {
  loading[library] ??= new Promise((done, failed) => {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = `${library}/uPlot.min.css`;
    const script = document.createElement("script");
    script.src = `${library}/uPlot.iife.min.js`;
    script.onload = done;
    script.onerror = failed;
    document.head.append(style, script);
  });
  return loading[library];
}

// ---- start

for (const name of ["pointermove", "pointerdown", "scroll"]) {
  document.addEventListener(name, () => { active = Date.now(); }, { passive: true });
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
addEventListener("focus", () => {
  const slept = Date.now() - active > IDLE;
  active = Date.now();
  if (slept) refresh();
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

localize(document);
dress();
if (new URL(location.href).searchParams.has("said")) {
  const clean = new URL(location.href);
  clean.searchParams.delete("said");
  history.replaceState(null, "", clean);
}
if (document.querySelector("nav") && !location.pathname.startsWith(`${root}/do/`)) {
  say("live", "live, every 2 s");
  again(POLL);
}
