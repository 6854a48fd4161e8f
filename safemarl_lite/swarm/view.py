"""Who is where to whom in a swarm, and what of it each drone sees.

Notebook: `02_swarm_environment`. Axis order: swarm E, drone N, other K (n drones, then M
obstacles), feature; n = N, or in a crowd (notebook 07) what `nearby` finds. In m and m/s.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from .task import SwarmTask, lengths

FAR = 5.0  # m: unit of length in a view; clearances end here, and empty slots are filled with it
NEAR = 0.5  # m: below it the way to the own place is seen in full, beyond it ever more shortened
CROWD = 24  # drones in a swarm above which a tree finds who is near


class Relations(NamedTuple):
    """Who is where to whom in E swarms, in m; the K others are n drones, then M obstacles."""

    who: np.ndarray  # (E, N, n), which drones the first n others are, in rising order
    to_others: np.ndarray  # (E, N, K, 3), from drone i to the other's centre
    gaps: np.ndarray  # (E, N, K), their lengths
    to_target: np.ndarray  # (E, N), distance to the target
    to_place: np.ndarray  # (E, N, 3), to the own place at the target
    remaining: np.ndarray  # (E, N), their lengths


def nearby(positions: np.ndarray, k: int, reach: float) -> np.ndarray:
    """Which drones matter to each, (E, N, n), of positions (E, N, 3): all in a small swarm.

    In a crowd the `k` nearest, whoever is as near as the last of them, all within `reach` (m), and
    oneself; n is what the drone with the most of them needs.
    """
    e, n, _ = positions.shape
    if n <= CROWD:
        return np.broadcast_to(np.arange(n), (e, n, n))
    last = min(k, n - 1)
    trees, count = [cKDTree(swarm) for swarm in positions], last + 2
    while True:
        count = min(count, n)
        found = [tree.query(tree.data, count) for tree in trees]
        far, who = (np.stack(x) for x in zip(*found, strict=True))
        needed = (far <= np.maximum(far[..., [last]], reach) + 1e-6).sum(-1).max()
        if needed < count or count == n:  # or there may be more of them
            return np.sort(who[..., :needed], -1)
        count *= 2


def of_others(rows: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Rows (E, N, …) of the drones `who` (E, N, n) → (E, N, n, …); if that is all, (E, 1, N, …)."""
    if who.shape[1] == who.shape[2]:
        return rows[:, None]
    return rows[np.arange(len(rows))[:, None, None], who]


def relations(
    positions: np.ndarray,
    obstacles: np.ndarray,
    targets: np.ndarray,
    places: np.ndarray,
    who: np.ndarray,
) -> Relations:
    """Positions and places (E, N, 3), obstacles (E, M, 3), targets (E, 1, 3), who (E, N, n)."""
    points = of_others(positions, who), np.concatenate([obstacles, targets], 1)[:, None]
    ways = np.concatenate([x - positions[:, :, None] for x in points], 2)
    far, home = lengths(ways), places - positions
    return Relations(who, ways[:, :, :-1], far[..., :-1], far[..., -1], home, lengths(home))


def nearest(rows: np.ndarray, clearance: np.ndarray, k: int) -> np.ndarray:
    """The `k` rows of smallest clearance: (E, N, K, F), (E, N, K) → (E, N, k · F).

    A slot without a row is zero but for its last number, which is 1.
    """
    e, n, count, size = rows.shape
    order = clearance.argsort(-1, kind="stable")[..., :k]
    order += count * np.arange(e * n).reshape(e, n, 1)
    seen = rows.reshape(-1, size).take(order, 0).reshape(e, n, -1)
    if k <= count:
        return seen
    empty = np.tile(np.eye(size)[-1], (e, n, k - count))
    return np.concatenate([seen, empty], -1)


def view(
    task: SwarmTask,
    seen: Relations,
    velocities: np.ndarray,
    turn: Rotation | None = None,
    spin: np.ndarray | None = None,
) -> np.ndarray:
    """What each drone sees, (E, N, O): nothing absolute, the same length O for any place and N.

    That lets a policy fly elsewhere; how well it does, lesson 05 measures. It holds own
    velocity and way to the own place at the target (6); of the nearest drones relative
    position, relative velocity and clearance (7 each); of the nearest obstacles relative position
    and clearance (4 each), both in units of FAR. A clearance below zero costs. With `turn` (E, N
    rotations) and `spin` (E, N, 3), for attitude control, all is seen in the drone's heading, with
    its tilt and yaw rate (3) behind. At the end the way to the own place once more (3), of length
    ln(1 + ‖way‖ / NEAR): the last metre, where the drones must stop together, is seen more than
    half as large as the ten before it.
    """
    n = seen.who.shape[-1]
    clear = seen.gaps - np.repeat([0.0, task.obstacle_radius], [n, task.n_obstacles]) - task.d_safe
    clear[..., :n][seen.who == np.arange(task.n_drones)[:, None]] = np.inf  # never oneself
    others, tilt, own = seen.to_others, [], [velocities, seen.to_place]
    relative = of_others(velocities, seen.who) - velocities[:, :, None]
    if turn is not None:
        to_heading, tilted = heading(turn)
        others, relative = others @ to_heading, relative @ to_heading
        own = [np.squeeze(x[..., None, :] @ to_heading, -2) for x in own]
        tilt = [tilted, spin[..., 2:]]
    rows = np.concatenate([others, np.minimum(clear, FAR)[..., None]], -1) / FAR
    parts = rows[:, :, :n, :3], relative / FAR, rows[:, :, :n, 3:]
    drones = nearest(np.concatenate(parts, -1), clear[..., :n], task.n_neighbours)
    balls = nearest(rows[:, :, n:], clear[..., n:], task.n_obstacles_seen)
    way = lengths(own[1])[..., None]
    short = own[1] * np.log1p(way / NEAR) / np.maximum(way, 1e-9)
    return np.concatenate([own[0] / 3, own[1] / 10, drones, balls, *tilt, short], -1)


def heading(turn: Rotation) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (E, N) → matrices (E, N, 3, 3) into the drones' heading, and tilts (E, N, 2)."""
    ahead, up = turn.apply([1, 0, 0]), turn.apply([0, 0, 1])
    c, s = np.moveaxis(ahead[..., :2] / lengths(ahead[..., :2])[..., None], -1, 0)
    rows = [[c, -s, 0 * c], [s, c, 0 * c], [0 * c, 0 * c, 0 * c + 1]]
    matrix = np.moveaxis(rows, (0, 1), (2, 3))
    return matrix, (up[..., None, :] @ matrix)[..., 0, :2]
