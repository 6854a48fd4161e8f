"""Who is where to whom in a swarm, and what of it each drone sees.

Notebook: `02_swarm_environment`. Axis order: swarm E, drone N, other K (N drones, then M
obstacles), feature. Lengths in m, speeds in m/s.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from .task import SwarmTask, lengths

FAR = 5.0  # m: unit of length in a view; clearances end here, and empty slots are filled with it
NEAR = 0.5  # m: below it the way to the own place is seen in full, beyond it ever more shortened


class Relations(NamedTuple):
    """Who is where to whom in E swarms, in m; the K others are N drones, then M obstacles."""

    to_others: np.ndarray  # (E, N, K, 3), from drone i to the other's centre
    gaps: np.ndarray  # (E, N, K), their lengths
    to_target: np.ndarray  # (E, N), distance to the target
    to_place: np.ndarray  # (E, N, 3), to the own place at the target
    remaining: np.ndarray  # (E, N), their lengths


def relations(
    positions: np.ndarray, obstacles: np.ndarray, targets: np.ndarray, places: np.ndarray
) -> Relations:
    """Positions and places (E, N, 3), obstacles (E, M, 3), targets (E, 1, 3)."""
    points = np.concatenate([positions, obstacles, targets], 1)
    ways = points[:, None] - positions[:, :, None]
    far = lengths(ways)
    home = places - positions
    return Relations(ways[:, :, :-1], far[..., :-1], far[..., -1], home, lengths(home))


def nearest(rows: np.ndarray, clearance: np.ndarray, k: int) -> np.ndarray:
    """The `k` rows of smallest clearance: (E, N, K, F), (E, N, K) → (E, N, k · F).

    A slot without a row is zero but for its last number, which is 1.
    """
    e, n, count, size = rows.shape
    order = clearance.argsort(-1)[..., :k] + count * np.arange(e * n).reshape(e, n, 1)
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
    clear = seen.gaps - task.radii - task.d_safe
    others, tilt, own = seen.to_others, [], [velocities, seen.to_place]
    relative = velocities[:, None] - velocities[:, :, None]
    if turn is not None:
        to_heading, tilted = heading(turn)
        others, relative = others @ to_heading, relative @ to_heading
        own = [np.squeeze(x[..., None, :] @ to_heading, -2) for x in own]
        tilt = [tilted, spin[..., 2:]]
    n = task.n_drones
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
