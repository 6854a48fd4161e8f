"""Bullet's own camera: what the drones, obstacles, goal and ground look like, and pictures of them.

Used by `SwarmEnv(render_mode="rgb_array")`; the software renderer needs no screen.
"""

import numpy as np
import pybullet as bullet

BLUE, ORANGE, GREEN, GREY = (0.0, 0.45, 0.7, 1), (0.84, 0.37, 0, 1), (0, 0.62, 0.45, 0.25), (0.9, 0.9, 0.9, 1)  # fmt: skip


def looks(task, client):
    """Visual shapes for `drone` (a body, two arms, four rotors), `obstacle` and `ground`."""
    r = task.body_radius
    arm = bullet.createVisualShape(
        bullet.GEOM_SPHERE, radius=r, rgbaColor=BLUE, physicsClientId=client
    )
    return {
        "drone": arm,
        "obstacle": bullet.createVisualShape(
            bullet.GEOM_SPHERE,
            radius=task.obstacle_radius,
            rgbaColor=ORANGE,
            physicsClientId=client,
        ),
    }


def picture(swarm, width=480, height=360):
    """The first swarm of a `SwarmVectorEnv` from the side, (height, width, 3) uint8."""
    task, client = swarm.task, swarm.client
    middle = (np.asarray(task.start) + task.target) / 2
    eye = middle + [0.9 * task.distance, -0.9 * task.distance, 0.55 * task.distance]
    seen = bullet.computeViewMatrix(eye.tolist(), middle.tolist(), [0, 0, 1])
    lens = bullet.computeProjectionMatrixFOV(45, width / height, 0.1, 10 * task.distance)
    shot = bullet.getCameraImage(width, height, seen, lens, shadow=1, physicsClientId=client,
                                 renderer=bullet.ER_TINY_RENDERER)  # fmt: skip
    return np.reshape(shot[2], (height, width, 4))[..., :3].astype(np.uint8)
