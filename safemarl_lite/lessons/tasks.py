"""Small tasks, solved exactly: two drones swap sides (01), one delivers (04), one passes a wall or
works in a field (07), random ones."""

import numpy as np

from ..cmdp import TabularCMDP, best_response, evaluate

RING = ((1, 0), (1, 1), (1, 2), (1, 3), (0, 3), (0, 2), (0, 1), (0, 0))  # (row, column) of a cell


def grid_world(threshold=0.5, wind=0.25, urgency=(1.5, 1.0), discount=0.95):
    """Two drones swap sides: cells 1, 2 are the corridor, 4..7 the detour, 0 and 3 the two pads.
    State 8·a + b: drone a starts in cell 0 and lands in 3, drone b the reverse. Each hovers or
    moves one cell either way round the ring (action 3·u_a + u_b); with probability `wind` a gust
    moves it to a random side instead. A drone in the air pays its urgency a step (reward < 0, in
    steps); two in the air within one cell cost 1 a step: J_c counts discounted near misses.
    """
    goals, n, fly = (3, 0), len(RING), np.zeros((2, 8, 3, 8))
    for drone, cell, u in np.ndindex(2, n, 3):
        landed = cell == goals[drone]
        for move, probability in ((1, wind / 2), (-1, wind / 2), ((0, 1, -1)[u], 1 - wind)):
            fly[drone, cell, u, (cell + (0 if landed else move)) % n] += probability
    a, b = np.divmod(np.arange(n * n), n)
    in_air = np.stack([a != goals[0], b != goals[1]])
    near = np.isin((a - b) % n, (0, 1, n - 1)) & in_air.all(0)
    transition = np.einsum("aux,bvy->abuvxy", *fly).reshape(n * n, 9, n * n)
    reward, cost = (np.repeat(f[:, None], 9, axis=1) for f in (-(np.array(urgency) @ in_air), near))
    return TabularCMDP(transition, reward, cost[None], [threshold], np.eye(n * n)[3], discount)


def delivery(threshold=0.25, discount=0.95):
    """A drone's delivery, S = 6, A = 2. States: 0 pad, 1 corridor, 2 to 4 detour, 5 landed.
    On the pad it takes corridor or detour; elsewhere it flies on (gusts stop it in one of five
    tries) or hovers. Reward −1 a step in the air; a step in the corridor costs 1."""
    P, r, c = np.zeros((6, 2, 6)), np.full((6, 2), -1.0), np.zeros((6, 2))
    P[0, 0, 1] = P[0, 1, 2] = P[5, :, 5] = 1
    for here, ahead in (1, 5), (2, 3), (3, 4), (4, 5):
        P[here, 0, [ahead, here]], P[here, 1, here] = (0.8, 0.2), 1
    c[1], r[5] = 1, 0
    return TabularCMDP(P, r, c[None], [threshold], np.eye(6)[0], discount)


def courier(threshold=1.0, discount=0.8):
    """A drone at its base (state 0) or in the field (1); S = A = 2. Action 0 is careful: it stays
    at the base, or tries to come home (every other time it does). Action 1 costs 1: it flies out
    (4 of 5 times), or works in the field for reward 3 (and is blown home every other time)."""
    out = np.array([[0.0, 0.8], [0.5, 0.5]])  # probability to be in the field next, (S, A)
    reward, cost = np.array([[0, 0], [0, 3.0]]), np.array([[0, 1.0], [0, 1]])
    transition, start = np.stack([1 - out, out], -1), np.array([0.9, 0.1])
    return TabularCMDP(transition, reward, cost[None], [threshold], start, discount)


def passage(threshold=0.3, columns=10, rows=6, gust=0.2, discount=0.99):
    """A drone flies along a wall: state rows · column + row, row 0 next to the wall, and one last
    state, landed. Each step it is one column on and steers to the wall, straight on or away
    (actions 0, 1, 2); in one of five steps a gust moves it to a random side instead. From the third
    column on a step costs 0.1 in rows 0 and 1; its reward is −0.3 a row away from the wall. Of five
    flights four begin in the last row, one in row 0."""
    S, landed = rows * columns + 1, rows * columns
    P, r, c = np.zeros((S, 3, S)), np.zeros((S, 3)), np.zeros((S, 3))
    P[landed, :, landed], start = 1, np.zeros(S)
    start[[0, rows - 1]] = 0.2, 0.8
    for column, row, u in np.ndindex(columns, rows, 3):
        here = rows * column + row
        r[here], c[here] = -0.3 * row, 0.1 * (row < 2) * (column > 1)
        for side, chance in (u - 1, 1 - gust), (-1, gust / 2), (1, gust / 2):
            to = rows * (column + 1) + min(max(row + side, 0), rows - 1)
            P[here, u, to if column + 1 < columns else landed] += chance
    return TabularCMDP(P, r, c[None], [threshold], start, discount)


def random_cmdp(
    rng: np.random.Generator, S: int, A: int, m: int, discount: float = 0.9
) -> TabularCMDP:
    """A random CMDP whose unconstrained optimum breaks a budget: τ lies 30 to 70 % of the way from
    its costs to those of the policy with least Σ_j J_cj, plus 5 % (to leave some policy room)."""
    transition, start = rng.dirichlet(np.full(S, 0.5), (S, A)), rng.dirichlet(np.ones(S))
    reward, costs = rng.random((S, A)), rng.random((m, S, A))
    cmdp = TabularCMDP(transition, reward, costs, np.zeros(m), start, discount)
    free, safe = (evaluate(cmdp, best_response(cmdp, f)).J_c for f in (reward, -costs.sum(0)))
    share = rng.uniform(0.3, 0.7)
    return cmdp.with_thresholds((1 - share) * free + share * safe + 0.05 * np.abs(free - safe))
