// Lesson 01: the budget on the front itself (`front`), and the dual as an envelope (`dual`).
//
// Both are exact. Their data are the corners of the front, deterministic policies in the order of
// their cost: {J_c, J_r, action (64), visits (64)}, visits x(s) = Σ_t γ^t Pr(s_t = s). Between two
// corners the optimum mixes the two occupancies, linearly in the budget (section 3 of the lesson).
"use strict";

/**
 * The optimum at budget τ: weight w of the corner on the right, value, cost, price λ*, and the
 * mixture's policy as visits of both (`mix`). null where no policy keeps the budget.
 */
function optimum(corners, τ) {
  const last = corners.length - 1;
  if (τ < corners[0].J_c) return null;
  if (τ >= corners[last].J_c) return { k: last, w: 0, value: corners[last].J_r, cost: corners[last].J_c, price: 0 };
  const k = corners.findIndex((c) => c.J_c > τ) - 1, [low, high] = [corners[k], corners[k + 1]];
  const w = (τ - low.J_c) / (high.J_c - low.J_c), price = (high.J_r - low.J_r) / (high.J_c - low.J_c);
  return { k, w, value: low.J_r + price * (τ - low.J_c), cost: τ, price };
}

/** [[probability, action], …] in state s, where weight w goes to the right-hand corner. */
function choices(corners, { k, w }, s) {
  const parts = [[(1 - w) * corners[k].visits[s], corners[k].action[s]]];
  if (w > 0) parts.push([w * corners[k + 1].visits[s], corners[k + 1].action[s]]);
  const total = parts.reduce((sum, [x]) => sum + x, 0);
  if (parts.length === 2 && parts[0][1] === parts[1][1]) return [[1, parts[0][1]]];
  return parts.map(([x, a]) => [total > 0 ? x / total : 1 / parts.length, a]);
}

/** How both drones start: shares of [waiting, corridor, detour], for drone a and drone b. */
function firstMoves(corners, at) {
  const out = [[0, 0, 0], [0, 0, 0]];
  for (const [p, action] of choices(corners, at, 3)) {
    out[0][Math.floor(action / 3)] += p;
    out[1][[0, 2, 1][action % 3]] += p;
  }
  return out;
}

/** Expected discounted steps in the air, [drone][cell]. */
function timeInAir(corners, { k, w }) {
  const out = [Array(8).fill(0), Array(8).fill(0)];
  for (let s = 0; s < 64; s++) {
    const x = (1 - w) * corners[k].visits[s] + (w > 0 ? w * corners[k + 1].visits[s] : 0);
    const [a, b] = [Math.floor(s / 8), s % 8];
    if (a !== 3) out[0][a] += x;
    if (b !== 0) out[1][b] += x;
  }
  return out;
}

/**
 * Flights of one policy on the ring, step by step. `fly` (2, 8, 3, 8) are the probabilities of a
 * drone's next cell; `policy(s)` gives [[probability, action], …].
 */
class Flights {
  constructor(data, policy, seed) {
    Object.assign(this, { fly: data.fly, discount: data.discount, policy, draw: random(seed) });
    this.forget();
  }
  forget() { this.flown = 0; this.total = 0; this.start(); }
  start() {
    Object.assign(this, { cells: [0, 3], from: [0, 3], steps: 0, misses: 0, cost: 0, over: false, first: null });
  }
  pick(shares) {
    let u = this.draw();
    return shares.findIndex((p) => (u -= p) < 0);
  }
  near() {
    const [a, b] = this.cells;
    return a !== 3 && b !== 0 && [0, 1, 7].includes((a - b + 8) % 8);
  }
  step() {
    const options = this.policy(8 * this.cells[0] + this.cells[1]);
    const action = options[Math.max(0, this.pick(options.map(([p]) => p)))][1];
    this.first ??= [Math.floor(action / 3), [0, 2, 1][action % 3]];
    if (this.near()) { this.misses++; this.cost += this.discount ** this.steps; }
    this.from = this.cells;
    this.cells = this.cells.map((cell, d) => this.pick(this.fly[d][cell][d ? action % 3 : Math.floor(action / 3)]));
    this.steps++;
    if ((this.cells[0] === 3 && this.cells[1] === 0) || this.steps > 200) {
      this.over = true;
      this.flown++;
      this.total += this.cost;
    }
  }
  mean() { return this.flown ? this.total / this.flown : NaN; }
  /** Many flights at once. */
  many(n) { for (let k = 0; k < n; k++) { this.start(); while (!this.over) this.step(); } }
}

// Cell → (column, row): the pads 0 and 3 and the corridor 1, 2 below, the detour 4 … 7 above.
const PLACE = [[0, 1], [1, 1], [2, 1], [3, 1], [3, 0], [2, 0], [1, 0], [0, 0]];
const MOVES = ["waits", "corridor", "detour"];

/**
 * The ring in a box: bars of the time spent in each cell, the wall, drones in flight, and below the
 * pads how each drone starts (an arrow, two bars for waiting, or the coin that it tosses).
 */
function ring(ctx, box, { air, moves, flights, phase = 0, title = "" }) {
  const head = title ? 42 : 22, side = Math.min(box.w / 4, (box.h - head - 44) / 2);
  const left = box.x + (box.w - 4 * side) / 2, top = box.y + head, low = top + 2 * side;
  const centre = (cell) => [left + (PLACE[cell][0] + 0.5) * side, top + (PLACE[cell][1] + 0.5) * side];
  if (title) write(ctx, title, box.x + box.w / 2, box.y + 12, { align: "center", weight: 600, size: 13.5 });
  for (let cell = 0; cell < 8; cell++) {
    const [x, y] = centre(cell), pad = 3;
    ctx.beginPath();
    ctx.roundRect(x - side / 2 + pad, y - side / 2 + pad, side - 2 * pad, side - 2 * pad, 8);
    ctx.fillStyle = shade.card;
    ctx.fill();
    ctx.strokeStyle = shade.faint;
    ctx.lineWidth = 1;
    ctx.stroke();
    for (const d of [0, 1]) {
      const height = (side - 22) * Math.min(air[d][cell] / 3, 1);
      ctx.fillStyle = alpha(shade["ab"[d]], 0.45);
      ctx.fillRect(d ? x + side / 2 - 15 : x - side / 2 + 8, y + side / 2 - 8 - height, 7, height);
    }
  }
  path(ctx, [[left + side, top + side], [left + 3 * side, top + side]], shade.ink, 4); // the wall
  write(ctx, "detour", left + 2 * side, top - 10, { align: "center", colour: shade.soft });
  write(ctx, "corridor", left + 2 * side, low + 12, { align: "center", colour: shade.soft });
  if (flights) fliers(ctx, flights, centre, phase);
  for (const d of [0, 1]) {
    const x = centre(d ? 3 : 0)[0], y = low + 24, colour = shade["ab"[d]], mixed = Math.max(...moves[d]) < 0.9995;
    const turn = flights && flights.steps < 1 && !flights.over ? Math.abs(Math.cos(phase * Math.PI * 3)) : 1;
    if (mixed) coin(ctx, x, y, 15, moves[d], Math.max(turn, 0.08));
    else arrowOf(ctx, x, y, 13, moves[d].indexOf(Math.max(...moves[d])), d, colour);
    const lines = mixed ? words(moves[d]).split(", ") : [`${"ab"[d]}: ${words(moves[d])}`];
    const out = 4 * side < 290 ? -1 : 1; // no room for both between the pads: beside them
    lines.forEach((line, k) => write(ctx, line, x + out * (d ? -24 : 24), y + 15 * (k - (lines.length - 1) / 2),
      { align: (d ? -out : out) > 0 ? "left" : "right", colour, weight: 600, halo: true }));
  }
}

/** The two drones between their cells, and a glow where they are a near miss. */
function fliers(ctx, flights, centre, phase) {
  const ease = phase * phase * (3 - 2 * phase), at = [0, 1].map((d) => {
    const [p, q] = [centre(flights.from[d]), centre(flights.cells[d])];
    return [p[0] + ease * (q[0] - p[0]) + (d ? 8 : -8), p[1] + ease * (q[1] - p[1]) + (d ? 4 : -4)];
  });
  const glow = flights.near() ? clamp(2 * phase - 0.8, 0, 1) : 0; // once they are there
  if (glow > 0) {
    path(ctx, at, alpha(shade.cost, 0.8 * glow), 3);
    for (const [x, y] of at) disc(ctx, x, y, 22, alpha(shade.cost, 0.6 * glow));
  }
  for (const d of [0, 1]) drone(ctx, ...at[d], 11, shade["ab"[d]], "ab"[d]);
}

/** A quadrotor from above, with its letter. */
function drone(ctx, x, y, size, colour, letter) {
  for (const [dx, dy] of [[-1, -1], [1, -1], [-1, 1], [1, 1]]) {
    path(ctx, [[x, y], [x + 0.75 * size * dx, y + 0.75 * size * dy]], shade.ink, 2);
    disc(ctx, x + 0.8 * size * dx, y + 0.8 * size * dy, 0.48 * size, alpha(colour, 0.45), colour, 1.5);
  }
  disc(ctx, x, y, 0.72 * size, colour);
  write(ctx, letter, x, y + 0.5, { align: "center", size: size, weight: 700, colour: shade.paper });
}

/** A coin whose two faces are the two first moves; its rim shows their shares. */
function coin(ctx, x, y, radius, shares, squash) {
  ctx.save();
  ctx.translate(x, y);
  ctx.scale(squash, 1);
  const colours = [shade.gold, shade.cost, shade.reward];
  let from = -Math.PI / 2;
  shares.forEach((p, k) => {
    ctx.beginPath();
    ctx.moveTo(0, 0);
    ctx.arc(0, 0, radius, from, (from += 2 * Math.PI * p));
    ctx.fillStyle = colours[k];
    ctx.fill();
  });
  disc(ctx, 0, 0, radius, null, shade.ink, 1.5);
  ctx.restore();
}

/** A drone's only first move: an arrow into the corridor or the detour, two bars for waiting. */
function arrowOf(ctx, x, y, radius, move, d, colour) {
  if (move === 1) arrow(ctx, x - (d ? -radius : radius), y, d ? -2 * radius : 2 * radius, 0, colour, 3);
  if (move === 2) arrow(ctx, x, y + radius, 0, -2 * radius, colour, 3);
  if (move === 0) for (const dx of [-4, 4]) path(ctx, [[x + dx, y - 8], [x + dx, y + 8]], colour, 4);
}

/** In words: how a drone starts. */
const words = (shares) => shares.map((p, k) => [p, MOVES[k]]).filter(([p]) => p > 0.0005)
  .map(([p, name]) => (p > 0.9995 ? name : `${name} ${percent(p)}`)).join(", ");

const λText = (λ) => fixed(λ, 2);

// --- the budget on the front -------------------------------------------------------------------

scenes.front = (data) => {
  const corners = data.corners, least = corners[0].J_c, loose = corners[corners.length - 1].J_c;
  let τ = data.budget, at = optimum(corners, τ), phase = 0;
  prompt("<b>Drag the point along the front.</b> Where is safety free? Where does one near miss cost six steps of flight? " +
    "Which drone holds the coin?");
  const flights = new Flights(data, (s) => choices(corners, at, s), 1);
  const set = (value) => {
    τ = clamp(value, 0, 1.8);
    at = optimum(corners, τ);
    flights.forget();
    phase = 0;
    redraw();
  };
  let plot, prices;
  const wide = (w) => w >= 640;
  const s = stage((w) => (wide(w) ? 410 : 385 + 410), "The ring with two drones, the front and the price", (ctx, w) => {
    const split = wide(w) ? 0.46 * w : w;
    const map = { x: 0, y: 0, w: split, h: 290 }, y0 = wide(w) ? 0 : 385;
    const right = wide(w) ? { x: split + 64, w: w - split - 80 } : { x: 46, w: w - 60 };
    if (at) ring(ctx, map, { air: timeInAir(corners, at), moves: firstMoves(corners, at), flights, phase });
    else {
      write(ctx, "No policy can promise this.", map.w / 2, 120, { align: "center", size: 16, weight: 600, colour: shade.cost });
      write(ctx, `Gusts alone make ${fixed(least, 4)} near misses a flight.`, map.w / 2, 146, { align: "center" });
    }
    tally(ctx, { x: 8, y: 296, w: map.w - 16 }, flights, τ, at);
    // the front and its tangent
    plot = axes(ctx, { x: right.x, y: y0 + 26, w: right.w, h: 200 }, [0, 1.8, ""], [-14, -8.4, "best reward (weighted steps)"], { labels: false });
    clipped(ctx, plot.box, () => {
      ctx.fillStyle = alpha(shade.soft, 0.14);
      ctx.fillRect(plot.x(0), plot.box.y, plot.x(least) - plot.x(0), plot.box.h);
      const line = [...corners.map((c) => [plot.x(c.J_c), plot.y(c.J_r)]), [plot.x(1.9), plot.y(corners.at(-1).J_r)]];
      path(ctx, line, shade.reward, 3);
      for (const c of corners) disc(ctx, plot.x(c.J_c), plot.y(c.J_r), 2.6, shade.reward);
      if (at) {
        const far = (t) => [plot.x(t), plot.y(at.value + at.price * (t - τ))];
        path(ctx, [far(-1), far(3)], shade.price, 2, [7, 5]);
      }
    });
    path(ctx, [[plot.x(τ), plot.box.y], [plot.x(τ), y0 + 372]], shade.soft, 1.2, [2, 4]);
    if (at) {
      const flat = at.price < 2.2, x = clamp(plot.x(τ) + 14, plot.box.x + 30, plot.box.x + plot.box.w - 120);
      write(ctx, `slope λ* = ${λText(at.price)}`, x, plot.y(at.value) + (flat ? 24 : 30), { colour: shade.price, weight: 600, size: 13.5, halo: true });
    }
    // the price
    prices = axes(ctx, { x: right.x, y: y0 + 262, w: right.w, h: 110 }, [0, 1.8, "budget τ (near misses a flight, discounted)"], [0, 8, "price λ*"]);
    clipped(ctx, prices.box, () => {
      const steps = [];
      for (let k = 0; k + 1 < corners.length; k++) {
        const λ = (corners[k + 1].J_r - corners[k].J_r) / (corners[k + 1].J_c - corners[k].J_c);
        steps.push([prices.x(corners[k].J_c), prices.y(λ)], [prices.x(corners[k + 1].J_c), prices.y(λ)]);
      }
      steps.push([prices.x(loose), prices.y(0)], [prices.x(2), prices.y(0)]);
      path(ctx, steps, shade.price, 2.5);
    });
    if (at) disc(ctx, prices.x(τ), prices.y(Math.min(at.price, 8)), 5, shade.price, shade.paper, 2);
    say();
  });
  handle(s, {
    label: "budget τ", colour: "reward", axis: "x",
    at: () => [plot.x(τ), plot.y(at ? at.value : -13.6)],
    move: (x) => set(plot.ix(x)),
    nudge: (dx, dy) => set(Math.round(100 * τ + dx + dy) / 100),
    value: () => ({ min: 0, max: 1.8, now: τ, text: `budget ${τ.toFixed(2)}, price ${at ? at.price.toFixed(2) : "none"}` }),
    reach: (x, y) => x >= plot.box.x && x <= plot.box.x + plot.box.w && y > plot.box.y - 10 && y < prices.box.y + prices.box.h,
  });
  const bar = row();
  const play = player(bar, (dt) => {
    if (!at) return;
    phase += dt * 2.6;
    if (phase < 1) return;
    phase = 0;
    if (flights.over) flights.start(); else flights.step();
  }, ["▶ Fly", "❚❚ Pause"]);
  button(bar, "Fly 2,000 at once", () => { if (at) { flights.forget(); flights.many(2000); flights.start(); redraw(); } });
  for (const [name, value] of [["tight 0.06", 0.06], ["half a near miss 0.5", 0.5], ["loose 1.7", 1.7]]) button(bar, name, () => set(value));
  const tell = caption();
  function say() {
    if (!at) return tell(`At <b>τ = ${fixed(τ)}</b> no policy keeps the budget; the least that can be promised is <b>${fixed(least, 4)}</b>.`);
    const [a, b] = firstMoves(corners, at).map(words);
    tell(`At <b>τ = ${fixed(τ)}</b> the best reward is <b class="reward">${fixed(at.value)}</b>; one more near miss would be worth ` +
      `<b class="price">λ* = ${λText(at.price)}</b> weighted steps. Drone a: ${a}. Drone b: ${b}.` +
      (at.price === 0 ? ` Safety is free here: the fastest pilots have ${fixed(loose)} near misses anyway.` : ""));
  }
  if (!calm) play.set(true);
  window.scene = {
    set, state: () => ({ τ, ...at, moves: at && firstMoves(corners, at), flown: flights.flown, mean: flights.mean() }),
    optimum: (t) => optimum(corners, t), air: (t) => timeInAir(corners, optimum(corners, t)),
    moves: (t) => firstMoves(corners, optimum(corners, t)),
    fly: (n) => { flights.forget(); flights.many(n); return flights.mean(); },
  };
};

/** What the flights so far have cost, beside the budget. */
function tally(ctx, { x, y, w }, flights, τ, at) {
  if (!at) return;
  const scale = (w - 8) / 2;
  write(ctx, "bars: discounted steps in the air, in each cell", x, y, { colour: shade.soft, size: 11.5 });
  write(ctx, `flight ${(flights.flown + 1).toLocaleString("en")}: near misses ${flights.misses}`, x, y + 22, { size: 13, colour: flights.misses ? shade.cost : shade.ink });
  const text = flights.flown ? `mean of ${flights.flown.toLocaleString("en")} flight${flights.flown > 1 ? "s" : ""} ${fixed(flights.mean())} (discounted)` : "";
  write(ctx, text, x, y + 86, { size: 13 });
  ctx.fillStyle = shade.card;
  ctx.fillRect(x, y + 38, 2 * scale, 12);
  ctx.fillStyle = alpha(shade.cost, 0.75);
  if (flights.flown) ctx.fillRect(x, y + 38, clamp(flights.mean(), 0, 2) * scale, 12);
  path(ctx, [[x + τ * scale, y + 33], [x + τ * scale, y + 55]], shade.ink, 2);
  write(ctx, `budget τ = ${fixed(τ)}`, clamp(x + τ * scale, x + 45, x + w - 45), y + 66, { align: "center", size: 12 });
}

// --- the dual as an envelope -------------------------------------------------------------------

/** The least of max_k (J_r,k − λ (J_c,k − τ)) over λ in [0, bound], for lines [{J_r, J_c}, …]. */
function lowest(lines, τ, bound) {
  const height = (λ) => Math.max(...lines.map((l) => l.J_r - λ * (l.J_c - τ)));
  const tried = [0, bound];
  for (const p of lines) for (const q of lines) {
    const λ = (q.J_r - p.J_r) / (q.J_c - p.J_c);
    if (λ > 0 && λ < bound) tried.push(λ);
  }
  const best = tried.reduce((a, b) => (height(b) < height(a) - 1e-12 ? b : a));
  return [best, height(best)];
}

scenes.dual = (data) => {
  const { corners, first, budget: τ } = data, bound = 10;
  const line = (c, λ) => c.J_r - λ * (c.J_c - τ);
  // At a crossing the policy on the right is named (the one of less cost), as a best response may be.
  const active = (λ) => corners.reduce((best, c, k) => (line(c, λ) > line(corners[best], λ) + 1e-12 ? k : best), 0);
  const d = (λ) => line(corners[active(λ)], λ);
  const star = lowest(corners, τ, bound)[0];
  let λ = 0.6, cuts = [], next = 0, phase = 0, plot;
  prompt("<b>Drag the price λ.</b> Each line is one policy; the highest is the best response. Find the lowest point of the envelope: " +
    "below, the policy on top and the one that takes over next. Or let cutting planes find it.");
  const neighbour = (k) => {
    const cross = (i) => (corners[i + 1].J_r - corners[i].J_r) / (corners[i + 1].J_c - corners[i].J_c);
    if (k === 0) return 1;
    if (k === corners.length - 1) return k - 1;
    return Math.abs(cross(k - 1) - λ) < Math.abs(cross(k) - λ) ? k - 1 : k + 1;
  };
  let pair = [0, 0], flights = [];
  const choose = () => {
    const k = active(λ), both = [k, neighbour(k)].sort((a, b) => b - a); // the costlier one on the left
    if (both.join() === pair.join()) return;
    pair = both;
    flights = pair.map((c, i) => new Flights(data, (s) => [[1, corners[c].action[s]]], 3 + i));
  };
  const set = (value) => { λ = clamp(value, 0, 3.2); choose(); redraw(); };
  choose();
  const wide = (w) => w >= 640;
  const s = stage((w) => (wide(w) ? 300 : 280), "Lines of policies over the price, and their upper envelope", (ctx, w) => {
    plot = axes(ctx, { x: 50, y: 26, w: w - 66, h: (wide(w) ? 300 : 280) - 70 }, [0, 3.2, "price λ (weighted steps per near miss)"],
      [-12.4, -8.4, "reward − λ (cost − τ), one line a policy; their top is the dual d(λ)"]);
    const k = active(λ);
    const ends = (c) => [[plot.x(0), plot.y(line(c, 0))], [plot.x(3.2), plot.y(line(c, 3.2))]];
    clipped(ctx, plot.box, () => {
      corners.forEach((c) => path(ctx, ends(c), alpha(shade.soft, cuts.length ? 0.12 : 0.35), 1));
      const turns = [3.2, 0];
      for (let i = 0; i + 1 < corners.length; i++) turns.push((corners[i + 1].J_r - corners[i].J_r) / (corners[i + 1].J_c - corners[i].J_c));
      const grid = turns.filter((v) => v >= 0 && v <= 3.2).sort((a, b) => a - b);
      path(ctx, grid.map((v) => [plot.x(v), plot.y(d(v))]), alpha(shade.reward, cuts.length ? 0.3 : 1), 3);
      for (const c of cuts) path(ctx, ends(c.line), shade.gold, 2);
      if (cuts.length) {
        const top = (v) => Math.max(...cuts.map((c) => line(c.line, v)));
        const points = [];
        for (let v = 0; v <= 3.2; v += 0.005) points.push([plot.x(v), plot.y(top(v))]);
        path(ctx, points, shade.gold, 4);
        const [least, height] = lowest(cuts.map((c) => c.line), τ, bound);
        if (least <= 3.2) disc(ctx, plot.x(least), plot.y(height), 6, shade.paper, shade.gold, 3);
      }
      path(ctx, ends(corners[k]), line(corners[k], 1) < line(corners[k], 0) ? shade.cost : shade.price, 2.5);
      path(ctx, [[plot.x(λ), plot.box.y], [plot.x(λ), plot.box.y + plot.box.h]], shade.soft, 1.2, [2, 4]);
    });
    path(ctx, [[plot.x(star), plot.y(d(star)) + 12], [plot.x(star), plot.box.y + plot.box.h]], shade.price, 1.2, [2, 4]);
    write(ctx, `λ* = ${fixed(star, 3)}`, plot.x(star) + 6, plot.box.y + plot.box.h - 12, { colour: shade.price, weight: 600, halo: true });
    const right = λ > 2.3;
    write(ctx, `d(λ) = ${fixed(d(λ), 3)}`, plot.x(λ) + (right ? -14 : 14), plot.y(d(λ)) - 20, { colour: shade.reward, weight: 600, halo: true, align: right ? "right" : "left" });
    say();
  });
  handle(s, {
    label: "price λ", colour: "price", axis: "x",
    at: () => [plot.x(λ), plot.y(d(λ))],
    move: (x) => set(plot.ix(x)),
    nudge: (dx, dy) => set(Math.round(100 * λ + dx + dy) / 100),
    value: () => ({ min: 0, max: 3.2, now: λ, text: `price ${λ.toFixed(2)}, dual ${d(λ).toFixed(2)}` }),
    reach: (x, y) => x >= plot.box.x && x <= plot.box.x + plot.box.w && y >= plot.box.y && y <= plot.box.y + plot.box.h,
  });
  stage((w) => (wide(w) ? Math.min(w / 4, 230) : 0.5 * w + 300), "The two policies of the crossing, in flight", (ctx, w, h) => {
    const half = wide(w) ? w / 2 : w, tall = wide(w) ? h : h / 2;
    pair.forEach((k, i) => {
      const c = corners[k], at = { k, w: 0 }, on = k === active(λ);
      const box = { x: wide(w) ? i * half + 6 : 0, y: wide(w) ? 0 : i * tall, w: half - 12, h: tall - 6 };
      const title = `${on ? "best response" : "takes over next"}: cost ${fixed(c.J_c)}, ${c.J_c > τ ? "over" : "within"} the budget`;
      ring(ctx, box, { air: timeInAir(corners, at), moves: firstMoves(corners, at), flights: flights[i], phase, title });
    });
  });
  const bar = row();
  const play = player(bar, (dt) => {
    phase += dt * 2.6;
    if (phase < 1) return;
    phase = 0;
    for (const f of flights) if (f.over) f.start(); else f.step();
  }, ["▶ Fly both", "❚❚ Pause"]);
  const cut = button(bar, "Drop a cut", drop);
  button(bar, "Start anew", () => { cuts = []; next = 0; cut.disabled = false; redraw(); });
  button(bar, "Go to λ*", () => set(star));
  const tell = caption();

  /** One step of Kelley's method: a best response at `next`, its line, the lowest point of the lines. */
  function drop() {
    const answer = cuts.length ? corners[active(next)] : first;
    const at = next, value = line(answer, at), seen = cuts.length ? Math.min(value, cuts.at(-1).upper) : value;
    cuts.push({ line: answer, at, upper: seen });
    const [least, height] = lowest(cuts.map((c) => c.line), τ, bound);
    Object.assign(cuts.at(-1), { lower: height });
    next = least;
    if (seen - height < 1e-9) cut.disabled = true;
    set(Math.min(at, 3.2));
  }
  function say() {
    const c = corners[active(λ)], slope = τ - c.J_c, found = cuts.at(-1);
    if (found) {
      const gap = found.upper - found.lower;
      return tell(`<b>${cuts.length}</b> cut${cuts.length > 1 ? "s" : ""}, the last one at λ = ${fixed(found.at, 3)}: lowest d so far <b class="reward">${fixed(found.upper, 4)}</b>, ` +
        `the lines' own minimum ${fixed(found.lower, 4)}, gap <b>${fixed(gap, 4)}</b>. ` +
        (gap < 1e-9 ? `Closed: <b class="price">λ* = ${fixed(next, 4)}</b>, exactly the linear program's.` : `Ask next at λ = ${fixed(next, 3)}.`));
    }
    tell(`At <b class="price">λ = ${fixed(λ)}</b> the best response earns ${fixed(c.J_r)} at a cost of <b class="cost">${fixed(c.J_c)}</b>; ` +
      `its line ${slope < 0 ? "falls: over budget, raise the price" : "rises: within the budget, lower the price"}. ` +
      `d(λ) = <b class="reward">${fixed(d(λ), 3)}</b>, above the optimum by <b>${fixed(d(λ) - d(star), 3)}</b>.`);
  }
  if (!calm) play.set(true);
  window.scene = {
    set, drop, dual: d, state: () => ({ λ, d: d(λ), star, cuts: cuts.map((c) => [c.upper, c.lower]), next, pair }),
  };
};
