// Lessons 03 and 06: attention on the scene, and beside it what an agent's absence really changes.
//
// Data: frames (T) of places (N, 2), values (N) of one signal, weights (heads, N, N), and `without`[j]:
// the same critic on the others alone, values (N−1) and weights (heads, N−1, N−1). Discs: what stands
// in the world, [x, y, radius, kind]. `one`: what an agent is called.
"use strict";

const an = (name) => `${/^[aeiou]/.test(name) ? "an" : "a"} ${name}`;

scenes.attention = (data) => {
  const { places, values, weights, without, discs, unit, one = "drone" } = data, N = places[0].length, heads = weights[0].length;
  const T = places.length;
  let at = Math.round(data.start), focus = data.focus, silent = null, head = -1, project;
  prompt(`<b>Click ${an(one)} to silence it</b> (the critic is asked again, without it). Choose whose attention is drawn, and play. ` +
    "Does a wide arc mean that the value changes?");
  /** Index of agent i among those that are left when j is silent. */
  const left = (i) => (silent === null || i < silent ? i : i - 1);
  const value = (k, i) => (silent === null ? values[k][i] : without[silent].values[k][left(i)]);
  const weight = (k, i, j) => {
    if (j === silent) return 0;
    const table = silent === null ? weights[k] : without[silent].weights[k];
    const pick = head < 0 ? table : [table[head]];
    return pick.reduce((sum, α) => sum + α[left(i)][left(j)], 0) / pick.length;
  };
  /** How far V_i moves when j is taken away. */
  const influence = (k, i, j) => Math.abs(without[j].values[k][i < j ? i : i - 1] - values[k][i]);
  const most = Math.max(...places.map((_, k) => Math.max(...places[k].map((_, i) => Math.max(...places[k].map((_, j) => (i === j ? 0 : influence(k, i, j))))))));
  const xs = [...places.flat().map((p) => p[0]), ...discs.map((d) => d[0] - d[2]), ...discs.map((d) => d[0] + d[2])];
  const ys = [...places.flat().map((p) => p[1]), ...discs.map((d) => d[1] - d[2]), ...discs.map((d) => d[1] + d[2])];
  const pad = 0.07 * Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
  const [x0, x1, y0, y1] = [Math.min(...xs) - pad, Math.max(...xs) + pad, Math.min(...ys) - pad, Math.max(...ys) + pad];
  const wide = (w) => w >= 640;
  const s = stage((w) => (wide(w) ? 380 : 680), "The agents from above with arcs of attention, and bars of attention and influence", (ctx, w) => {
    const left = wide(w) ? 0.6 * w : w, k = Math.round(at);
    const scale = Math.min((left - 30) / (x1 - x0), 350 / (y1 - y0));
    const [ox, oy] = [(left - scale * (x1 - x0)) / 2, 15 + (350 - scale * (y1 - y0)) / 2];
    project = ([x, y]) => [ox + scale * (x - x0), oy + scale * (y1 - y)];
    for (const [x, y, r, kind] of discs) {
      const colour = kind === "obstacle" ? shade.soft : shade.price;
      disc(ctx, ...project([x, y]), Math.max(r * scale, 4), alpha(colour, kind === "obstacle" ? 0.3 : 0.12), colour, kind === "obstacle" ? 1 : 2);
      if (kind !== "obstacle") disc(ctx, ...project([x, y]), 3, colour);
      if (kind === "goal") write(ctx, "goal", project([x, y])[0], project([x, y])[1] - r * scale - 10, { align: "center", colour: shade.price, size: 12, halo: true });
    }
    for (let i = 0; i < N; i++) path(ctx, places.slice(0, k + 1).map((frame) => project(frame[i])), alpha(shade.drones[i % 5], 0.35), 1.5);
    if (focus !== silent) for (let j = 0; j < N; j++) if (j !== focus) arc(ctx, project(places[k][focus]), project(places[k][j]), weight(k, focus, j), shade.drones[focus % 5]);
    for (let i = 0; i < N; i++) {
      const [x, y] = project(places[k][i]), off = i === silent;
      if (i === focus) disc(ctx, x, y, 19, null, shade.drones[i % 5], 2);
      disc(ctx, x, y, 13, off ? shade.card : shade.drones[i % 5], off ? shade.soft : shade.paper, 2);
      write(ctx, String(i + 1), x, y + 0.5, { align: "center", weight: 700, size: 13.5, colour: off ? shade.soft : shade.paper });
      if (off) path(ctx, [[x - 10, y + 10], [x + 10, y - 10]], shade.cost, 3);
    }
    bars(ctx, wide(w) ? { x: left + 30, y: 10, w: w - left - 46 } : { x: 40, y: 392, w: w - 56 }, k);
    say();
  });

  /** A bow from one agent to another, as wide as its weight, with the number on it. */
  function arc(ctx, [x, y], [u, v], α, colour) {
    if (α < 0.005) return;
    const [mx, my] = [(x + u) / 2 - 0.22 * (v - y), (y + v) / 2 + 0.22 * (u - x)];
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.quadraticCurveTo(mx, my, u, v);
    ctx.strokeStyle = alpha(colour, 0.25 + 0.6 * α);
    ctx.lineWidth = 1 + 20 * α;
    ctx.lineCap = "butt";
    ctx.stroke();
    ctx.lineCap = "round";
    const far = Math.hypot(u - x, v - y);
    if (far > 50) write(ctx, fixed(α), 0.25 * x + 0.5 * mx + 0.25 * u, 0.25 * y + 0.5 * my + 0.25 * v, { align: "center", size: 12, weight: 600, halo: true });
  }

  /** For every other agent: attention, and what its absence changes. */
  function bars(ctx, box, k) {
    write(ctx, `${one} ${focus + 1} looks at …`, box.x - 6, box.y + 8, { weight: 650, size: 14 });
    const [a, b] = [box.x + 24, box.x + 30 + box.w * 0.5], each = box.w * 0.5 - 62;
    write(ctx, "attention", a, box.y + 34, { size: 12, colour: shade.reward, weight: 600 });
    write(ctx, "true influence", b, box.y + 34, { size: 12, colour: shade.cost, weight: 600 });
    let line = 0;
    for (let j = 0; j < N; j++) {
      if (j === focus) continue;
      const y = box.y + 64 + 44 * line++, α = focus === silent ? 0 : weight(k, focus, j), real = influence(k, focus, j);
      write(ctx, String(j + 1), box.x + 6, y, { weight: 700, colour: j === silent ? shade.soft : shade.drones[j % 5], align: "center" });
      for (const [x, share, colour, text] of [[a, α, shade.reward, fixed(α)], [b, real / most, shade.cost, fixed(real)]]) {
        ctx.fillStyle = alpha(shade.soft, 0.13);
        ctx.fillRect(x, y - 9, each, 18);
        ctx.fillStyle = alpha(colour, j === silent ? 0.3 : 0.85);
        ctx.fillRect(x, y - 9, Math.max(each * share, 1), 18);
        write(ctx, text, x + each + 6, y, { size: 12 });
      }
    }
    const y = box.y + 64 + 44 * line + 8;
    write(ctx, `value of ${one} ${focus + 1}: ${focus === silent ? "–" : fixed(value(k, focus))} ${unit}`, box.x - 6, y, { weight: 600 });
    if (silent !== null && silent !== focus) write(ctx, `without ${one} ${silent + 1}; with it ${fixed(values[k][focus])}`, box.x - 6, y + 20, { colour: shade.soft });
  }
  for (let i = 0; i < N; i++) spot(s, {
    label: `silence ${one} ${i + 1}`, at: () => project(places[Math.round(at)][i]), pressed: () => silent === i,
    press: () => { silent = silent === i ? null : i; if (focus === silent) focus = (i + 1) % N; },
  });
  const bar = row();
  const play = player(bar, (dt) => { at = at >= T - 1 ? 0 : Math.min(at + 6 * dt, T - 1); time.value = at; if (at >= T - 1) play.set(false); });
  const time = scrubber(bar, "frame", T - 1, (k) => { at = k; play.set(false); redraw(); });
  time.value = at;
  const second = row();
  second.append(make("label", { textContent: "attention of" }));
  const group = (names, pick) => {
    const made = names.map((name, k) => button(second, name, () => { pick(k); made.forEach((b, i) => b.setAttribute("aria-pressed", i === k)); redraw(); }));
    return made;
  };
  const who = group(places[0].map((_, i) => `${i + 1}`), (i) => { focus = i; if (silent === i) silent = null; });
  second.append(make("label", { textContent: "by head" }));
  const which = group(["mean", ...weights[0].map((_, h) => `${h + 1}`)], (h) => { head = h - 1; });
  which[0].setAttribute("aria-pressed", true);
  const tell = caption();
  function say() {
    who.forEach((b, i) => b.setAttribute("aria-pressed", i === focus));
    const k = Math.round(at), others = places[0].map((_, j) => j).filter((j) => j !== focus && j !== silent);
    const top = (f) => others.reduce((best, j) => (f(j) > f(best) ? j : best));
    const [seen, felt] = [top((j) => weight(k, focus, j)), top((j) => influence(k, focus, j))];
    tell(`Frame ${k + 1} of ${T}: ${one} ${focus + 1} looks most at ${one} <b>${seen + 1}</b> (${fixed(weight(k, focus, seen))}); ` +
      `taking ${one} <b>${felt + 1}</b> away changes its value most, by <b class="cost">${fixed(influence(k, focus, felt))}</b>. ` +
      (seen === felt ? "Here the two agree." : "Here the two disagree: a weight is not an explanation."));
  }
  window.scene = {
    silence: (j) => { silent = j; redraw(); }, at: (k) => { at = k; redraw(); },
    state: () => ({ at, focus, silent, head, value: value(Math.round(at), focus), weights: places[0].map((_, j) => (j === focus ? 0 : weight(Math.round(at), focus, j))) }),
    influence, choose: (i) => { focus = i; redraw(); },
  };
};
