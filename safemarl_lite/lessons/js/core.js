// The shared player of the pages: theme, canvas, axes, handles that are grabbed, buttons, captions.
//
// One picture is one document inside an <iframe srcdoc>, so it needs no kernel, no network and no
// trust beyond that of its page. Python (`player.py`) writes this file, the script of one scene and
// the scene's data into it. A scene is a function `scenes.name = (data) => …`; it builds stages
// (canvases) and handles, and sets `window.scene` to what a test may ask of it.
"use strict";

const scenes = {};

// --- colours: Okabe and Ito's, lighter on a dark page -----------------------------------------

const LIGHT = {
  ink: "#1f2328", soft: "#59636e", faint: "#d1d9e0", card: "#f6f8fa", paper: "#ffffff",
  reward: "#0072B2", cost: "#D55E00", price: "#007A59", a: "#0072B2", b: "#A84B82", gold: "#B8860B",
  drones: ["#0072B2", "#A84B82", "#332288", "#3A9BD1", "#8A6D00"],
};
const DARK = {
  ink: "#e6edf3", soft: "#9da7b3", faint: "#3d444d", card: "#1b2129", paper: "#111418",
  reward: "#58B4F0", cost: "#FF8A3D", price: "#2FCF9F", a: "#58B4F0", b: "#E79AC4", gold: "#F0C75E",
  drones: ["#58B4F0", "#E79AC4", "#A99BF5", "#8FD3F4", "#E3C84D"],
};
const shade = {};

/** Whether the page around the picture is dark: JupyterLab and its exports say so, else the system. */
function pageIsDark() {
  try {
    const body = parent.document.body;
    if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
    if (body.className.includes("vscode")) return body.className.includes("vscode-dark");
  } catch { /* another origin: the system decides */ }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function wear() {
  const dark = pageIsDark();
  Object.assign(shade, dark ? DARK : LIGHT, { dark });
  for (const [name, value] of Object.entries(shade)) {
    if (typeof value === "string") document.documentElement.style.setProperty("--" + name, value);
  }
  document.documentElement.classList.toggle("dark", dark);
  redraw();
}

/** `#rrggbb` with an opacity. */
const alpha = (colour, a) => colour + Math.round(255 * a).toString(16).padStart(2, "0");

// --- elements ------------------------------------------------------------------------------------

/** An element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

const add = (...given) => { const e = make(...given); document.body.append(e); return e; };

/** What to try, above the picture. */
const prompt = (html) => add("p", { className: "prompt", innerHTML: html });

/** The text under the picture, whose numbers move with it; screen readers hear it when it rests. */
function caption() {
  const line = add("p", { className: "caption", "aria-live": "polite" });
  return (html) => { if (line.innerHTML !== html) line.innerHTML = html; };
}

/** A row of buttons and sliders. */
const row = () => add("div", { className: "row" });

function button(parent, text, onclick) {
  const b = make("button", { type: "button", textContent: text, onclick });
  parent.append(b);
  return b;
}

/** A button that plays and pauses; `advance(seconds)` is called every frame while it plays. */
function player(parent, advance, names = ["▶ Play", "❚❚ Pause"]) {
  const b = button(parent, names[0], () => set(!state.on));
  const state = { on: false, advance, set };
  function set(on) {
    state.on = on;
    b.textContent = names[on ? 1 : 0];
    b.setAttribute("aria-pressed", on);
    if (on) { players.add(state); redraw(); } else players.delete(state);
  }
  set(false);
  return state;
}

/** A scrubber: the browser's own slider, so keys and touch work. */
function scrubber(parent, label, max, oninput) {
  const input = make("input", { type: "range", min: 0, max, step: 1, value: 0, "aria-label": label });
  input.oninput = () => oninput(+input.value);
  parent.append(input);
  return input;
}

// --- frames ------------------------------------------------------------------------------------

const stages = [], players = new Set();
let scheduled = false, last = 0, seen = true;

/** Draw everything once, at the next frame; go on while something plays and is in view. */
function redraw() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame((now) => {
    scheduled = false;
    const seconds = Math.min((now - last) / 1000, 0.1);
    last = now;
    for (const p of [...players]) p.advance(seconds);
    for (const stage of stages) stage.paint();
    if (players.size && seen) redraw();
  });
}
new IntersectionObserver(([entry]) => { seen = entry.isIntersecting; if (seen) redraw(); })
  .observe(document.documentElement);

/**
 * A canvas as wide as the page, sharp on every screen. height(width) in CSS pixels;
 * draw(ctx, width, height); label is what a screen reader says.
 */
function stage(height, label, draw) {
  const box = add("div", { className: "stage" });
  const canvas = make("canvas", { role: "img", "aria-label": label });
  box.append(canvas);
  const s = { box, canvas, handles: [], width: 0, height: 0 };
  s.paint = () => {
    const w = box.clientWidth, h = height(w), ratio = devicePixelRatio || 1;
    if (!w) return;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(h * ratio);
      canvas.style.height = h + "px";
    }
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, w, h);
    ctx.lineJoin = ctx.lineCap = "round";
    [s.width, s.height] = [w, h];
    draw(ctx, w, h);
    for (const grip of s.handles) grip.show();
  };
  new ResizeObserver(redraw).observe(box);
  stages.push(s);
  return s;
}

/** Where a pointer is on a stage, in CSS pixels. */
function where(s, event) {
  const box = s.canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

/**
 * A thing on a stage that is grabbed: with mouse, pen or finger, or focused and moved by arrow keys.
 *
 * spec: label; at() → [x, y] px; move(x, y) px; nudge(dx, dy): steps of the arrow keys (up is +1);
 * value() → {now, min, max, text}; colour: a name in `shade`; axis: "x", "y" or "xy" (the cursor).
 */
function handle(s, spec) {
  const grip = make("div", {
    className: "handle fresh " + (spec.axis || "xy"), role: "slider", tabIndex: 0,
    "aria-label": spec.label,
  });
  s.box.append(grip);
  grip.style.setProperty("--colour", `var(--${spec.colour || "ink"})`);
  let offset = null;
  const moved = () => { grip.classList.remove("fresh"); redraw(); };
  grip.onpointerdown = (event) => {
    grip.setPointerCapture(event.pointerId);
    const [x, y] = where(s, event), [hx, hy] = spec.at();
    offset = [hx - x, hy - y];
    grip.focus({ preventScroll: true });
    event.preventDefault();
  };
  grip.onpointermove = (event) => {
    if (!offset) return;
    const [x, y] = where(s, event);
    spec.move(x + offset[0], y + offset[1]);
    moved();
  };
  grip.onpointerup = grip.onpointercancel = () => { offset = null; };
  grip.onkeydown = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step) return;
    const big = event.shiftKey ? 10 : 1;
    spec.nudge(big * step[0], big * step[1]);
    moved();
    event.preventDefault();
  };
  s.handles.push({
    show() {
      const [x, y] = spec.at(), value = spec.value();
      grip.style.transform = `translate(${x}px, ${y}px)`;
      grip.hidden = value.hidden || false;
      grip.setAttribute("aria-valuemin", value.min);
      grip.setAttribute("aria-valuemax", value.max);
      grip.setAttribute("aria-valuenow", +value.now.toFixed(4));
      grip.setAttribute("aria-valuetext", value.text);
    },
  });
  // A click beside the handle, within the part of the canvas that is its own, brings it there.
  if (spec.reach) s.canvas.addEventListener("pointerdown", (event) => {
    const [x, y] = where(s, event);
    if (event.pointerType === "touch" || !spec.reach(x, y)) return;
    spec.move(x, y);
    moved();
    s.canvas.setPointerCapture(event.pointerId);
    const go = (e) => { spec.move(...where(s, e)); redraw(); };
    s.canvas.addEventListener("pointermove", go);
    s.canvas.addEventListener("pointerup", () => s.canvas.removeEventListener("pointermove", go), { once: true });
  });
  return grip;
}

/** A thing on a stage that is clicked: a round button of `size` px at at(); press() is called. */
function spot(s, { label, size = 40, at, press, pressed = () => false, hidden = () => false }) {
  const b = make("button", { type: "button", className: "spot", onclick: () => { press(); redraw(); }, "aria-label": label });
  s.box.append(b);
  s.handles.push({
    show() {
      const [x, y] = at();
      Object.assign(b.style, { width: size + "px", height: size + "px", transform: `translate(${x - size / 2}px, ${y - size / 2}px)` });
      b.hidden = hidden();
      b.setAttribute("aria-pressed", pressed());
    },
  });
  return b;
}

// --- drawing -----------------------------------------------------------------------------------

const FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif";
const font = (size = 12.5, weight = 400) => `${weight} ${size}px ${FONT}`;
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/** Write `text` at (x, y); align: left, center, right; halo: a rim in the page's colour. */
function write(ctx, text, x, y, { colour = shade.ink, align = "left", size = 12.5, weight = 400, halo = false, base = "middle" } = {}) {
  ctx.font = font(size, weight);
  ctx.textAlign = align;
  ctx.textBaseline = base;
  if (halo) {
    ctx.lineWidth = 4;
    ctx.strokeStyle = shade.paper;
    ctx.strokeText(text, x, y);
  }
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
}

/** A polyline through points [[x, y], …]. */
function path(ctx, points, colour, width = 1.5, dash = []) {
  ctx.beginPath();
  points.forEach(([x, y], k) => (k ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.setLineDash(dash);
  ctx.stroke();
  ctx.setLineDash([]);
}

function disc(ctx, x, y, radius, fill, stroke, width = 1.5) {
  ctx.beginPath();
  ctx.arc(x, y, Math.max(radius, 0), 0, 2 * Math.PI);
  if (fill) { ctx.fillStyle = fill; ctx.fill(); }
  if (stroke) { ctx.strokeStyle = stroke; ctx.lineWidth = width; ctx.stroke(); }
}

function arrow(ctx, x, y, dx, dy, colour, width = 2) {
  const size = Math.hypot(dx, dy), head = Math.min(3.5 * width + 2, size);
  if (size < 2) return;
  const [ux, uy] = [dx / size, dy / size], [tx, ty] = [x + dx, y + dy];
  path(ctx, [[x, y], [tx - 0.8 * head * ux, ty - 0.8 * head * uy]], colour, width);
  ctx.beginPath();
  ctx.moveTo(tx, ty);
  ctx.lineTo(tx - head * ux - 0.5 * head * uy, ty - head * uy + 0.5 * head * ux);
  ctx.lineTo(tx - head * ux + 0.5 * head * uy, ty - head * uy - 0.5 * head * ux);
  ctx.fillStyle = colour;
  ctx.fill();
}

/** Round numbers that split [from, to] into about `count` parts. */
function ticks(from, to, count = 5) {
  const rough = (to - from) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= rough * 0.999);
  const out = [];
  for (let v = Math.ceil(from / step - 1e-9) * step; v <= to + 1e-9 * step; v += step) out.push(+v.toFixed(10));
  return out;
}

/**
 * Axes in the box {x, y, w, h} (px) for ranges X = [from, to, label] and Y → functions from data to
 * pixels (x, y) and back (ix, iy). The label of Y stands above the axis, so that it is read upright;
 * marks: [value, text] of Y where they are not round numbers.
 */
function axes(ctx, box, X, Y, { grid = true, labels = true, marks = null } = {}) {
  const x = (v) => box.x + ((v - X[0]) / (X[1] - X[0])) * box.w;
  const y = (v) => box.y + box.h - ((v - Y[0]) / (Y[1] - Y[0])) * box.h;
  for (const v of ticks(X[0], X[1], Math.max(2, box.w / 80))) {
    if (grid) path(ctx, [[x(v), box.y], [x(v), box.y + box.h]], alpha(shade.faint, 0.55), 1);
    if (labels) write(ctx, minus(v), x(v), box.y + box.h + 12, { colour: shade.soft, align: "center", size: 11.5 });
  }
  for (const [v, text] of marks || ticks(Y[0], Y[1], Math.max(2, box.h / 45)).map((v) => [v, minus(v)])) {
    if (grid) path(ctx, [[box.x, y(v)], [box.x + box.w, y(v)]], alpha(shade.faint, 0.55), 1);
    write(ctx, text, box.x - 6, y(v), { colour: shade.soft, align: "right", size: 11.5 });
  }
  path(ctx, [[box.x, box.y], [box.x, box.y + box.h], [box.x + box.w, box.y + box.h]], shade.soft, 1);
  if (X[2]) write(ctx, X[2], box.x + box.w / 2, box.y + box.h + 29, { colour: shade.ink, align: "center" });
  if (Y[2]) write(ctx, Y[2], box.x - 30, box.y - 15, { colour: shade.ink });
  return {
    x, y, box,
    ix: (px) => X[0] + ((px - box.x) / box.w) * (X[1] - X[0]),
    iy: (py) => Y[0] + ((box.y + box.h - py) / box.h) * (Y[1] - Y[0]),
  };
}

/** A number with a true minus sign. */
const minus = (v) => String(v).replace("-", "−");
const fixed = (v, digits = 2) => minus((Math.abs(v) < 0.5 * 10 ** -digits ? 0 : v).toFixed(digits));
const percent = (v) => `${Math.round(100 * v)} %`;

/** Draw inside a box only. */
function clipped(ctx, box, draw) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.x, box.y, box.w, box.h);
  ctx.clip();
  draw();
  ctx.restore();
}

/** Random numbers in [0, 1) from a seed (mulberry32), the same in every browser. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// --- start -------------------------------------------------------------------------------------

/** Hide the still picture that the page shows where no script runs: the output just before ours. */
function replaceStill() {
  try {
    let element = frameElement;
    for (let up = 0; up < 7 && element; up++, element = element.parentElement) {
      const before = element.previousElementSibling;
      const image = before && (before.matches("img") ? before : before.querySelector("img"));
      if (image) { before.style.display = "none"; return; }
    }
  } catch { /* another origin: both are shown */ }
}

/** Give the frame the height of its content. */
function fit() {
  try { frameElement.style.height = document.body.scrollHeight + "px"; } catch { /* keeps its own */ }
}

function start() {
  const given = JSON.parse(document.getElementById("data").textContent);
  wear();
  scenes[given.scene](given.data);
  replaceStill();
  new ResizeObserver(fit).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", wear);
  try {
    new MutationObserver(wear).observe(parent.document.body, { attributes: true });
  } catch { /* another origin */ }
  redraw();
}

/** Whether pictures may start to move by themselves. */
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
