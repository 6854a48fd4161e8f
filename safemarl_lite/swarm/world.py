"""The swarm in the Bullet physics engine: a PettingZoo environment and its batched twin.

Notebook: `02_swarm_environment`; the task, its feasibility and its costs are in `task.py`.
Symbols: p_i, v_i position (m) and velocity (m/s) of drone i, g the target. Rewards are maximised:

    r_i = fall of ‖p_i − g_i‖ in the step (m), + arrival_bonus when all are in the goal at once

with g_i the drone's own place in the goal, assigned at the start (`SwarmTask.places`).

An episode is terminated when all are in the goal at once, truncated when the horizon is over.
Axis order everywhere: swarm E, drone N, feature.
"""

import weakref
from itertools import chain
from typing import ClassVar

import gymnasium as gym
import numpy as np
from scipy.spatial.transform import Rotation

from ..parallel import Batch, OneWorld, Seed
from ..step import Step
from . import camera
from .attitude import attitude_loop
from .engine import bullet
from .task import GRAVITY, SwarmTask, near
from .view import Relations, nearby, relations, view

GAP = 100.0  # m, at least, between neighbouring swarms of one Bullet world
LEVEL, ORIGIN = (0, 0, 0, 1), (0, 0, 0)
ALL = slice(None)
Swarms = slice | np.ndarray  # which of a batch


class SwarmVectorEnv(Batch):
    """`num_envs` swarms in one Bullet world, far apart; an ended swarm starts anew.

    `seed` is an int or a `SeedSequence`. Actions: (E, N, 3 or 4) in [−1, 1], clipped.
    """

    DRAWN = ("positions", "velocities", "obstacles")
    view_type = np.float64
    discrete = False

    def __init__(
        self,
        task: SwarmTask,
        num_envs: int,
        seed: Seed = 0,
        autoreset: bool = True,
        visual: bool = False,
    ) -> None:
        super().__init__(task, num_envs, seed, autoreset, "drone")
        self.agent_action_space = gym.spaces.Box(-1, 1, (task.action_size,))
        side = int(np.ceil(num_envs**0.5))
        row, column = np.divmod(np.arange(num_envs), side)
        gap = max(GAP, 2 * task.reach)  # no drone gets into another swarm
        self.offset = gap * np.stack([column, row, 0 * row], -1)[:, None]
        self.steps = np.full(num_envs, -1)  # before `reset`
        self.positions, self.velocities, self.places = np.zeros((3, num_envs, task.n_drones, 3))
        self.obstacles = np.zeros((num_envs, task.n_obstacles, 3))
        self.centre = np.tile(task.start, (num_envs, 1, 1))
        self.targets = np.tile(task.target, (num_envs, 1, 1))
        self.goal_radius = np.full((num_envs, 1), task.goal_radius)
        self._hover = np.array([0, 0, task.mass * GRAVITY])  # N
        self._look()
        self.client = bullet.connect(bullet.DIRECT)
        self._free = weakref.finalize(self, bullet.disconnect, self.client)  # also if dropped
        self._build(visual)

    def _build(self, visual):
        """Make every body of every swarm, and the ground they share."""
        task, client = self.task, self.client
        whole = task.control == "force"  # one call steps all ticks; attitude closes its loop each
        bullet.setGravity(0, 0, -GRAVITY, physicsClientId=client)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=task.dt if whole else task.dt / task.ticks,
            numSubSteps=task.ticks if whole else 0,
            deterministicOverlappingPairs=1,  # or an earlier episode's contacts order the solver
            physicsClientId=client,
        )
        self.look = camera.looks(task, client) if visual else {}

        def make(mass, radius, kind, at):
            form = {"radius": radius} if radius else {"planeNormal": [0, 0, 1]}
            kind_of = bullet.GEOM_SPHERE if radius else bullet.GEOM_PLANE
            hull = bullet.createCollisionShape(kind_of, physicsClientId=client, **form)
            form = (mass, hull, self.look.get(kind, -1), at)
            body = bullet.createMultiBody(*form, physicsClientId=client, useMaximalCoordinates=1)
            bullet.changeDynamics(body, -1, linearDamping=0, angularDamping=0, restitution=0,
                                  lateralFriction=0, physicsClientId=client)  # fmt: skip
            return body

        self.drones, self.obstacle_bodies, self.swarm_of = [], [], {}
        for e, at in enumerate((self.offset[:, 0] + [0, 0, 50]).tolist()):
            drones = [make(task.mass, task.body_radius, "drone", at) for _ in self.agents]
            balls = [make(0, task.obstacle_radius, "obstacle", at) for _ in range(task.n_obstacles)]
            self.drones += drones
            self.obstacle_bodies += balls
            self.swarm_of |= dict.fromkeys(drones, e)
        make(0, 0, "ground", [0, 0, 0])

    def reset(
        self, seed: Seed | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Start every swarm anew → (observations, state). `options` may give what is drawn:

        `positions` and `velocities` (E, N, 3), `obstacles` (E, M, 3), in m and m/s.
        """
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self._draw(swarms := np.arange(self.num_envs))
        self._place(swarms)
        given = dict(self._given(options))
        for name, value in given.items():
            getattr(self, name)[:] = value
        if given:  # placed a second time: no contact of the last episode stays in Bullet's cache
            self._place(swarms)
        return self.observations(), self.state()

    def _draw(self, swarms):
        """Draw starts of the given swarms, and obstacles in their way."""
        self.positions[swarms], self.obstacles[swarms] = self.task.draw(self.rng, len(swarms))
        self.velocities[swarms], self.steps[swarms] = 0, 0

    def _restart(self, swarms):
        """Start ended swarms anew, half of them from starts to be rehearsed, if there are any."""
        self._draw(swarms)
        for e in swarms[self.rng.random(len(swarms)) < 0.5] if self.rehearsed else ():
            for name, value in self.rehearsed[self.rng.integers(len(self.rehearsed))].items():
                getattr(self, name)[e] = value
        self._place(swarms)

    def _place(self, swarms):
        """Move the bodies of the given swarms to where `positions` and `obstacles` say."""
        task, client = self.task, self.client
        self.places[swarms] = self._assigned(swarms)
        for e in swarms:
            drones = self.drones[e * task.n_drones : (e + 1) * task.n_drones]
            balls = self.obstacle_bodies[e * task.n_obstacles : (e + 1) * task.n_obstacles]
            places = np.concatenate([self.positions[e], self.obstacles[e]]) + self.offset[e]
            for body, place in zip(drones + balls, places.tolist(), strict=True):
                bullet.resetBasePositionAndOrientation(body, place, LEVEL, client)
            for body, speed in zip(drones, self.velocities[e].tolist(), strict=True):
                bullet.resetBaseVelocity(body, speed, ORIGIN, physicsClientId=client)
        if task.control == "attitude":
            self._read()
        self._look()

    def _assigned(self, swarms):
        """The places at the target (count, N, 3) of the given swarms' drones."""
        return self.task.places(self.positions[swarms])

    def _look(self):
        """Measure who is where to whom, once for costs, views and rewards."""
        reach = self.task.d_safe + np.max(self.task.margins)
        who = nearby(self.positions, self.task.n_neighbours, reach)
        self.seen = relations(self.positions, self.obstacles, self.targets, self.places, who)

    def _read(self):
        """Positions, velocities and, for attitude control, rotations of all drones from Bullet."""
        poses = [bullet.getBasePositionAndOrientation(b, self.client) for b in self.drones]
        speeds = [bullet.getBaseVelocity(b, self.client) for b in self.drones]

        def column(pairs, i):
            flat = np.fromiter(chain.from_iterable([pair[i] for pair in pairs]), float)
            return flat.reshape(-1, self.num_envs, self.task.n_drones, len(pairs[0][i]))

        places, self.velocities = column(poses + speeds, 0)
        self.positions = places - self.offset
        if self.task.control == "attitude":
            self.turn, self.spin = Rotation.from_quat(column(poses, 1)[0]), column(speeds, 1)[0]

    def _push(self, forces, torques=None):
        """Apply forces (N) at the centres and torques (N·m), (E, N, 3), in the world's frame."""
        if torques is not None:
            forces = self.turn.apply(forces, inverse=True)  # Bullet takes them in the body's frame
            for b, t in zip(self.drones, torques.reshape(-1, 3).tolist(), strict=True):
                bullet.applyExternalTorque(b, -1, t, bullet.WORLD_FRAME, self.client)
        for b, f in zip(self.drones, forces.reshape(-1, 3).tolist(), strict=True):
            bullet.applyExternalForce(b, -1, f, ORIGIN, bullet.LINK_FRAME, self.client)

    def _fly(self, actions):
        """Advance the physics by one control step."""
        task = self.task
        weight = task.mass * GRAVITY
        if task.control == "force":
            lift = self._hover + (task.max_thrust - weight) * actions
            self._push(lift - task.mass * task.drag * self.velocities)
            bullet.stepSimulation(self.client)
            return self._read()
        thrust = np.maximum(weight + (task.max_thrust - weight) * actions[..., 0], 0)
        for _ in range(task.ticks):
            forces, torques = attitude_loop(task, self.turn, self.spin, thrust, actions[..., 1:])
            self._push(forces - task.mass * task.drag * self.velocities, torques)
            bullet.stepSimulation(self.client)
            self._read()

    def step(self, actions: np.ndarray) -> Step:
        """Advance every swarm by one control step of `dt` seconds."""
        task = self.task
        actions = self._checked(actions)
        if (self.steps < 0).any():
            raise ValueError("no episode is running; call reset() first")
        before = self.seen
        self._fly(actions)
        self._look()
        self.steps += 1
        inside = self.seen.to_target <= self.goal_radius
        terminated = inside.all(-1)
        truncated = ~terminated & (self.steps >= task.horizon)
        rewards = before.remaining - self.seen.remaining
        entered = inside.astype(float) - (before.to_target <= self.goal_radius)
        rewards += task.entry_bonus * entered
        rewards += task.arrival_bonus * terminated[:, None]
        costs, contacts = self.costs(), self.contacts()
        surrogate = self.costs(task.surrogate_limits, task.margins)
        successor = now = self.observations(), self.state()
        ended = np.flatnonzero(terminated | truncated) if self.autoreset else ()
        if len(ended):
            self._restart(ended)
            now = [x.copy() for x in successor]
            now[0][ended], now[1][ended] = self.observations(ended), self.state(ended)
        return Step(*now, rewards, costs, terminated, truncated, *successor, contacts, surrogate)

    def costs(
        self, limits: np.ndarray | None = None, margin: float | np.ndarray = 0.0
    ) -> np.ndarray:
        """Each drone's share of each constraint now, (E, N, m); the sum over N is c.

        With wider limits (K,) in m and a margin (m; or one for each other, (K,)) the surrogate: 1
        below them, then a ramp of that width to 0, never below the cost.
        """
        limits = self.task.limits if limits is None else limits
        who, alike = self.seen.who, self.task.n_drones - self.seen.who.shape[-1]
        margin = margin if np.ndim(margin) == 0 else margin[alike:]  # K as in `seen`
        close, n = near(self.seen.gaps, limits[alike:], margin), who.shape[-1]
        drones = close[..., :n].sum(-1) - 1.0  # a drone is no neighbour of itself
        obstacles = close[..., n:].sum(-1)
        if len(self.task.thresholds) == 1:
            return (drones + obstacles)[..., None]
        return np.stack([drones, obstacles], -1)

    def contacts(self) -> np.ndarray:
        """Number of pairs of a drone and another body, the ground included, that touch, (E,)."""
        touching = np.zeros(self.num_envs, int)
        points = bullet.getContactPoints(physicsClientId=self.client)
        for a, b in {(point[1], point[2]) for point in points if point[8] <= 0}:
            if (e := self.swarm_of.get(a, self.swarm_of.get(b))) is not None:
                touching[e] += 1
        return touching

    def state(self, swarms: Swarms = ALL) -> np.ndarray:
        """Global state [positions, velocities, obstacles, target], (E, 6N + 3M + 3)."""
        bodies = self.positions, self.velocities, self.obstacles, self.targets
        rows = np.concatenate([x[swarms] for x in bodies], 1)
        return rows.reshape(len(rows), -1)

    def observations(self, swarms: Swarms = ALL) -> np.ndarray:
        """Each drone's own view, (E, N, O), of the given swarms: see `view`."""
        seen = Relations(*(x[swarms] for x in self.seen))
        tilted = (self.turn, self.spin) if self.task.control == "attitude" else ()
        return view(self.task, seen, self.velocities[swarms], *(x[swarms] for x in tilted))

    def close(self) -> None:
        """Free the Bullet world; closing twice is allowed."""
        self._free()
        self.client = None


class SwarmEnv(OneWorld):
    """One swarm with PettingZoo's parallel API; reward and observation are each drone's own.

    `reset`'s options: `positions`, `velocities` (N, 3) in m and m/s, `obstacles` (M, 3) in m.
    """

    metadata: ClassVar = OneWorld.metadata | {"name": "safe_swarm_v0"}

    def __init__(self, task: SwarmTask | None = None, render_mode: str | None = None) -> None:
        visual = render_mode is not None
        task = task or SwarmTask()
        super().__init__(task.vector_env(1, 0, autoreset=False, visual=visual), render_mode)

    def render(self) -> np.ndarray | None:
        """A picture (height, width, 3) uint8 from Bullet's camera."""
        return camera.picture(self.batch) if self.render_mode else None
