"""Bullet's own camera: what drones, obstacles, goal and ground look like, and pictures of them.

Used by `SwarmEnv(render_mode="rgb_array")`; the software renderer needs no screen. The drones'
frames are drawn at twice the size of their bodies, to be seen from 20 m away.
"""

from typing import Any

import numpy as np

from .engine import bullet
from .task import SwarmTask

BLUE, DARK = (0.0, 0.45, 0.7, 1.0), (0.15, 0.15, 0.15, 1.0)
SHADOW = (0.8, 0.8, 0.78, 1.0)
ORANGE, GREEN, GREY = (0.84, 0.37, 0.0, 1.0), (0.0, 0.62, 0.45, 1.0), (0.93, 0.93, 0.9, 1.0)
SKY = np.uint8((241, 243, 245))  # no glare on a dark page


def looks(task: SwarmTask, client: int) -> dict[str, Any]:
    """Visual shapes of a drone, an obstacle, the ground; the goal's dots, all bodies' shadows."""
    r = task.body_radius

    def shape(kind, colour, **size):
        return bullet.createVisualShape(kind, rgbaColor=colour, physicsClientId=client, **size)

    ball, box, disc = bullet.GEOM_SPHERE, bullet.GEOM_BOX, bullet.GEOM_CYLINDER
    corners = [[1.4 * r * x, 1.4 * r * y, 0.25 * r] for x in (-1, 1) for y in (-1, 1)]
    drone = bullet.createVisualShapeArray(
        shapeTypes=[ball, box, box] + [disc] * 4,
        radii=[0.7 * r, 0, 0] + [0.8 * r] * 4,
        halfExtents=[[0] * 3, [2 * r, 0.1 * r, 0.1 * r], [0.1 * r, 2 * r, 0.1 * r]] + [[0] * 3] * 4,
        lengths=[0, 0, 0] + [0.15 * r] * 4,
        rgbaColors=[BLUE, DARK, DARK] + [BLUE] * 4,
        visualFramePositions=[[0, 0, 0]] * 3 + corners,
        visualFrameOrientations=[[0, 0, 0, 1], *[[0, 0, 0.383, 0.924]] * 2] + [[0, 0, 0, 1]] * 4,
        physicsClientId=client,
    )
    dot = shape(ball, GREEN, radius=0.09)
    dots = [bullet.createMultiBody(0, -1, dot, physicsClientId=client) for _ in rings()]
    size, turn, (x, y, _) = (60.0, 60.0), 0.0, task.start  # wherever a drawn target lies
    if not task.equivariant:  # a runway below the flight
        way = np.subtract(task.target, task.start)
        size, turn = (0.5 * task.distance + 3, 7.0), np.arctan2(way[1], way[0])
        x, y, _ = np.add(task.start, task.target) / 2
    turned = [0, 0, np.sin(turn / 2), np.cos(turn / 2)]
    place = {"visualFramePosition": [x, y, -0.02], "visualFrameOrientation": turned}
    ground = shape(box, GREY, halfExtents=[*size, 0.01], **place)
    radii = [1.6 * r] * task.n_drones + [task.obstacle_radius] * task.n_obstacles
    shadows = [shape(disc, SHADOW, radius=size, length=0.01) for size in radii]
    shadows = [bullet.createMultiBody(0, -1, x, physicsClientId=client) for x in shadows]
    return {
        "drone": drone,
        "obstacle": shape(bullet.GEOM_MESH, ORANGE, **round_ball(task.obstacle_radius)),
        "ground": ground,
        "dots": dots,
        "shadows": shadows,
    }


def round_ball(radius: float, n: int = 24) -> dict[str, list]:
    """A sphere's mesh of 2n × n faces; Bullet's own has twelve corners."""
    turn, tilt = np.meshgrid(np.linspace(0, 2 * np.pi, 2 * n + 1), np.linspace(0, np.pi, n + 1))
    points = np.stack([np.cos(turn) * np.sin(tilt), np.sin(turn) * np.sin(tilt), np.cos(tilt)], -1)
    at = np.arange(points[..., 0].size).reshape(turn.shape)
    a, b, c, d = at[:-1, :-1], at[1:, :-1], at[:-1, 1:], at[1:, 1:]
    faces = np.stack([a, b, c, c, b, d], -1).ravel().tolist()
    points = points.reshape(-1, 3)
    return {"vertices": (radius * points).tolist(), "indices": faces, "normals": points.tolist()}


def rings() -> list[tuple[float, float, float]]:
    """Three circles of radius 1 about the origin, 120 points."""
    turns = [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 40, endpoint=False)]
    return [ring for c, s in turns for ring in ((c, s, 0.0), (c, 0.0, s), (0.0, c, s))]


def picture(swarm, width: int = 480, height: int = 320) -> np.ndarray:
    """The first swarm of a `SwarmVectorEnv` from the side, (height, width, 3) uint8.

    Drawn at twice the size and averaged, so that edges are smooth.
    """
    client = swarm.client
    start, target = swarm.centre[0, 0], swarm.targets[0, 0]
    distance = np.linalg.norm(target - start)
    along = (target - start) / distance
    size = max(distance, 3.5 * swarm.task.start_radius)  # of what is to be seen
    side = np.array([along[1], -along[0], 0.0]) if abs(along[2]) < 0.99 else np.array([0, -1.0, 0])
    middle = start + 0.52 * (target - start)
    eye = middle + 1.3 * size * side + [0, 0, 0.4 * size]
    for dot, ring in zip(swarm.look["dots"], rings(), strict=True):
        at = target + swarm.goal_radius[0] * ring
        bullet.resetBasePositionAndOrientation(dot, at.tolist(), (0, 0, 0, 1), client)
    above = np.concatenate([swarm.positions[0], swarm.obstacles[0]])
    for shadow, (x, y, z) in zip(swarm.look["shadows"], above.tolist(), strict=True):
        at = x, y, 0.0 if z < 100 else -9.0  # what is that high is not there at all
        bullet.resetBasePositionAndOrientation(shadow, at, (0, 0, 0, 1), client)
    seen = bullet.computeViewMatrix(eye.tolist(), middle.tolist(), [0, 0, 1])
    lens = bullet.computeProjectionMatrixFOV(41, width / height, 0.1, 10 * size)
    light = {"shadow": 0, "lightDirection": [-6, 4, 20], "renderer": bullet.ER_TINY_RENDERER}
    shot = bullet.getCameraImage(2 * width, 2 * height, seen, lens, physicsClientId=client, **light)
    colours, bodies = (np.reshape(part, (2 * height, 2 * width, -1)) for part in (shot[2], shot[4]))
    drawn = np.where(bodies < 0, SKY, colours[..., :3])
    return drawn.reshape(height, 2, width, 2, 3).mean((1, 3)).astype(np.uint8)
