// A training to scrub, or to follow live: what is won, cost, price, and a flight of the policy then
// (05, 06).
//
// Data: {runs: [{name, log: {won, cost, price}, flights: [{iteration, …}]}], live, kind, threshold, …}:
// an entry an iteration, flights as flight.js has them, or of navigation with `landmarks`. With a
// kernel, `cockpit.py` writes its news into an element of class "safemarl-feed" beside the picture.
"use strict";

const REACH = 0.15; // radius of an agent of navigation

/** What draws episodes of navigation from above; the same interface as `swarmPainter`. */
function navigationPainter({ discount, threshold }) {
  function prepare(f) {
    f.last = f.positions.length - 1;
    f.near = f.positions.map((places) => places.flatMap(([x, y], i) => places.flatMap(([u, v], j) => (j > i && Math.hypot(x - u, y - v) < 2 * REACH ? [i, j] : []))));
    f.paid = [0];
    for (let k = 0; k < f.last; k++) f.paid.push(f.paid[k] + discount ** k * f.costs[k]);
    return f;
  }
  function paint(ctx, f, at, w, h) {
    const k = Math.min(Math.floor(at), f.last), t = k < f.last ? at - k : 0, scale = (Math.min(w, h - 50) - 24) / 2.7;
    const project = ([x, y]) => [w / 2 + scale * x, h / 2 - scale * y], hit = new Set(f.near[k]);
    ctx.fillStyle = shade.dark ? "#12171e" : "#f3f6f9";
    ctx.fillRect(0, 0, w, h);
    for (const mark of f.landmarks) {
      disc(ctx, ...project(mark), scale * REACH, alpha(shade.price, 0.15), shade.price, 1.5);
      disc(ctx, ...project(mark), 3, shade.price);
    }
    f.positions[k].forEach((p, i) => {
      const place = k < f.last ? between(p, f.positions[k + 1][i], t) : p, colour = shade.drones[i % 5];
      path(ctx, [...f.positions.slice(0, k + 1).map((frame) => project(frame[i])), project(place)], alpha(colour, 0.5), 2);
      disc(ctx, ...project(place), scale * REACH, alpha(hit.has(i) ? shade.cost : colour, 0.75), hit.has(i) ? shade.cost : colour, 2);
    });
    write(ctx, f.title, 12, 18, { weight: 650, size: 14, halo: true });
    write(ctx, `step ${k}`, w - 12, 18, { align: "right", size: 13, colour: shade.soft });
    write(ctx, `penalty so far ${fixed(f.paid[k])}`, 12, h - 16, { size: 15, weight: 650, colour: f.paid[k] > threshold || hit.size ? shade.cost : shade.ink, halo: true });
    write(ctx, `budget ${threshold}`, w - 12, h - 16, { size: 12, align: "right", colour: shade.soft });
  }
  return { view: null, prepare, paint };
}

/** A drawing w × h that is kept until its key changes: draw(ctx) into it, then it is only copied. */
function kept() {
  const canvas = document.createElement("canvas");
  let last = "";
  return (ctx, key, w, h, draw) => {
    const ratio = devicePixelRatio || 1, now = [key, w, h, ratio, shade.dark].join();
    if (now !== last) {
      [canvas.width, canvas.height, last] = [Math.round(w * ratio), Math.round(h * ratio), now];
      const inner = canvas.getContext("2d");
      inner.setTransform(ratio, 0, 0, ratio, 0, 0);
      inner.lineJoin = inner.lineCap = "round";
      draw(inner);
    }
    ctx.drawImage(canvas, 0, 0, w, h);
  };
}

scenes.training = (data) => {
  const scene = kept(), curves = kept();
  const { runs, threshold, kind } = data, drones = kind !== "navigation";
  const { view, prepare, paint } = drones ? swarmPainter(data, runs.find((run) => run.flights.length).flights[0]) : navigationPainter(data);
  const COLOURS = ["cost", ...(runs.length > 2 ? ["b"] : []), "reward"];
  runs.forEach((run, i) => { run.colour = COLOURS[i]; run.flights.forEach(prepare); });
  const live = { name: "yours, live", colour: "gold", log: { won: [], cost: [], price: [] }, flights: [] };
  let who = runs.at(-1), at = Math.round(0.4 * who.log.cost.length), clock = 0, follow = true, said = "", plots;
  const trainings = () => (live.log.cost.length ? [...runs, live] : runs);
  const longest = () => Math.max(...runs.map((run) => run.log.cost.length), live.log.cost.length);
  /** The flight of a run that was last recorded up to the iteration `at`. */
  const seenThen = () => who.flights.filter((f) => f.iteration <= Math.round(at) + 1).at(-1) || who.flights[0];
  const ends = () => who.log.cost.length - 1;
  prompt("<b>Drag the ring along the training</b>, or press <i>Train</i>: the flight is that of the policy then. " +
    (drones ? "Which of the three crashes, which stays away, and when does the third do neither?" : "When do the agents stop bumping into each other, and what does it cost them?") +
    (data.live ? " Below are the controls of a training of your own: it appears here." : ""));
  const wide = (w) => w >= 700;
  const most = Math.max(...runs.flatMap((run) => run.log.cost)), dear = Math.max(1, ...runs.flatMap((run) => run.log.price));
  const bend = (v) => Math.log10(1 + v / threshold); // linear up to the budget, logarithmic beyond
  const s = stage((w) => (wide(w) ? 430 : 778), "A flight of the policy, and curves of its training", (ctx, w) => {
    const side = wide(w) ? Math.round(0.46 * w) : w, tall = wide(w) ? 430 : 330, f = seenThen();
    const moment = [who.name, f && f.iteration, view && [view.yaw, view.pitch], Math.round(clock * 2)].join();
    scene(ctx, moment, side - 6, tall, (inner) => {
      if (f) {
        f.title = `${who.name}, iteration ${f.iteration}`;
        paint(inner, f, Math.min(clock, f.last), side - 6, tall, true);
      } else write(inner, "no flight of this training was recorded", side / 2, tall / 2, { align: "center", colour: shade.soft });
    });
    curves(ctx, [who.name, longest(), live.log.cost.length, said].join(), w, wide(w) ? 430 : 778, (inner) => graphs(inner, w, side, tall));
    const x = plots[0].x(Math.round(at) + 1);
    path(ctx, [[x, plots[0].box.y], [x, plots[2].box.y + plots[2].box.h]], alpha(shade.ink, 0.45), 1.2);
    plots.grip = [x, plots[1].y(bend(who.log.cost[Math.round(at)] ?? 0))];
    say(f);
  });

  /** The three curves of every training, the names at their ends. */
  function graphs(ctx, w, side, tall) {
    const box = { x: (wide(w) ? side : 0) + 44, w: (wide(w) ? w - side : w) - 44 - 82 }, top = wide(w) ? 0 : tall + 8;
    const xs = [0, longest(), ""], won = drones ? [0, 1.04] : [0, 80];
    const decades = [0, threshold, 10 * threshold, 100 * threshold].filter((v) => v < 1.5 * most);
    plots = [
      axes(ctx, { ...box, y: top + 26, h: 92 }, xs, [...won, drones ? "share of flights that arrive" : "cost of an episode"], { labels: false }),
      axes(ctx, { ...box, y: top + 158, h: 128 }, xs, [0, bend(1.6 * most), drones ? "discounted cost" : "discounted penalty"], { labels: false, marks: decades.map((v) => [bend(v), String(v)]) }),
      axes(ctx, { ...box, y: top + 326, h: 66 }, [xs[0], xs[1], "iteration"], [0, Math.log10(1 + 1.5 * dear), "price λ"], { marks: [0, 1, 10].filter((v) => v < 1.5 * dear).map((v) => [Math.log10(1 + v), String(v)]) }),
    ];
    const heights = [(v) => plots[0].y(v), (v) => plots[1].y(bend(v)), (v) => plots[2].y(Math.log10(1 + v))];
    const budget = heights[1](threshold);
    path(ctx, [[box.x, budget], [box.x + box.w, budget]], shade.ink, 1.3, [2, 4]);
    write(ctx, `budget ${threshold}`, box.x + box.w + 14, budget, { size: 11.5, halo: true });
    ["won", "cost", "price"].forEach((name, k) => {
      const names = [];
      for (const run of trainings()) {
        const points = run.log[name].map((v, i) => [plots[k].x(i + 1), heights[k](v)]), mine = run === who;
        clipped(ctx, { ...plots[k].box, y: plots[k].box.y - 4, h: plots[k].box.h + 8, w: box.w + 4 }, () => path(ctx, points, mine ? shade[run.colour] : alpha(shade[run.colour], 0.4), mine ? 2.4 : 1.4));
        if (points.length) names.push([points.at(-1), run]);
      }
      if (k !== 1) { // the names at the curves, pushed apart
        names.sort((a, b) => a[0][1] - b[0][1]).reduce((low, [[x, y], run]) => {
          const line = Math.max(y, low + 14);
          write(ctx, run.name, Math.max(x, box.x) + 6, line, { colour: shade[run.colour], size: 12, weight: run === who ? 700 : 500, halo: true });
          return line;
        }, -99);
      }
    });
  }
  const set = (k) => { at = clamp(k, 0, ends()); follow = who === live && Math.round(at) === ends(); time.value = Math.round(at); clock = 0; redraw(); };
  const choose = (run) => { who = run; at = Math.min(at, ends()); time.max = ends(); names(); set(at); };
  handle(s, {
    label: "iteration", colour: "ink", axis: "x",
    at: () => plots.grip,
    move: (px) => set(Math.round(plots[0].ix(px)) - 1),
    nudge: (dx, dy) => set(Math.round(at) + dx + dy),
    value: () => ({ min: 1, max: ends() + 1, now: Math.round(at) + 1, text: `iteration ${Math.round(at) + 1} of ${who.name}` }),
    reach: (x, y) => x > plots[0].box.x && x < plots[0].box.x + plots[0].box.w && y > plots[0].box.y && y < plots[2].box.y + plots[2].box.h,
  });
  const turn = (yaw, pitch) => { view.yaw -= yaw; view.pitch = clamp(view.pitch + pitch, 0.05, 1.45); redraw(); };
  if (drones) turnable(s, turn, (x, y) => x < s.width * (wide(s.width) ? 0.46 : 1) && y < 430);
  const bar = row();
  const play = player(bar, (seconds) => {
    if (at >= ends()) at = 0;
    at = Math.min(at + seconds * ends() / 14, ends());
    time.value = Math.round(at);
    if (at >= ends()) play.set(false);
  }, ["▶ Train", "❚❚ Pause"]);
  const time = scrubber(bar, "training", ends(), (k) => { play.set(false); set(k); });
  const fly = player(bar, (seconds) => {
    const { last } = seenThen() || { last: 1 };
    clock += seconds * (drones ? 25 : 7);
    if (clock > last + (drones ? 25 : 7)) clock = 0;
  }, ["▶ Fly", "❚❚ Hold"]);
  const second = row();
  second.append(make("label", { textContent: "training" }));
  const picks = new Map();
  function names() {
    for (const run of trainings()) {
      if (!picks.has(run)) picks.set(run, button(second, run.name, () => choose(run)));
      picks.get(run).setAttribute("aria-pressed", run === who);
    }
  }
  const tell = caption();
  function say(f) {
    const k = Math.round(at), { won, cost, price } = who.log;
    if (cost[k] === undefined) return;
    const first = drones ? `<b class="reward">${percent(won[k])}</b> arrive` : `an episode costs <b class="reward">${fixed(won[k], 1)}</b>`;
    tell(`${who.name}, iteration <b>${k + 1}</b>: ${first}, Ĵ<sub>c</sub> = <b class="cost">${fixed(cost[k], 2)}</b> of a budget of ${threshold}, λ = <b class="price">${fixed(price[k], 2)}</b>. ` +
      (f ? `The flight, of iteration ${f.iteration} and without exploration, costs <b class="cost">${fixed(f.paid.at(-1), 2)}</b>${drones ? (f.arrived ? " and arrives" : " and does not arrive") : ""}.` : "") + said);
  }
  names();
  time.value = at;

  // Live: the kernel's news, if it is there.
  let heard = "";
  function hear(text) {
    if (text === heard) return;
    heard = text;
    const told = JSON.parse(text);
    live.log = told.log;
    if (!told.iteration) {
      live.flights = [];
      if (who === live) who = runs.at(-1);
    } else if (told.flight) {
      live.flights = live.flights.filter((f) => f.iteration < told.iteration);
      live.flights.push(prepare({ ...told.flight, iteration: told.iteration }));
      if (live.flights.length === 1) who = live;
    }
    said = told.iteration ? ` The training is ${told.state}; rule of λ: ${told.rule}.` : "";
    time.max = ends();
    at = who === live && follow ? ends() : Math.min(at, ends());
    time.value = Math.round(at);
    names();
    redraw();
  }
  if (data.live) {
    setInterval(() => {
      try {
        const cell = frameElement.closest(".jp-Cell, .cell") || parent.document;
        const feed = cell.querySelector(".safemarl-feed");
        if (feed && feed.textContent) hear(feed.textContent);
      } catch { /* another origin: the recorded trainings only */ }
    }, 300);
  }
  if (!calm) fly.set(true);
  window.scene = {
    set: (k) => set(k - 1), turn, choose: (i) => choose(trainings()[i]), clock: (k) => { clock = k; fly.set(false); redraw(); }, hear,
    state: () => ({ at: Math.round(at) + 1, who: who.name, clock, flight: (seenThen() || {}).iteration, live: live.log.cost.length, cost: who.log.cost[Math.round(at)], price: who.log.price[Math.round(at)], yaw: view && view.yaw }),
  };
};
