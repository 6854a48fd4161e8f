// A flight to turn in the hand, or several of one start side by side, in step (00, 02, 05).
//
// Data: {flights: [{title, positions (T+1, N, 3), obstacles (M, 3) or (T+1, M, 3), costs (T)}],
// target, goal_radius, d_safe, obstacle_radius, dt, threshold, discount}, all in m and s. Spheres need
// no 3D library: everything is projected and drawn from back to front (the painter's order).
"use strict";

/**
 * A camera that looks at `centre` from `distance`, turned by yaw and pitch (radians): a function
 * from a point in m to [x, y, depth, pixels per m there], in a panel w × h whose origin is 0, 0.
 */
function camera({ centre, distance, yaw, pitch, lens = 1.9 }, w, h) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  const size = lens * Math.min(h, 0.84 * w);
  return ([x, y, z]) => {
    const [dx, dy, dz] = [x - centre[0], y - centre[1], z - centre[2]];
    const right = -sy * dx + cy * dy, ahead = -(cy * dx + sy * dy);
    const depth = distance + cp * ahead - sp * dz, up = cp * dz + sp * ahead, scale = size / depth;
    return [w / 2 + scale * right, h / 2 - scale * up, depth, scale];
  };
}

/** Distance of two points. */
const apart = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]);
const between = (p, q, t) => p.map((v, i) => v + t * (q[i] - v));

/** Which drones and obstacles are too near at these places: pairs [i, j] and [i, M-index]. */
function tooNear(places, balls, { d_safe, obstacle_radius }) {
  const pairs = [], walls = [];
  places.forEach((p, i) => {
    for (let j = i + 1; j < places.length; j++) if (apart(p, places[j]) < d_safe) pairs.push([i, j]);
    balls.forEach((o, k) => { if (apart(p, o) < obstacle_radius + d_safe) walls.push([i, k]); });
  });
  return { pairs, walls };
}

/** What a step costs: a close pair 2 (both ways), a drone in an obstacle's shell 1. */
const stepCost = ({ pairs, walls }) => 2 * pairs.length + walls.length;

/** What draws the flights of one task: `view` is the camera, `prepare(f)` readies a flight. */
function swarmPainter(data, first) {
  const { target, dt, discount, threshold } = data;
  const start = mean(first.positions[0]), centre = between(start, target, 0.5);
  const reach = apart(start, target) / 2 + Math.max(4.2, 1.6 * data.goal_radius), dense = first.positions[0].length > 12;
  const view = { centre: [centre[0], centre[1], centre[2] - 0.4], distance: (dense ? 2.1 : 3.1) * reach, yaw: Math.atan2(target[1] - start[1], target[0] - start[0]) - 1.35, pitch: 0.36 };

  /** Add to a flight: its last step, where obstacles are, what is too near, the cost paid so far. */
  function prepare(f) {
    f.last = f.positions.length - 1;
    f.balls = (k) => (f.obstacles.length && Array.isArray(f.obstacles[0][0]) ? f.obstacles[Math.min(k, f.last)] : f.obstacles);
    f.near = f.positions.map((places, k) => tooNear(places, f.balls(k), data));
    f.paid = [0]; // discounted cost up to and with step k
    for (let k = 0; k < f.last; k++) f.paid.push(f.paid[k] + discount ** k * f.costs[k]);
    return f;
  }

  /** One flight at time `at` (steps) in a panel w × h. */
  function paint(ctx, f, at, w, h, shells = true) {
    const k = Math.min(Math.floor(at), f.last), t = k < f.last ? at - k : 0, project = camera(view, w, h);
    const places = f.positions[k].map((p, i) => (k < f.last ? between(p, f.positions[k + 1][i], t) : p));
    const balls = f.balls(k).map((o, i) => (k < f.last ? between(o, f.balls(k + 1)[i], t) : o));
    const near = tooNear(places, balls, data), bad = new Set([...near.pairs.flat(), ...near.walls.map(([i]) => i)]);
    const hit = new Set(near.walls.map(([, o]) => o)), items = [], big = dense;
    const put = (point, draw) => { const p = project(point); if (p[2] > 0.5) items.push([p[2], () => draw(p)]); };
    ctx.fillStyle = shade.dark ? "#12171e" : "#f3f6f9";
    ctx.fillRect(0, 0, w, h);
    ground(ctx, project, [...places, ...balls, target], balls.length);
    put(target, ([x, y, , m]) => ball(ctx, x, y, m * data.goal_radius, shade.price, 0.16, 1.6));
    balls.forEach((o, i) => put(o, ([x, y, , m]) => {
      solid(ctx, x, y, m * data.obstacle_radius, hit.has(i) ? shade.cost : shade.dark ? "#8b6a53" : "#c9966f");
      if (shells) ball(ctx, x, y, m * (data.obstacle_radius + data.d_safe), hit.has(i) ? shade.cost : "#b98058", hit.has(i) ? 0.3 : 0.09, hit.has(i) ? 2.5 : 0.8);
    }));
    const since = Math.max(0, k - (big ? 14 : 999));
    places.forEach((p, i) => {
      const colour = shade.drones[i % shade.drones.length];
      for (let q = since; q < k + (t > 0 ? 1 : 0); q++) {
        const [a, b] = [f.positions[q][i], q === k ? p : f.positions[q + 1][i]], one = project(a), two = project(b);
        const paid = f.near[Math.min(q + 1, f.last)];
        const costly = paid.pairs.some((pair) => pair.includes(i)) || paid.walls.some(([d]) => d === i);
        items.push([(one[2] + two[2]) / 2 + 0.02, () => path(ctx, [one, two], costly ? shade.cost : colour, costly ? 3.4 : big ? 1.2 : 2)]);
      }
      put(p, ([x, y, , m]) => {
        if (shells && !big) ball(ctx, x, y, (m * data.d_safe) / 2, bad.has(i) ? shade.cost : colour, bad.has(i) ? 0.28 : 0.07, bad.has(i) ? 2 : 0.7);
        quadrotor(ctx, project, p, bad.has(i) ? shade.cost : colour, m, big);
      });
    });
    for (const [i, j] of near.pairs) items.push([0, () => path(ctx, [project(places[i]), project(places[j])], shade.cost, 2)]);
    items.sort((a, b) => b[0] - a[0]).forEach(([, draw]) => draw());
    hud(ctx, f, at, k, w, h, bad.size > 0);
  }

  /** Grid lines at z = 0 and the shadows of what hangs above it. */
  function ground(ctx, project, points, walls) {
    const [gx, gy] = centre, half = 2 * Math.ceil((reach + 1) / 2);
    for (let v = -half; v <= half; v += 2) {
      for (const ends of [[[gx + v, gy - half, 0], [gx + v, gy + half, 0]], [[gx - half, gy + v, 0], [gx + half, gy + v, 0]]]) {
        path(ctx, ends.map(project), alpha(shade.soft, 0.16), 1);
      }
    }
    points.forEach(([x, y, z], i) => {
      const [px, py, , m] = project([x, y, 0]), last = i === points.length - 1;
      const r = last ? data.goal_radius : i < points.length - 1 - walls ? 0.35 : data.obstacle_radius;
      ctx.beginPath();
      ctx.ellipse(px, py, r * m, r * m * Math.sin(view.pitch), 0, 0, 2 * Math.PI);
      ctx.fillStyle = last ? alpha(shade.price, 0.1) : alpha(shade.dark ? "#000000" : "#1f2328", shade.dark ? 0.5 : 0.13);
      ctx.fill();
      if (r < 0.5) path(ctx, [[px, py], project([x, y, z])], alpha(shade.soft, 0.25), 0.8, [2, 3]);
    });
  }

  /** Time, cost so far and budget in the corner of a panel. */
  function hud(ctx, f, at, k, w, h, alarm) {
    const cost = f.paid[k], over = cost > threshold;
    write(ctx, f.title, 12, 18, { weight: 650, size: 14, halo: true });
    write(ctx, `${fixed(Math.min(at, f.last) * dt, 1)} s`, w - 12, 18, { align: "right", size: 13, colour: shade.soft, halo: true });
    write(ctx, `cost so far ${fixed(cost)}`, 12, h - 34, { size: 15, weight: 650, colour: over || alarm ? shade.cost : shade.ink, halo: true });
    const bar = Math.min(150, w - 190);
    ctx.fillStyle = alpha(shade.soft, 0.25);
    ctx.fillRect(12, h - 20, bar, 8);
    ctx.fillStyle = over ? shade.cost : shade.price;
    ctx.fillRect(12, h - 20, bar * clamp(Math.log1p(cost / threshold) / Math.log1p(500), 0, 1), 8);
    const mark = 12 + (bar * Math.log(2)) / Math.log1p(500);
    path(ctx, [[mark, h - 24], [mark, h - 8]], shade.ink, 1.5);
    write(ctx, `budget ${threshold}`, 12 + bar + 8, h - 16, { size: 11.5, colour: shade.soft, halo: true });
    if (at >= f.last) write(ctx, f.arrived ? "arrived" : "out of time", w - 12, h - 34, { align: "right", weight: 650, size: 13.5, colour: f.arrived ? shade.price : shade.cost, halo: true });
  }
  return { view, prepare, paint, dense };
}

/** Turning a stage: drag anywhere; sideways drags of a finger turn, upright ones scroll the page. */
function turnable(s, turn, within = () => true) {
  const { canvas } = s;
  canvas.tabIndex = 0;
  canvas.classList.add("turns");
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!within(...where(s, event))) return;
    held = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    turn(0.008 * (event.clientX - held[0]), 0.006 * (event.clientY - held[1]));
    held = [event.clientX, event.clientY];
  });
  canvas.onpointerup = canvas.onpointercancel = () => { held = null; };
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.08], ArrowDown: [0, -0.08] }[event.key];
    if (!step) return;
    turn(...step);
    event.preventDefault();
  });
}

scenes.flight = (data) => {
  const { flights, dt, threshold } = data, many = flights.length > 1;
  const { view, prepare, paint, dense } = swarmPainter(data, flights[0]);
  flights.forEach(prepare);
  const steps = Math.max(...flights.map((f) => f.last));
  let at = 0, shells = true;
  prompt(many
    ? `<b>Drag to turn all of them at once, then play.</b> ${data.words}`
    : "<b>Drag to turn the flight, then play or scrub.</b> " + (dense ? "" : "Two shells of drones touch exactly when the pair costs. ") +
      "The pale shell of an obstacle is its safe distance.");
  const columns = (w) => (many && w < 640 ? 1 : flights.length);
  const tall = (w) => (many ? (w < 640 ? 260 : clamp(0.95 * w / flights.length, 240, 400)) : clamp(0.52 * w, 280, 480));
  const s = stage((w) => tall(w) * (columns(w) === 1 ? flights.length : 1), "A flight of the swarm in space; arrow keys turn it", (ctx, w) => {
    const n = columns(w), pw = w / n, ph = tall(w);
    flights.forEach((f, i) => {
      ctx.save();
      ctx.translate((i % n) * pw, Math.floor(i / n) * ph);
      ctx.beginPath();
      ctx.rect(0, 0, pw - (n > 1 ? 4 : 0), ph);
      ctx.clip();
      paint(ctx, f, at, pw - (n > 1 ? 4 : 0), ph, shells);
      ctx.restore();
    });
    say();
  });

  turnable(s, turn);
  function turn(yaw, pitch) {
    view.yaw -= yaw;
    view.pitch = clamp(view.pitch + pitch, 0.05, 1.45);
    redraw();
  }

  if (!many) room(flights[0]);
  const bar = row();
  let pace = 1;
  const play = player(bar, (seconds) => {
    if (at >= steps) at = 0;
    at = Math.min(at + (pace * seconds) / dt, steps);
    time.value = at;
    if (at >= steps) play.set(false);
  });
  const time = scrubber(bar, "time", steps, (k) => { at = k; play.set(false); redraw(); });
  const slow = button(bar, "slow", () => { pace = pace === 1 ? 0.35 : 1; slow.setAttribute("aria-pressed", pace < 1); });
  const hide = button(bar, "hide shells", () => { shells = !shells; hide.textContent = shells ? "hide shells" : "show shells"; redraw(); });
  const tell = caption();
  function say() {
    const parts = flights.map((f) => {
      const k = Math.min(Math.floor(at), f.last);
      return `${many ? f.title + ": " : ""}cost <b class="cost">${fixed(f.paid[k])}</b>${many ? "" : ` of a budget of ${threshold}`}`;
    });
    tell(`After <b>${fixed(at * dt, 1)} s</b>: ${parts.join(" · ")}. ` +
      (many ? `The budget is an expected cost of τ = ${threshold}.` : ""));
  }

  /** How much room there was before anything cost, against time; the line is where we are. */
  function room(f) {
    const rooms = f.positions.map((places, k) => {
      let [drones, balls] = [Infinity, Infinity];
      places.forEach((p, i) => {
        for (let j = i + 1; j < places.length; j++) drones = Math.min(drones, apart(p, places[j]) - data.d_safe);
        for (const o of f.balls(k)) balls = Math.min(balls, apart(p, o) - data.obstacle_radius - data.d_safe);
      });
      return [drones, balls];
    });
    stage(() => 142, "Least room to a drone and to an obstacle over time", (ctx, w) => {
      const plot = axes(ctx, { x: 40, y: 24, w: w - 150, h: 76 }, [0, f.last * dt, "time (s)"], [-0.5, 3, "least room before a cost (m)"]);
      ctx.fillStyle = alpha(shade.cost, 0.12);
      ctx.fillRect(plot.box.x, plot.y(0), plot.box.w, plot.y(-0.5) - plot.y(0));
      [["to a drone", shade.reward], ["to an obstacle", shade.cost]].forEach(([name, colour], c) => {
        clipped(ctx, plot.box, () => path(ctx, rooms.map((r, k) => [plot.x(k * dt), plot.y(r[c])]), colour, 2, c ? [6, 4] : []));
        write(ctx, name, plot.box.x + plot.box.w + 8, plot.box.y + 16 + 22 * c, { colour, weight: 600 });
      });
      write(ctx, "here it costs", plot.box.x + plot.box.w + 8, plot.y(-0.25), { colour: shade.soft, size: 11.5 });
      path(ctx, [[plot.x(at * dt), plot.box.y], [plot.x(at * dt), plot.box.y + plot.box.h]], shade.ink, 1.5);
    });
  }
  window.scene = {
    turn, at: (k) => { at = clamp(k, 0, steps); time.value = at; play.set(false); redraw(); }, play: (on) => play.set(on),
    state: () => ({ at, yaw: view.yaw, pitch: view.pitch, steps, playing: play.on }),
    costs: (i) => flights[i].near.map(stepCost), paid: (i) => flights[i].paid.at(-1),
    project: (point, w, h) => camera(view, w, h)(point), pose: (change) => { Object.assign(view, change); redraw(); },
  };
  at = data.start || 0;
  time.value = at;
};

const mean = (points) => points[0].map((_, i) => points.reduce((sum, p) => sum + p[i], 0) / points.length);

/** A glass ball: a faint fill and a rim. */
function ball(ctx, x, y, r, colour, fill, rim) {
  const g = ctx.createRadialGradient(x, y, r * 0.55, x, y, r);
  g.addColorStop(0, alpha(colour, 0.55 * fill));
  g.addColorStop(1, alpha(colour, Math.min(1, 1.5 * fill)));
  disc(ctx, x, y, r, g, alpha(colour, Math.min(1, 3 * fill + 0.1)), rim);
}

/** A solid ball, lit from the upper left. */
function solid(ctx, x, y, r, colour) {
  disc(ctx, x, y, r, colour);
  const g = ctx.createRadialGradient(x - 0.35 * r, y - 0.4 * r, r * 0.1, x, y, r * 1.05);
  g.addColorStop(0, "rgba(255,255,255,0.55)");
  g.addColorStop(0.4, "rgba(255,255,255,0.05)");
  g.addColorStop(1, "rgba(0,0,0,0.4)");
  disc(ctx, x, y, r, g);
}

/** Body and four rotors, level, about twice as large as the body, to be seen. */
function quadrotor(ctx, project, [x, y, z], colour, m, small) {
  const arm = small ? 0.32 : 0.42;
  if (small) return solid(ctx, ...project([x, y, z]).slice(0, 2), Math.max(0.3 * m, 2.5), colour);
  const middle = project([x, y, z]);
  for (const [a, b] of [[-1, -1], [1, -1], [-1, 1], [1, 1]]) {
    const tip = project([x + a * arm, y + b * arm, z + 0.08]);
    path(ctx, [middle, tip], shade.ink, Math.max(0.09 * m, 1.2));
    const rim = project([x + a * arm, y + b * arm + 0.3, z + 0.08]), flat = Math.abs(project([x + a * arm + 0.3, y + b * arm, z + 0.08])[1] - tip[1]);
    ctx.beginPath();
    ctx.ellipse(tip[0], tip[1], 0.3 * m, Math.max(flat, Math.abs(rim[1] - tip[1]), 1), 0, 0, 2 * Math.PI);
    ctx.fillStyle = alpha(colour, 0.45);
    ctx.fill();
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.2;
    ctx.stroke();
  }
  solid(ctx, middle[0], middle[1], Math.max(0.22 * m, 2), colour);
}
