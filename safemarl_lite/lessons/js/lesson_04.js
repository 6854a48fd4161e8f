// Lesson 04: λ and cost in the phase plane (`phase`), and "be the multiplier" (`multiplier`).
//
// Both run the lesson's own loop, exactly: advantages from a linear solve, a policy step along
// (A^r − λ A^c) / (1 + λ), and the rules of `lagrangian.Multipliers`.
"use strict";

/** One step of a rule: {integral, λ} after a cost; "rises" is the draft's max around the violation. */
function priced(integral, cost, { τ, rate, proportional, rises = false }) {
  const e = rises ? Math.max(0, cost - τ) : cost - τ;
  const next = Math.max(0, integral + rate * e);
  return { integral: next, λ: Math.max(0, next + proportional * e) };
}

/**
 * The loop of one number, section 4: u is the difference of the pad's logits, the cost C σ(u).
 * Returns costs and prices of `rounds` rounds from (cost, λ); η = 1.
 */
function orbit({ C, star, τ }, cost, λ, rule, rounds) {
  let u = Math.log(cost / (C - cost)), integral = λ;
  const costs = [], prices = [];
  for (let k = 0; k < rounds; k++) {
    const now = C / (1 + Math.exp(-u)), step = priced(integral, now, { τ, ...rule });
    integral = step.integral;
    u = clamp(u - (C * (step.λ - star)) / (1 + step.λ), -700, 700);
    costs.push(now);
    prices.push(step.λ);
  }
  return { costs, prices };
}

/** Largest modulus of the loop's eigenvalues at the optimum, and whether they are complex. */
function modulus({ C, star, τ }, rate, proportional) {
  const p = τ / C, G = C * p * (1 - p), h = C / (1 + star);
  const trace = 2 - h * (rate + proportional) * G, det = 1 - h * proportional * G, under = trace * trace - 4 * det;
  return under < 0 ? [Math.sqrt(det), true]
    : [Math.max(Math.abs(trace + Math.sqrt(under)), Math.abs(trace - Math.sqrt(under))) / 2, false];
}

scenes.phase = (data) => {
  const { C, star, τ } = data, rounds = 1500;
  let cost = 0.6, λ = 2.2, rate = 0.03, proportional = 0, rises = false, at = 0, run, plane, knobs, graph;
  prompt("<b>Drag the start</b> (ring at the left) and <b>the rule's two gains</b> (ring at the right). With κ = 0 the price circles for ever. " +
    "How much proportional part makes it spiral in? Then let the rule only rise.");
  const fly = () => { run = orbit(data, cost, λ, { rate, proportional, rises }, rounds); redraw(); };
  const from = (x, y) => { cost = clamp(x, 0.01, 0.99 * C); λ = clamp(y, 0, 3.6); at = 0; fly(); };
  const gains = (k, a) => { proportional = clamp(k, 0, 1.2); rate = clamp(a, 0.001, 0.05); at = 0; fly(); };
  fly();
  const small = document.createElement("canvas");
  const wide = (w) => w >= 640, log = (a) => Math.log10(a);
  const s = stage((w) => (wide(w) ? 350 : 700), "The orbit of cost and price, and the plane of the rule's two gains", (ctx, w) => {
    const left = wide(w) ? 0.56 * w : w;
    plane = axes(ctx, { x: 46, y: 26, w: left - 66, h: 274 }, [0, 1.2, "discounted cost"], [0, 3.6, "price λ"]);
    field(ctx);
    clipped(ctx, plane.box, () => {
      path(ctx, [[plane.x(τ), plane.box.y], [plane.x(τ), plane.box.y + plane.box.h]], shade.ink, 1.5, [2, 4]);
      path(ctx, [[plane.box.x, plane.y(star)], [plane.box.x + plane.box.w, plane.y(star)]], shade.price, 1.2, [2, 4]);
      const points = run.costs.map((c, k) => [plane.x(c), plane.y(run.prices[k])]);
      path(ctx, [[plane.x(cost), plane.y(λ)], points[0]], alpha(shade.reward, 0.5), 1.2);
      path(ctx, points, alpha(shade.reward, 0.28), 1.3);
      const head = Math.floor(at), tail = points.slice(Math.max(0, head - 90), head + 1);
      tail.forEach((p, k) => k && path(ctx, [tail[k - 1], p], alpha(shade.reward, k / tail.length), 3));
      disc(ctx, ...points[head], 6, shade.reward, shade.paper, 2);
    });
    disc(ctx, plane.x(τ), plane.y(star), 4, shade.ink);
    write(ctx, "optimum (τ, λ*)", plane.x(τ) + 9, plane.y(star) - 11, { halo: true, size: 12 });
    write(ctx, `budget τ = ${τ}`, plane.x(τ) + 5, plane.box.y + 10, { halo: true, size: 12 });
    // the plane of the gains, shaded by how fast a small error dies out
    const box = { x: (wide(w) ? left : 0) + 50, y: wide(w) ? 26 : 376, w: (wide(w) ? w - left : w) - 66, h: 274 };
    knobs = { box, x: (k) => box.x + (k / 1.2) * box.w, y: (a) => box.y + box.h * (1 - (log(a) + 3) / (log(0.05) + 3)),
      ix: (px) => ((px - box.x) / box.w) * 1.2, iy: (py) => 10 ** ((1 - (py - box.y) / box.h) * (log(0.05) + 3) - 3) };
    gainsMap(ctx, w);
    say();
  });

  /** Where a round leads, as short arrows of one length (cost and λ in units of the axes). */
  function field(ctx) {
    const { ix, iy, box } = plane;
    for (let px = box.x + 20; px < box.x + box.w; px += 34) for (let py = box.y + 16; py < box.y + box.h; py += 30) {
      const [c, l] = [ix(px), iy(py)];
      if (c > 0.97 * C) continue;
      const now = priced(l, c, { τ, rate, proportional, rises }), du = (-C * (now.λ - star)) / (1 + now.λ);
      const dx = (c * (1 - c / C) * du * box.w) / 1.2, dy = (-(now.λ - l) * box.h) / 3.6, size = Math.hypot(dx, dy);
      if (size > 1e-9) arrow(ctx, px, py, (11 * dx) / size, (11 * dy) / size, alpha(shade.soft, 0.35), 1.1);
    }
  }
  function gainsMap(ctx) {
    const { box, x, y, ix, iy } = knobs, nx = 64, ny = 48;
    if (small.title !== shade.reward) { // painted once a theme, small, then stretched: smooth
      Object.assign(small, { width: nx, height: ny, title: shade.reward });
      const dots = small.getContext("2d");
      for (let i = 0; i < nx; i++) for (let j = 0; j < ny; j++) {
        const [ρ, complex] = modulus(data, iy(box.y + ((j + 0.5) * box.h) / ny), ix(box.x + ((i + 0.5) * box.w) / nx));
        dots.fillStyle = alpha(complex ? shade.reward : shade.gold, clamp((1 - ρ) / 0.035, 0, 1) * 0.75);
        dots.fillRect(i, j, 1, 1);
      }
    }
    ctx.drawImage(small, box.x, box.y, box.w, box.h);
    path(ctx, [[box.x, box.y], [box.x, box.y + box.h], [box.x + box.w, box.y + box.h]], shade.soft, 1);
    for (const k of [0, 0.4, 0.8, 1.2]) write(ctx, String(k), x(k), box.y + box.h + 12, { colour: shade.soft, align: "center", size: 11.5 });
    for (const a of [0.001, 0.003, 0.01, 0.03]) write(ctx, String(a), box.x - 12, y(a), { colour: shade.soft, align: "right", size: 11.5 });
    write(ctx, "proportional part κ", box.x + box.w / 2, box.y + box.h + 29, { align: "center" });
    write(ctx, "rate α of the integral", box.x - 34, box.y - 12);
    write(ctx, "spirals (blue: quickly)", box.x + 8, box.y + 13, { size: 12, halo: true });
    write(ctx, "creeps (gold)", box.x + box.w - 6, box.y + box.h - 12, { size: 12, align: "right", halo: true });
    if (box.w > 240) write(ctx, "← κ = 0: circles", box.x + 8, box.y + box.h - 12, { size: 12, halo: true });
  }
  const inside = (b) => (x, y) => x >= b().box.x && x <= b().box.x + b().box.w && y >= b().box.y && y <= b().box.y + b().box.h;
  handle(s, {
    label: "start of the orbit", colour: "reward",
    at: () => [plane.x(cost), plane.y(λ)],
    move: (x, y) => from(plane.ix(x), plane.iy(y)),
    nudge: (dx, dy) => from(cost + 0.01 * dx, λ + 0.05 * dy),
    value: () => ({ min: 0, max: C, now: cost, text: `cost ${cost.toFixed(2)}, price ${λ.toFixed(2)}` }),
    reach: inside(() => plane),
  });
  handle(s, {
    label: "gains of the rule", colour: "price",
    at: () => [knobs.x(proportional), knobs.y(rate)],
    move: (x, y) => gains(knobs.ix(x), knobs.iy(y)),
    nudge: (dx, dy) => gains(proportional + 0.01 * dx, rate * 1.05 ** dy),
    value: () => ({ min: 0, max: 1.2, now: proportional, text: `proportional ${proportional.toFixed(2)}, rate ${rate.toFixed(4)}` }),
    reach: inside(() => knobs),
  });
  stage(() => 150, "Cost and price, round by round", (ctx, w) => {
    const box = (x) => ({ x, y: 24, w: w / 2 - 66, h: 84 }), xs = [0, rounds, "round"];
    [["discounted cost", run.costs, shade.cost, τ, [0, 1.2], 46], ["price λ", run.prices, shade.price, star, [0, 3.6], w / 2 + 50]]
      .forEach(([name, values, colour, level, ys, x]) => {
        graph = axes(ctx, box(x), xs, [...ys, name]);
        path(ctx, [[graph.x(0), graph.y(level)], [graph.x(rounds), graph.y(level)]], shade.ink, 1.2, [2, 4]);
        clipped(ctx, graph.box, () => path(ctx, values.map((v, k) => [graph.x(k), graph.y(v)]), colour, 1.8));
        disc(ctx, graph.x(at), clamp(graph.y(values[Math.floor(at)]), graph.box.y, 999), 4, colour);
      });
  });
  const bar = row();
  const play = player(bar, (dt) => {
    at = Math.min(at + dt * 160, rounds - 1);
    time.value = at;
    if (at >= rounds - 1) play.set(false);
  });
  const time = scrubber(bar, "round", rounds - 1, (k) => { at = k; play.set(false); redraw(); });
  const rule = (name, k, only) => button(bar, name, () => { rises = only; gains(k, rate); play.set(true); });
  rule("projected step, κ = 0", 0, false);
  rule("PI rule, κ = 0.2", 0.2, false);
  rule("only rises", 0, true);
  const tell = caption();
  function say() {
    const [ρ, complex] = modulus(data, rate, proportional), end = [run.costs.at(-1), run.prices.at(-1)];
    const half = ρ < 1 - 1e-6 ? `halves a small error in <b>${Math.round(Math.log(0.5) / Math.log(ρ)).toLocaleString("en")}</b> rounds` : "never comes to rest";
    const kind = rises ? "The rule that <b>only rises</b> cannot come back: " : proportional === 0 ? "The integral alone circles: it " + half + ". "
      : `κ = ${fixed(proportional)}, α = ${fixed(rate, 4)} ${complex ? "spirals in" : "creeps in"}: it ${half}. `;
    tell(kind + `After ${rounds.toLocaleString("en")} rounds: cost <b class="cost">${fixed(end[0], 3)}</b> (budget ${τ}), price <b class="price">${fixed(end[1], 3)}</b> (λ* = ${fixed(star, 3)}).`);
  }
  if (!calm) play.set(true);
  window.scene = {
    from, gains, at: (k) => { at = k; play.set(false); redraw(); }, rises: (on) => { rises = on; fly(); },
    state: () => ({ cost, λ, rate, proportional, rises, end: [run.costs.at(-1), run.prices.at(-1)] }),
    orbit: (c, l, rule, n) => orbit(data, c, l, rule, n), modulus: (a, k) => modulus(data, a, k),
  };
};

// --- a tabular policy that trains in the page --------------------------------------------------

/** Solve M x = y for several right-hand sides by Gauss–Jordan elimination; M (n, n), y (n, k). */
function solve(M, y) {
  const n = M.length, rows = M.map((row, i) => [...row, ...y[i]]);
  for (let c = 0; c < n; c++) {
    const best = rows.slice(c).reduce((b, row, i) => (Math.abs(row[c]) > Math.abs(rows[b][c]) ? c + i : b), c);
    [rows[c], rows[best]] = [rows[best], rows[c]];
    for (let r = 0; r < n; r++) {
      if (r === c) continue;
      const f = rows[r][c] / rows[c][c];
      if (f) for (let k = c; k < rows[c].length; k++) rows[r][k] -= f * rows[c][k];
    }
  }
  return rows.map((row, i) => row.slice(n).map((v) => v / row[i]));
}

/** A softmax table on the delivery task, exact values and advantages, trained at a given price. */
class Learner {
  constructor({ transition, reward, cost, discount }) {
    Object.assign(this, { P: transition, r: reward, c: cost, γ: discount });
    this.logits = reward.map((row) => row.map(() => 0));
    this.evaluate();
  }
  evaluate() {
    const { P, r, c, γ } = this, S = r.length;
    this.policy = this.logits.map((row) => {
      const top = Math.max(...row), e = row.map((v) => Math.exp(v - top)), sum = e.reduce((a, b) => a + b);
      return e.map((v) => v / sum);
    });
    const mean = (f, s) => this.policy[s].reduce((sum, p, a) => sum + p * f[s][a], 0);
    const bellman = P.map((rows, s) => P.map((_, t) => (s === t) - γ * this.policy[s].reduce((sum, p, a) => sum + p * rows[a][t], 0)));
    const V = solve(bellman, P.map((_, s) => [mean(r, s), mean(c, s)]));
    const advantage = (f, k) => f.map((row, s) => row.map((v, a) => v + γ * P[s][a].reduce((sum, p, t) => sum + p * V[t][k], 0) - V[s][k]));
    Object.assign(this, { A_r: advantage(r, 0), A_c: advantage(c, 1), J_r: V[0][0], J_c: V[0][1], S });
  }
  step(λ) {
    this.logits = this.logits.map((row, s) => row.map((v, a) => v + (this.A_r[s][a] - λ * this.A_c[s][a]) / (1 + λ)));
    this.evaluate();
  }
}

/** Train under a rule of λ → [[λ, J_c, J_r], …], as the lesson's `follow` does. */
function follow(data, rule, rounds, start = 1) {
  const learner = new Learner(data), out = [];
  let integral = start;
  for (let k = 0; k < rounds; k++) {
    const step = priced(integral, learner.J_c, { τ: data.τ, ...rule });
    integral = step.integral;
    out.push([step.λ, learner.J_c, learner.J_r]);
    learner.step(step.λ);
  }
  return out;
}

scenes.multiplier = (data) => {
  const { τ, star } = data, rounds = 300, pace = 12; // rounds, and rounds a second
  const RULES = {
    you: { name: "you", colour: "reward" },
    step: { name: "projected step", colour: "cost", rule: { rate: 0.05, proportional: 0 } },
    pi: { name: "PI rule", colour: "price", rule: { rate: 0.05, proportional: 0.5 } },
    rises: { name: "only rises", colour: "b", rule: { rate: 0.05, proportional: 0, rises: true } },
  };
  const runs = {};
  let who = "you", λ = 1, integral = 1, learner = new Learner(data), clock = 0, gauge;
  prompt("<b>You are the multiplier.</b> A policy trains under the price that you set: drag λ (or arrow keys), " +
    `${rounds} rounds in ${rounds / pace} seconds, and hold the cost at the budget. Then let the rules do it on the same task.`);
  const begin = (driver) => { who = driver; integral = λ = 1; learner = new Learner(data); runs[who] = []; clock = 0; play.set(true); };
  const top = 4.5;
  const set = (value) => { λ = clamp(value, 0, top); if (who !== "you" && !play.on) who = "you"; redraw(); };
  const round = () => {
    const mine = RULES[who].rule;
    if (mine) ({ integral, λ } = priced(integral, learner.J_c, { τ, ...mine }));
    runs[who].push([λ, learner.J_c, learner.J_r]);
    learner.step(λ);
    if (runs[who].length >= rounds) play.set(false);
  };
  const wide = (w) => w >= 640;
  const s = stage((w) => (wide(w) ? 360 : 600), "The price gauge, the delivery, and the cost round by round", (ctx, w) => {
    const left = wide(w) ? 290 : w, now = learner.policy[0][0];
    // the gauge: a column that is grabbed
    gauge = { x: 46, top: 34, bottom: 310, y: (v) => 310 - (v / top) * 276, iv: (py) => ((310 - py) / 276) * top };
    write(ctx, "price λ", 14, 14, { weight: 600, colour: shade.price });
    ctx.fillStyle = shade.card;
    ctx.fillRect(gauge.x - 5, gauge.top, 10, 276);
    ctx.fillStyle = alpha(shade.price, 0.6);
    ctx.fillRect(gauge.x - 5, gauge.y(λ), 10, gauge.bottom - gauge.y(λ));
    for (const v of [0, 1, 2, 3, 4]) write(ctx, String(v), gauge.x - 16, gauge.y(v), { align: "right", colour: shade.soft, size: 11.5 });
    write(ctx, fixed(λ), gauge.x + 26, gauge.y(λ), { weight: 600, colour: shade.price, size: 13.5, halo: true });
    delivery(ctx, { x: 110, y: 40, w: left - 130, h: 250 }, now, learner.J_c);
    const right = wide(w) ? { x: left + 46, w: w - left - 132 } : { x: 46, w: w - 130 }, y0 = wide(w) ? 0 : 320;
    const cost = axes(ctx, { x: right.x, y: y0 + 26, w: right.w, h: 168 }, [0, rounds, ""], [0, 1.2, "discounted cost"], { labels: false });
    const price = axes(ctx, { x: right.x, y: y0 + 226, w: right.w, h: 88 }, [0, rounds, "round"], [0, top, "price λ"]);
    for (const [axis, level, name] of [[cost, τ, `budget ${τ}`], [price, star, "λ*"]]) {
      path(ctx, [[axis.x(0), axis.y(level)], [axis.x(rounds), axis.y(level)]], shade.ink, 1.2, [2, 4]);
      write(ctx, name, axis.x(rounds) + 5, axis.y(level), { size: 12 });
    }
    let row = 0;
    for (const [key, run] of Object.entries(runs)) {
      const { colour, name } = RULES[key], live = key === who, tone = live ? shade[colour] : alpha(shade[colour], 0.55);
      for (const [axis, column] of [[cost, 1], [price, 0]]) {
        clipped(ctx, { ...axis.box, w: axis.box.w + 8 }, () => path(ctx, run.map((r, k) => [axis.x(k), axis.y(r[column])]), tone, live ? 2.6 : 1.6));
      }
      write(ctx, name, cost.box.x + cost.box.w - 4, cost.box.y + 12 + 16 * row++, { align: "right", colour: shade[colour], weight: 600, halo: true });
      const last = run.at(-1);
      if (live && last) disc(ctx, cost.x(run.length - 1), cost.y(last[1]), 5, shade[colour], shade.paper, 2);
    }
    say();
  });
  handle(s, {
    label: "price λ", colour: "price", axis: "y",
    at: () => [gauge.x, gauge.y(λ)],
    move: (x, y) => set(gauge.iv(y)),
    nudge: (dx, dy) => set(Math.round(20 * λ + dx + dy) / 20),
    value: () => ({ min: 0, max: top, now: λ, text: `price ${λ.toFixed(2)}, cost ${learner.J_c.toFixed(2)}` }),
    reach: (x, y) => Math.abs(x - gauge.x) < 30 && y > gauge.top - 10 && y < gauge.bottom + 10,
  });
  const bar = row();
  const play = player(bar, (dt) => {
    if (!runs[who]) runs[who] = [];
    if (runs[who].length >= rounds) return begin(who);
    clock += dt * pace * (RULES[who].rule ? 5 : 1);
    for (; clock >= 1 && play.on; clock--) round();
  }, ["▶ Train", "❚❚ Pause"]);
  button(bar, "Again, by hand", () => begin("you"));
  for (const key of ["step", "pi", "rises"]) button(bar, `${RULES[key].name} drives`, () => begin(key));
  const tell = caption();
  /** Mean distance from the budget over the second half of the rounds. */
  const score = (run) => run.slice(rounds / 2).reduce((sum, r) => sum + Math.abs(r[1] - τ), 0) / (run.length - rounds / 2);
  function say() {
    const done = Object.entries(runs).filter(([, run]) => run.length >= rounds);
    const board = done.map(([key, run]) => `${RULES[key].name} <b>${fixed(score(run), 3)}</b>`).join(", ");
    const run = runs[who] || [];
    tell(`Round ${run.length} of ${rounds}: cost <b class="cost">${fixed(learner.J_c)}</b> at λ = <b class="price">${fixed(λ)}</b>, ` +
      `the corridor in ${percent(learner.policy[0][0])} of the flights. ` +
      (board ? `Mean distance from the budget, second half: ${board}.` : `At the optimum: ${percent(data.share)} and λ* = ${fixed(star)}.`));
  }
  const race = (driver) => { begin(driver); while (play.on) round(); redraw(); };
  window.scene = {
    set, begin, race, follow: (rule, n) => follow(data, rule, n),
    state: () => ({ who, λ, cost: learner.J_c, rounds: (runs[who] || []).length, playing: play.on }),
  };
};

/** The delivery: pad, corridor and detour as bands as wide as the share of flights that take them. */
function delivery(ctx, box, p, cost) {
  const [x0, x1] = [box.x + 10, box.x + box.w - 10], low = box.y + box.h - 40, high = box.y + 60, most = 26;
  const mid = (x0 + x1) / 2;
  const line = (points, width, colour) => { ctx.lineCap = "butt"; path(ctx, points, colour, Math.max(width, 1.2)); ctx.lineCap = "round"; };
  line([[x0, low], [x1, low]], most * p, alpha(shade.cost, 0.7));
  line([[x0, low], [x0 + 10, high], [x1 - 10, high], [x1, low]], most * (1 - p), alpha(shade.reward, 0.55));
  for (const [x, name] of [[x0, "pad"], [x1, "landed"]]) {
    disc(ctx, x, low, 12, shade.card, shade.ink, 2);
    write(ctx, name, x, low + 26, { align: "center", size: 12 });
  }
  write(ctx, `detour ${percent(1 - p)}`, mid, high - 26, { align: "center", colour: shade.reward, weight: 600 });
  write(ctx, `corridor ${percent(p)}`, mid, low - 26, { align: "center", colour: shade.cost, weight: 600 });
  write(ctx, `cost ${fixed(cost)}`, mid, high + 50, { align: "center", size: 19, weight: 650, colour: shade.cost });
  write(ctx, "of the policy now", mid, high + 72, { align: "center", size: 12, colour: shade.soft });
}
