"""Two halves of a learner, here and in a thread or a process of its own; see `halves.py`."""

import multiprocessing
import pickle
import signal
from contextlib import suppress
from threading import Thread
from typing import Any

import torch
from numpy.random import SeedSequence

from .actors import Policy, actor_of
from .evaluate import fly, summary
from .halves import LOST, Half, WorkerLost

OWN = ("world", "generator", "rehearsed")  # parts of its state that a half has to itself


def _practice(task, num_envs, seed):
    """What a learner flies: a task's own `training_env` where it has one, else the task."""
    return getattr(task, "training_env", task.vector_env)(num_envs, seed)


class Pair:
    """The first half, a `learner`, and through it the second, which does whatever it does.

    `learner_type(env, config, seed, half)` in both; each has half of `config.num_envs`. An odd
    number stays whole (a mean of unequal halves is not that of all), and so does a type without
    `HALVES`. `seeds`: of worlds and of learning. `workers`: 1, the second is a thread; 2, a process
    of its own. To be used in `with`.
    """

    def __init__(
        self, learner_type: type, task, config, seeds: list[SeedSequence], workers: int = 1
    ) -> None:
        self.pipe, self.task = None, task
        half, odd = divmod(config.num_envs, 2)
        if odd or not learner_type.HALVES:
            self.env = _practice(task, config.num_envs, seeds[0])
            self.learner = learner_type(self.env, config, seeds[1])
            return
        here, there = zip(*(seed.spawn(2) for seed in seeds), strict=True)
        self.env = _practice(task, half, here[0])
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.learner = learner_type(self.env, config, here[1], Half(self.pipe))
        make = context.Process if workers > 1 else Thread
        given = theirs, workers > 1, learner_type, task, config, half, there
        self.worker = make(target=_follow, args=given, daemon=True)
        self.worker.start()
        if workers > 1:
            theirs.close()  # so that the end of the worker is the end of the pipe

    def _tell(self, name, *given):
        try:
            self.pipe.send_bytes(pickle.dumps((name, *given)))
        except OSError:
            raise WorkerLost(LOST) from None

    def call(self, name: str, *given: Any) -> Any:
        """A method of both learners → what the first one's returns."""
        if self.pipe:
            self._tell(name, *given)
        return getattr(self.learner, name)(*given)

    def iterate(self) -> dict[str, float]:
        """One iteration of both → the log of both."""
        return self.call("iterate")

    def state_dict(self) -> dict[str, Any]:
        """All that both need to go on."""
        state = self.learner.state_dict()
        if self.pipe:
            self._tell("state_dict")
            theirs = pickle.loads(self.learner.half.exchange(b""))
            state["second"] = {name: theirs[name] for name in OWN}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state)
        if self.pipe:
            self._tell("load_state_dict", state | state["second"])

    def evaluate(self, weights: dict[str, Any], episodes: int, seed: int) -> dict[str, Any]:
        """`evaluate` of the deterministic policy with these weights, flown by both."""
        given = self.task, weights, episodes, seed
        if not self.pipe:
            return summary(_flights(self.learner, (0, 1), *given), self.task)
        self._tell("fly", *given)
        waves = _flights(self.learner, (0, 2), *given)
        return summary(waves | pickle.loads(self.learner.half.exchange(b"")), self.task)

    def __enter__(self):
        self.load_state_dict(self.state_dict())  # the same weights in both
        return self

    def __exit__(self, *error: Any) -> None:
        if self.pipe:
            self.pipe.close()
            self.worker.join()
        self.env.close()


def _follow(pipe, process, learner_type, task, config, num_envs, seeds):
    """The second half: does what the first one says, until that closes the pipe."""
    if process:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first half stops both
        torch.set_num_threads(1)
    with _practice(task, num_envs, seeds[0]) as env, pipe, suppress(EOFError, OSError):
        learner = learner_type(env, config, seeds[1], Half(pipe, second=True))
        while True:
            name, *given = pickle.loads(pipe.recv_bytes())
            if name == "fly":
                answer = _flights(learner, (1, 2), *given)
            else:
                answer = getattr(learner, name)(*given)
            if name in ("fly", "state_dict"):
                learner.half.exchange(pickle.dumps(answer))


def _flights(learner, turn, task, weights, episodes, seed):
    """One's own share of the held-out episodes of the policy with these weights, as of `fly`."""
    actor = actor_of(task, learner.config)
    actor.load_state_dict(weights)
    act = Policy(actor, task, learner.std).act
    return fly(act, task, episodes, seed, turn=turn)
