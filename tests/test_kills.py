"""One run, killed forty times by SIGKILL, ends with the very weights of the run that nobody disturbed.

Run as a script, this file is the parent of all lives of the run: it imports torch once and forks, so that forty starts
cost forty forks.  It never computes anything itself, because threads would not survive a fork.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from ssl_lessons.data import shapes
from ssl_lessons.methods import SimCLR
from ssl_lessons.models import build_encoder, load_encoder
from ssl_lessons.training import checkpoints, pretrain
from ssl_lessons.views import Policy

KILLS, STEPS, SEED = 40, 300, 0
# Where a life ends: after a step, in the middle of writing a file, between writing and securing it, between the two
# renames of a checkpoint, after them; or wherever it happens to be when the parent's clock says so.
MOMENTS = ("step", "half a file", "written", "replacing", "replaced", "any")
MOST_STEPS = 7  # in one life, so that forty lives cannot finish the run


class Death:
    """Counts the moments of a life and ends it at the n-th of its kind."""

    def __init__(self, kind: str | None = None, n: int = 0):
        self.kind, self.left = kind, n

    def __call__(self, kind: str) -> None:
        if kind == self.kind:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def haunt(death: Death) -> None:
    """Make every write of this process pass through the moments of `death`."""
    fsync, replace = os.fsync, os.replace

    def write_bytes(path, content):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            death("half a file")
            file.write(content[len(content) // 2 :])

    def secure(descriptor):
        death("written")
        fsync(descriptor)

    def rename(source, target):
        death("replacing")
        replace(source, target)
        death("replaced")

    Path.write_bytes, os.fsync, os.replace = write_bytes, secure, rename
    Path.write_text = lambda path, text, *a, **kw: write_bytes(path, text.encode())


class Mortal(SimCLR):
    """Tells the parent how far it is, and waits for its end when it has taken the steps it may take."""

    def after_step(self, progress):
        os.write(self.pipe[0], b".")
        self.death[0]("step")
        self.limit[0] -= 1
        if self.limit[0] == 0:
            time.sleep(60)


def life(folder: Path, images, death: Death, limit: int, pipe: int) -> None:
    torch.manual_seed(0)
    method = Mortal(build_encoder("convnet", width=4, dim=16), out_dim=8)
    method.death, method.limit, method.pipe = (
        [death],
        [limit],
        [pipe],
    )  # in lists: plain numbers would be settings
    policy = Policy(16, crop_scale=(0.3, 1.0), brightness=0.4)
    haunt(death)
    pretrain(method, images, (policy, policy), steps=STEPS, batch_size=16, lr=5e-3, checkpoint_every=2, out=folder,
             resume=True, device=torch.device("cpu"), progress=False)  # fmt: skip


def start(folder: Path, images, death: Death, limit: int) -> tuple[int, int]:
    """Fork one life; gives its process id and the end of a pipe that gets one byte per step."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            life(folder, images, death, limit, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    return pid, reading


def finish(pid: int, reading: int) -> int:
    while os.read(reading, 1000):  # until the other end is closed, by exit or by death
        pass
    os.close(reading)
    return os.waitpid(pid, 0)[1]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    # The first optimizer of a process imports for seconds: better once here than in every fork.
    torch.optim.SGD([torch.zeros(1)], lr=1.0)
    images = shapes("unlabeled", 16, 64).images
    assert finish(*start(folder / "whole", images, Death(), -1)) == 0
    rng, ends = random.Random(SEED), Counter()
    for number in range(KILLS):
        kind = MOMENTS[number % len(MOMENTS)]
        n = rng.randint(1, MOST_STEPS - 1)
        death = Death() if kind == "any" else Death(kind, n)
        pid, reading = start(folder / "killed", images, death, MOST_STEPS)
        if kind == "any":
            for _ in range(n):
                assert os.read(reading, 1), "ended before its kill"
            time.sleep(0.02 * rng.random())
            os.kill(pid, signal.SIGKILL)
        assert finish(pid, reading) == signal.SIGKILL, f"life {number} ended without its kill ({kind} {n})"
        ends[kind] += 1
    assert finish(*start(folder / "killed", images, Death(), -1)) == 0
    print(json.dumps(ends))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forty_kills_change_nothing(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", __file__, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    ends = json.loads(done.stdout.splitlines()[-1])
    assert sum(ends.values()) == KILLS and min(ends.values()) >= 6 and set(ends) == set(MOMENTS)

    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    states = [checkpoints.load(folder) for folder in (whole, killed)]
    assert [state["step"] for state in states] == [STEPS, STEPS]
    for part in ("method", "optimizer"):
        assert identical(states[0][part], states[1][part]), part
    a, b = (load_encoder(folder)[0].state_dict() for folder in (whole, killed))
    assert identical(a, b)
    rows = [json.loads((folder / "history.json").read_text())["rows"] for folder in (whole, killed)]
    assert [row["step"] for row in rows[1]] == list(range(1, STEPS + 1))
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]

    log = (killed / "log.txt").read_text().splitlines()
    assert sum("  started: " in line or "  resumed at step " in line for line in log) == KILLS + 1
    assert "  finished: " in log[-1] and not any("  finished: " in line for line in log[:-1])
    kept = {path.name for path in killed.iterdir() if "checkpoint" in path.name}
    assert kept == {checkpoints.CURRENT, checkpoints.PREVIOUS}, "no checkpoint was damaged, and two are kept"


def identical(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(identical, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


if __name__ == "__main__":
    main(Path(sys.argv[1]))
