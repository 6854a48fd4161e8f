"""Run folders on the disk: what is written is whole, what is read runs no code, one trains in it.

A checkpoint is a zip archive of torch's: it is read only if each part has its checksum and unfolds
to no more than the file holds. A training that is no longer finite stops before it writes.
"""

import csv
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

try:
    import fcntl
except ImportError:  # Windows: there nothing keeps two processes apart
    fcntl = None


class RunError(ValueError):
    """A run folder is missing, damaged or of another kind; one line says which."""


def write(path: str | Path, content: Any) -> None:
    """Write text, or save a state with torch, whole or not at all; raises `OSError`."""
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    try:
        if isinstance(content, str):
            temporary.write_text(content)
        else:
            torch.save(content, temporary)
    except RuntimeError as error:  # so says torch of a full disk
        temporary.unlink(missing_ok=True)
        raise OSError(f"{path} could not be written: {str(error).splitlines()[0]}") from None
    os.replace(temporary, path)


def write_progress(path: Path, rows: list[dict[str, float]]) -> None:
    """The log as CSV; columns that an iteration lacks stay empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    part = Path(path).with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)


def read_checkpoint(folder: str | Path, name: str = "best.pt") -> Any:
    """The state in `best.pt` or `last.pt`, read without running code that it may hold."""
    path = Path(folder) / name
    if not path.is_file():
        raise RunError(f"{folder} holds no checkpoint {name}; train it first")
    try:
        with zipfile.ZipFile(path) as parts:
            whole = sum(part.file_size for part in parts.infolist()) <= path.stat().st_size
            if not whole or parts.testzip():
                raise ValueError("its parts do not have the sizes and sums that they should")
        return torch.load(path, weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path} is damaged: {reason[:100]}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder, made if need be, for this process alone; the end of it lets go."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is no folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise RunError(f"{folder} cannot be written to")
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another process is training in {folder}") from None
        except OSError:  # a file system that knows no locks of folders
            pass
        yield
    finally:
        os.close(handle)


def check_finite(learner: Any, log: dict[str, float], folder: Path) -> None:
    """Stop a training, `RunError`, whose log or weights are no longer finite, before it is kept."""
    odd = [name for name, value in log.items() if not math.isfinite(value)]
    for part in ("actor", "critic"):
        if not all(weight.isfinite().all() for weight in getattr(learner, part).parameters()):
            odd.append(f"the {part}'s weights")
    if odd:
        rates = {k: v for k, v in asdict(learner.config).items() if k.startswith("learning_rate")}
        cause = ", ".join(f"{name}={rate:g}" for name, rate in rates.items())
        kept = [name for name in ("best.pt", "last.pt") if (folder / name).is_file()]
        kept = f"{' and '.join(kept)} stay, finite" if kept else "nothing was saved yet"
        raise RunError(f"iteration {learner.iteration} of {folder}: {odd[0]} not finite; the step "
                       f"is too large, likely ({cause}); {kept}")  # fmt: skip
