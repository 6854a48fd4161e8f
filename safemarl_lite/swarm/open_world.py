"""The world of open tasks: moving obstacles, wind, and a mass and a target of every swarm's own.

Notebook: `05_training_mappo_lagrangian`. Axis order: swarm E, drone N or obstacle M, 3.
"""

import numpy as np

from ..parallel import Seed
from .engine import bullet
from .open import PUSH, SIGHT, OpenTask, dot, geometry, nearest, straight
from .task import GRAVITY, assigned, lengths
from .view import Relations
from .world import ALL, LEVEL, Swarms, SwarmVectorEnv


class OpenVectorEnv(SwarmVectorEnv):
    """Swarms in scenes drawn by `task.scene`; actions are accelerations in units of PUSH."""

    SCENE = ("positions", "velocities", "obstacles", "drift", "centre", "targets", "shape",
             "goal_radius", "mass", "wind")  # fmt: skip
    DRAWN = SCENE
    view_type = np.float32

    def __init__(
        self,
        task: OpenTask,
        num_envs: int,
        seed: Seed = 0,
        autoreset: bool = True,
        visual: bool = False,
    ) -> None:
        self.drift = np.zeros((num_envs, task.n_obstacles, 3))  # m/s, of the obstacles
        self.wind = np.zeros((num_envs, 1, 3))  # m/s
        self.shape = np.zeros((num_envs, task.n_drones, 3))  # m, of the places about the target
        self.mass = np.full((num_envs, 1, 1), task.mass)
        self._weighed = self.mass.copy()  # kg, as Bullet has it
        super().__init__(task, num_envs, seed, autoreset, visual)

    def _draw(self, swarms):
        for name, drawn in self.task.scene(self.rng, len(swarms)).items():
            getattr(self, name)[swarms] = drawn
        self.velocities[swarms], self.steps[swarms] = 0, 0

    def _assigned(self, swarms):
        starts = self.positions[swarms] - self.centre[swarms]
        return assigned(starts, self.shape[swarms]) + self.targets[swarms]

    def _place(self, swarms):
        for e in swarms[(self.mass != self._weighed)[swarms, 0, 0]]:
            for body in self.drones[e * self.task.n_drones : (e + 1) * self.task.n_drones]:
                bullet.changeDynamics(body, -1, self.mass[e].item(), physicsClientId=self.client)
        self._weighed[swarms] = self.mass[swarms]
        super()._place(swarms)

    @property
    def authority(self) -> np.ndarray:
        """Acceleration (m/s²) along each axis that the thrust allows, (E, 1, 1), at most PUSH."""
        return np.minimum(PUSH, self.task.max_thrust / self.mass - GRAVITY)

    def _fly(self, actions):
        """Obstacles move on at constant velocity; then one control step of physics."""
        self.obstacles = self.obstacles + self.task.dt * self.drift
        m = self.task.n_obstacles
        for e in np.flatnonzero(self.drift.any((1, 2))):
            places = (self.obstacles[e] + self.offset[e]).tolist()
            for body, place in zip(self.obstacle_bodies[e * m : (e + 1) * m], places, strict=True):
                bullet.resetBasePositionAndOrientation(body, place, LEVEL, self.client)
        push = np.clip(PUSH * actions, -self.authority, self.authority)
        drag = self.task.drag * (self.velocities - self.wind)
        self._push(self.mass * (push + [0, 0, GRAVITY] - drag))
        bullet.stepSimulation(self.client)
        self._read()

    def state(self, swarms: Swarms = ALL) -> np.ndarray:
        """How far each drone, its swarm on the mean and its last have to fly, in 10 m, (E, 3N)."""
        far = self.seen.remaining[swarms] / 10
        team = far.mean(1, keepdims=True), far.max(1, keepdims=True)
        return np.stack(np.broadcast_arrays(far, *team), -1).reshape(len(far), -1)

    def observations(self, swarms: Swarms = ALL) -> np.ndarray:
        """What each drone sees, (E, N, O).

        Own part: the acceleration of straight flight / PUSH (3); how far the place is, how strong
        the drone, how fast it is, wants to be, and is along what it wants. Then a row of `geometry`
        for each of the nearest drones and of the nearest obstacles.
        """
        task, seen = self.task, Relations(*(x[swarms] for x in self.seen))
        v, authority = self.velocities[swarms], self.authority[swarms]
        w, push = straight(seen.to_place, v, self.wind[swarms], authority, task.drag)
        own = [seen.remaining.clip(0, 10) / 10, np.broadcast_to(authority[..., 0] / 5, v.shape[:2])]
        own = np.stack([*own, lengths(v) / 3, lengths(w) / 3, dot(v, w) / 9], -1)
        n, ks = seen.who.shape[-1], (task.n_neighbours, task.n_obstacles_seen)
        clear = seen.gaps - task.limits[task.n_drones - n :]
        clear[..., :n][seen.who == np.arange(task.n_drones)[:, None]] = np.inf  # never oneself
        drones = nearest(seen.to_others[:, :, :n], v, clear[..., :n], ks[0], seen.who)
        balls = nearest(seen.to_others[:, :, n:], self.drift[swarms], clear[..., n:], ks[1])
        r, u = (np.concatenate(x, 2) for x in zip(drones, balls, strict=True))
        reach = np.repeat([task.d_safe, task.d_safe + task.obstacle_radius], ks)
        near = geometry(r, u - v[:, :, None], reach, np.repeat(SIGHT, ks), v, w)
        parts = push / PUSH, own, near.reshape(*v.shape[:2], -1)
        return np.concatenate(parts, -1, dtype=np.float32)
