"""Two learners that act as one: each flies half of the environments, and they share every mean.

Notebook: `05_training_mappo_lagrangian`. Data-parallel training: both hold the same weights, each
collects a batch with its own worlds and its own noise. Wherever a batch is averaged (Ĵ_c, the
normaliser, the advantages, every gradient) each sends its mean to the other through a pipe, and
both go on with (x_0 + x_1) / 2. That sum does not depend on the order, so that the two stay equal
bit by bit; and the numbers are the same whether the second is a process of its own or a thread.
"""

from typing import Any

import torch
from torch import Tensor

LOST = "a worker of the training ended before its time; go on with --resume"


class WorkerLost(OSError):
    """The other half of a training is gone."""


class Half:
    """What one of two learners knows of the other: a pipe, and who speaks first.

    Without a pipe it is the whole: means and rows are its own.
    """

    def __init__(self, pipe: Any = None, second: bool = False) -> None:
        self.pipe, self.second = pipe, second

    def exchange(self, mine: Any) -> bytes:
        """Give the other half the bytes `mine`, get what it gives; raises `WorkerLost`."""
        try:
            if not self.second:
                self.pipe.send_bytes(mine)
            theirs = self.pipe.recv_bytes()
            if self.second:
                self.pipe.send_bytes(mine)
        except (EOFError, OSError):
            raise WorkerLost(LOST) from None
        return theirs

    def mean_(self, tensors: list[Tensor]) -> None:
        """Put the mean of both halves into every tensor."""
        if self.pipe is None:
            return
        flat = torch.cat([x.detach().flatten() for x in tensors])
        theirs = torch.frombuffer(bytearray(self.exchange(flat.numpy())), dtype=flat.dtype)
        means = ((flat + theirs) / 2).split([x.numel() for x in tensors])
        for x, mean in zip(tensors, means, strict=True):
            x.copy_(mean.view_as(x))

    def mean(self, log: dict[str, float]) -> dict[str, float]:
        """The mean of both halves' logs."""
        values = torch.tensor(list(log.values()), dtype=torch.float64)
        self.mean_([values])
        return dict(zip(log, values.tolist(), strict=True))

    def join(self, rows: Tensor) -> tuple[Tensor, slice]:
        """The rows (n, …) of the first half, then those of the second; and which are one's own."""
        if self.pipe is None:
            return rows, slice(None)
        theirs = self.exchange(rows.contiguous().numpy())
        theirs = torch.frombuffer(bytearray(theirs), dtype=rows.dtype).view(-1, *rows.shape[1:])
        if self.second:
            return torch.cat([theirs, rows]), slice(len(theirs), None)
        return torch.cat([rows, theirs]), slice(len(rows))


WHOLE = Half()
