// Lesson 02: can this task exist? Thrust, goal radius, number of drones and their spacing at the start
// are grabbed; the answer is the one that `SwarmTask` gives, with its own sentence.
//
// Data: mass, gravity, d_safe, jitter; tables[n − 1] = {places (n, 3) at distance 1, least, room}: the
// radius below which no ball holds n points 1 m apart, and the one that `places` need.
"use strict";

/** Rounded up to four places, so that the number is accepted. */
const enough = (x) => String(+(Math.ceil(x * 1e4) / 1e4).toPrecision(10));
const general = (x) => String(+x.toPrecision(6));

/** The first objection of `SwarmTask` to these settings, or null. */
function objection(data, { n, radius, spacing, thrust }) {
  const { mass, gravity, d_safe: d, jitter, tables } = data, table = tables[n - 1];
  const say = (name, given, least, why) => `${name}=${general(given)} is infeasible: ${why}; at least ${enough(least)}`;
  if (radius < d * table.least) return say("goal_radius", radius, d * table.least, `${n} drones cannot keep ${d} m apart in that ball`);
  if (n > 6 && radius < d * table.room) return say("goal_radius", radius, d * table.room, `the places of ${n} drones ${d} m apart do not fit in`);
  const shaken = n > 1 ? d + 2 * Math.sqrt(3) * jitter : 0;
  if (spacing < shaken) return say("start_spacing", spacing, shaken, `drones would start closer than d_safe=${d} m`);
  if (thrust <= mass * gravity) return say("max_thrust", thrust, mass * gravity + 1e-12, `it cannot lift ${mass} kg`);
  return null;
}

/** What the first step costs in the draft's row of n drones: close pairs, each counted twice. */
function startCost(n, spacing, d) {
  let cost = 0;
  for (let k = 1; k < n; k++) if (k * spacing < d) cost += 2 * (n - k);
  return cost;
}

scenes.feasible = (data) => {
  const { mass, gravity, d_safe: d, tables } = data, weight = mass * gravity, DRAFT = { n: 5, radius: 1, spacing: Math.SQRT2, thrust: 1 };
  let task = { ...DRAFT }, clock = 0, spin = 0.5, lift, goal, start;
  prompt("<b>The draft's task: mend it by hand.</b> Pull the thrust up, the rim of the goal out, the drones of the start apart. " +
    "What is the least of each that will do, and what changes with the number of drones?");
  const set = (change) => {
    task = { ...task, ...change };
    task.thrust = clamp(task.thrust, 0, 10);
    task.radius = clamp(task.radius, 0.5, 4);
    task.spacing = clamp(task.spacing, 1, 4);
    task.n = clamp(task.n, 1, tables.length);
    redraw();
  };
  const wide = (w) => w >= 700;
  const s = stage((w) => (wide(w) ? 330 : 3 * 320), "Thrust against weight, drones in the goal, drones at the start", (ctx, w) => {
    const pw = wide(w) ? w / 3 : w;
    [panelLift, panelGoal, panelStart].forEach((panel, i) => {
      const box = { x: wide(w) ? i * pw + 4 : 4, y: wide(w) ? 0 : i * 320, w: pw - 8, h: 314 };
      ctx.beginPath();
      ctx.roundRect(box.x, box.y, box.w, box.h, 10);
      ctx.fillStyle = shade.card;
      ctx.fill();
      panel(ctx, box);
    });
    say();
  });
  const title = (ctx, box, text, ok) => {
    write(ctx, text, box.x + 12, box.y + 18, { weight: 650, size: 14 });
    write(ctx, ok ? "✓" : "✗", box.x + box.w - 14, box.y + 18, { weight: 700, size: 17, align: "right", colour: ok ? shade.price : shade.cost });
  };

  /** The drone falls or climbs with the acceleration that is left, one second at a time. */
  function panelLift(ctx, box) {
    const net = task.thrust / mass - gravity, ok = task.thrust > weight, seconds = Math.min(clock % 1.6, 1);
    const x = box.x + box.w * 0.5, floor = box.y + box.h - 52, newton = 8, middle = box.y + 146;
    title(ctx, box, "Can it lift itself?", ok);
    const moved = clamp(-0.5 * net * seconds ** 2 * 15, -20, floor - middle - 12 - newton * weight), y = middle + moved;
    path(ctx, [[box.x + 16, floor], [box.x + box.w - 16, floor]], shade.soft, 1.5);
    lift = { x, y, iv: (py) => (y - 12 - py) / newton, tip: y - 12 - task.thrust * newton };
    arrow(ctx, x, y + 12, 0, weight * newton, shade.ink, 3);
    arrow(ctx, x, y - 12, 0, -task.thrust * newton, ok ? shade.price : shade.cost, 4);
    body(ctx, x, y, 20, ok ? shade.reward : shade.cost);
    write(ctx, `weight ${fixed(weight, 3)} N`, x + 14, y + 12 + weight * newton * 0.55, { size: 12, halo: true });
    write(ctx, `thrust ${fixed(task.thrust, 1)} N`, x + 16, Math.max(lift.tip + 4, box.y + 44), { size: 13, weight: 600, colour: ok ? shade.price : shade.cost, halo: true });
    write(ctx, `${ok ? "climbs" : "falls"} ${fixed(Math.abs(net) / 2, 1)} m in the first second`, box.x + box.w / 2, floor + 18, { align: "center" });
    write(ctx, "(no air)", box.x + box.w / 2, floor + 36, { align: "center", size: 11.5, colour: shade.soft });
  }

  /** The places of n drones, squeezed into the ball where it is too small; each in half of d_safe. */
  function panelGoal(ctx, box) {
    const table = tables[task.n - 1], needed = d * Math.max(table.least, task.n > 6 ? table.room : 0), ok = task.radius >= needed;
    const shape = table.reach * d, squeeze = shape > 0 ? Math.min(1, task.radius / shape) : 1;
    const cx = box.x + box.w / 2, cy = box.y + 158, unit = Math.min(box.w / 2 - 18, 112) / 5;
    title(ctx, box, "Can it finish?", ok);
    goal = { cx, cy, unit };
    const [c, sn] = [Math.cos(spin), Math.sin(spin)];
    const points = table.places.map(([x, y, z]) => {
      const [a, b, up] = [x, y, z].map((v) => v * d * squeeze);
      const [px, depth] = [c * a + sn * b, -sn * a + c * b];
      return [cx + unit * px, cy - unit * (0.94 * up + 0.34 * depth), depth];
    });
    disc(ctx, cx, cy, task.radius * unit, alpha(shade.price, 0.13), shade.price, 2);
    ctx.setLineDash([4, 4]);
    disc(ctx, cx, cy, needed * unit, null, shade.soft, 1.2); // the least that will do
    ctx.setLineDash([]);
    const flash = ok ? 0.1 : 0.16 + 0.1 * Math.sin(6 * clock);
    points.sort((p, q) => q[2] - p[2]).forEach(([x, y]) => {
      disc(ctx, x, y, (d / 2) * unit, alpha(ok ? shade.reward : shade.cost, flash), alpha(ok ? shade.reward : shade.cost, 0.6), 1.2);
      body(ctx, x, y, 7, ok ? shade.reward : shade.cost);
    });
    write(ctx, `goal radius ${fixed(task.radius)} m, needed ${fixed(needed, 3)} m`, cx, box.y + box.h - 34, { align: "center", weight: 600, colour: ok ? shade.price : shade.cost });
    const text = ok ? `${task.n} drones, ${d} m apart: they fit` : `squeezed in: closest pair ${fixed(d * squeeze)} m, not ${d} m`;
    write(ctx, task.n === 1 ? "one drone fits anywhere" : text, cx, box.y + box.h - 16, { align: "center", size: 12 });
  }

  /** The draft's row at the start; too close pairs glow. */
  function panelStart(ctx, box) {
    const cost = startCost(task.n, task.spacing, d), shaken = d + 2 * Math.sqrt(3) * data.jitter;
    const ok = task.n === 1 || task.spacing >= shaken, unit = Math.min((box.w - 60) / (Math.max(task.n - 1, 1) * task.spacing + 2), 30);
    const y = box.y + 150, x0 = box.x + box.w / 2 - ((task.n - 1) * task.spacing * unit) / 2;
    title(ctx, box, "Can it start?", ok);
    start = { x0, y, unit };
    const close = task.n > 1 && task.spacing < d;
    for (let i = 0; i < task.n; i++) {
      const x = x0 + i * task.spacing * unit;
      disc(ctx, x, y, (d / 2) * unit, alpha(close ? shade.cost : shade.reward, close ? 0.16 + 0.1 * Math.sin(6 * clock) : 0.1), alpha(close ? shade.cost : shade.reward, 0.6), 1.2);
      body(ctx, x, y, 8, close ? shade.cost : shade.reward);
    }
    const glow = clamp(cost / 20, 0, 1);
    write(ctx, `${cost}`, box.x + box.w / 2, box.y + 66, { align: "center", size: 24 + 10 * glow, weight: 700, colour: cost ? shade.cost : shade.price });
    write(ctx, "cost of the first step", box.x + box.w / 2, box.y + 92, { align: "center", size: 12, colour: shade.soft });
    write(ctx, `neighbours ${fixed(task.spacing, 2)} m apart`, box.x + box.w / 2, box.y + box.h - 52, { align: "center", weight: 600, colour: ok ? shade.price : shade.cost });
    write(ctx, "wanted: " + (task.n === 1 ? "nothing" : `${fixed(shaken, 2)} m`), box.x + box.w / 2, box.y + box.h - 34, { align: "center", size: 12 });
    write(ctx, `(${d} m, and ${fixed(2 * Math.sqrt(3) * data.jitter, 2)} m for the shaken starts)`, box.x + box.w / 2, box.y + box.h - 16, { align: "center", size: 11.5, colour: shade.soft });
  }

  handle(s, {
    label: "thrust", colour: "cost", axis: "y",
    at: () => [lift.x, lift.tip],
    move: (x, y) => set({ thrust: lift.iv(y) }),
    nudge: (dx, dy) => set({ thrust: Math.round(10 * task.thrust + dx + dy) / 10 }),
    value: () => ({ min: 0, max: 10, now: task.thrust, text: `thrust ${task.thrust.toFixed(1)} newton` }),
  });
  const rim = -0.7; // the angle at which the goal's handle sits
  handle(s, {
    label: "goal radius", colour: "price",
    at: () => [goal.cx + Math.cos(rim) * task.radius * goal.unit, goal.cy + Math.sin(rim) * task.radius * goal.unit],
    move: (x, y) => set({ radius: Math.hypot(x - goal.cx, y - goal.cy) / goal.unit }),
    nudge: (dx, dy) => set({ radius: Math.round(20 * task.radius + dx + dy) / 20 }),
    value: () => ({ min: 0.5, max: 4, now: task.radius, text: `goal radius ${task.radius.toFixed(2)} metres` }),
  });
  handle(s, {
    label: "spacing at the start", colour: "reward", axis: "x",
    at: () => [start.x0 + (task.n - 1) * task.spacing * start.unit, start.y],
    move: (x) => { const half = x - (s.width > 0 ? start.x0 + ((task.n - 1) * task.spacing * start.unit) / 2 : 0); set({ spacing: (2 * half) / ((task.n - 1) * start.unit) }); },
    nudge: (dx, dy) => set({ spacing: Math.round(20 * task.spacing + dx + dy) / 20 }),
    value: () => ({ min: 1, max: 4, now: task.spacing, text: `spacing ${task.spacing.toFixed(2)} metres`, hidden: task.n === 1 }),
  });
  const bar = row();
  button(bar, "one drone less", () => set({ n: task.n - 1 }));
  button(bar, "one drone more", () => set({ n: task.n + 1 }));
  button(bar, "the draft's task", () => set(DRAFT));
  button(bar, "this workbook's task", () => set({ n: 5, radius: 2.5, spacing: 3.2, thrust: 7.5 }));
  const moving = player(bar, (dt) => { clock += dt; spin += 0.35 * dt; });
  const tell = caption();
  function say() {
    const no = objection(data, task);
    tell(`<code>SwarmTask(n_drones=${task.n}, goal_radius=${fixed(task.radius)}, start_spacing=${fixed(task.spacing)}, max_thrust=${fixed(task.thrust, 1)})</code>: ` +
      (no ? `<b class="cost">${no.replace("<", "&lt;")}.</b>` : '<b class="price">this task can exist.</b>'));
  }
  if (!calm) moving.set(true);
  window.scene = { set, state: () => ({ ...task, objection: objection(data, task) }), objection: (t) => objection(data, t), startCost };
};

/** A quadrotor from the side. */
function body(ctx, x, y, size, colour) {
  path(ctx, [[x - size, y], [x + size, y]], shade.ink, Math.max(size / 7, 1.5));
  for (const sign of [-1, 1]) path(ctx, [[x + sign * size - size * 0.55, y - size * 0.3], [x + sign * size + size * 0.55, y - size * 0.3]], colour, Math.max(size / 6, 1.5));
  disc(ctx, x, y, size * 0.42, colour);
}
