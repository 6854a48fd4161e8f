"""The inner loop of `control="attitude"`: thrust, roll, pitch, yaw rate as forces and torques."""

import numpy as np
from scipy.spatial.transform import Rotation

from .task import SwarmTask

MAX_TILT, MAX_YAW_RATE, STIFFNESS = np.radians(25), 1.0, 15.0  # rad, rad/s, 1/s


def attitude_loop(
    task: SwarmTask, turn: Rotation, spin: np.ndarray, thrust: np.ndarray, command: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Thrust along the body's axis and the torque that tracks roll, pitch and yaw rate.

    A critically damped loop on the rotation error e (body frame): torque = J(ω² e − 2ω Ω).
    turn (E, N) rotations, spin (E, N, 3) rad/s, thrust (E, N) N, command (E, N, 3) in [−1, 1]
    → forces (E, N, 3) N and torques (E, N, 3) N·m, in the world's frame.
    """
    inertia = 0.4 * task.mass * task.body_radius**2  # kg·m², a solid ball
    ahead = turn.apply([1, 0, 0])
    yaw = np.arctan2(ahead[..., 1], ahead[..., 0])
    roll, pitch = np.moveaxis(MAX_TILT * command[..., :2], -1, 0)
    wanted = Rotation.from_euler("ZYX", np.stack([yaw, pitch, roll], -1))
    error = turn.apply((turn.inv() * wanted).as_rotvec())
    rate = np.stack([0 * yaw, 0 * yaw, MAX_YAW_RATE * command[..., 2]], -1)
    torques = inertia * (STIFFNESS**2 * error - 2 * STIFFNESS * (spin - rate))
    return turn.apply([0, 0, 1]) * thrust[..., None], torques
