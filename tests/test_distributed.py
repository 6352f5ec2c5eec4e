"""Several processes train what one process trains: loss and every gradient, batches, views, resumed runs, the command.

Over 400 lines: one process imports torch once for all cases.

Run as a script, this file is the parent of the ranks: it imports torch once and forks two or three gloo processes per
case, which write what they saw to files.  The tests compare these with one process.
"""

import contextlib
import copy
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import traceback
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from ssl_lessons.data import shapes
from ssl_lessons.errors import InputError
from ssl_lessons.methods import DCL, METHODS, WMSE, BarlowTwins, DirectCLR, MoCoV2, SimCLR, Spectral, VICReg
from ssl_lessons.models import build_encoder, load_encoder
from ssl_lessons.training import (
    Diverged,
    Monitor,
    batch_indices,
    checkpoints,
    distributed,
    pretrain,
    time_steps,
)
from ssl_lessons.views import Policy

CPU = torch.device("cpu")
N, STEPS = 12, 7
POLICY = Policy(16, crop_scale=(0.3, 1.0), brightness=0.4, contrast=0.4, grayscale_p=0.2, blur_p=0.5)
FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

METHOD = {
    "simclr": SimCLR,
    "dcl": DCL,
    "spectral": Spectral,
    "directclr": partial(DirectCLR, channels=8),
    "vicreg": partial(VICReg, hidden_dim=16, out_dim=8),
    "barlow_twins": partial(BarlowTwins, hidden_dim=16, out_dim=8),
    "w_mse": partial(WMSE, hidden_dim=16, out_dim=2, sub_batch=6),
}


def build(cls=SimCLR, **options):
    torch.manual_seed(0)
    return cls(build_encoder("convnet", width=4, dim=16), **options)


def images():
    return shapes("unlabeled", 24, 60).images


# ---- what the ranks do ----------------------------------------------------------------------------------


def loss_and_gradients(name):
    """One backward pass of one method in float64 over the same batch of N, however many ranks share it."""
    torch.manual_seed(1)
    views = [torch.randn(N, 3, 16, 16, dtype=torch.float64) for _ in range(2)]
    method = build(METHOD[name]).double()
    distributed.synchronise_batch_norm(method, CPU)
    model = distributed.data_parallel(method, CPU)
    rows = distributed.my_rows(N)
    loss = model([v[rows] for v in views])
    loss.backward()
    return {
        "loss": loss.item(),
        "gradients": {k: p.grad for k, p in method.named_parameters() if p.requires_grad},
        "buffers": dict(method.named_buffers()),
    }


class SliceOnly(torch.autograd.Function):
    """The bug: a gather whose backward pass hands back its own slice of its own gradient."""

    @staticmethod
    def forward(ctx, z):
        return distributed.gather(z)

    @staticmethod
    def backward(ctx, gradient):
        return gradient[distributed.my_rows(len(gradient))]


def gather_without_the_sum():
    torch.manual_seed(1)
    layer, x = nn.Linear(5, 3).double(), torch.randn(N, 5, dtype=torch.float64)
    found = {}
    for name, gather in (("right", distributed.gather), ("wrong", SliceOnly.apply)):
        mine = copy.deepcopy(layer)
        model = distributed.data_parallel(mine, CPU)
        gather(model(x[distributed.my_rows(N)])).square().mean().backward()
        found[name] = mine.weight.grad
    return found


def gather_alone():
    """Rows in order; a loss that differs from rank to rank sends its gradient to the rank that made the row."""
    here = distributed.rank()
    z = (10.0 * here + torch.arange(4.0)).view(2, 2).requires_grad_()
    everyone = distributed.gather(z)
    ((here + 1) * everyone * torch.arange(1.0, len(everyone) + 1)[:, None]).sum().backward()
    return {"rows": everyone.detach(), "gradient": z.grad}


def sharing():
    """Which images and views each rank gets in a few steps, and the small talk between the ranks."""
    seen = []

    class Recorder(SimCLR):
        def forward(self, views, labels=None):
            seen.append([v.clone() for v in views])
            return super().forward(views)

    pretrain(build(Recorder), images(), (POLICY, POLICY), steps=3, batch_size=N, device=CPU, progress=False)
    indices = [batch_indices(60, N, step, seed=0)[distributed.my_rows(N)] for step in range(6)]
    seconds = time_steps(build(), images(), (POLICY, POLICY), N, steps=3, device=CPU)
    mean = distributed.mean(float(distributed.rank()), math.nan if distributed.rank() == 1 else 0.0)
    errors = [refusal(partial(distributed.from_main, boom)), refusal(partial(distributed.my_rows, 7))]
    return {"views": seen, "indices": indices, "seconds": seconds, "mean": mean, "errors": errors}


def boom():
    assert distributed.is_main(), "only rank 0 works"
    raise InputError("rank 0 says no")


def refusal(call) -> str:
    """The InputError or Diverged that a call must raise."""
    try:
        call()
    except (InputError, Diverged) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


class Interrupted(BaseException):
    pass


class Stopping(SimCLR):
    """Stops before step `stop`; a kill of all ranks at once."""

    stop = 10**9

    def forward(self, views, labels=None):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > self.stop:
            raise Interrupted
        return super().forward(views)


Stopping.__name__ = "SimCLR"  # to the checkpoint it is the same method


class Sick(SimCLR):
    """From its fourth call on, the loss of the last rank is NaN, and no other."""

    def forward(self, views, labels=None):
        self.calls = getattr(self, "calls", 0) + 1
        bad = self.calls > 3 and distributed.rank() == distributed.world_size() - 1
        return super().forward(views) * (math.nan if bad else 1.0)


def run(out=None, cls=Stopping, stop=10**9, **changes):
    """A run of STEPS steps, or of as many as `stop` lets it take; the weights it ends with and its losses."""
    cls.stop = stop
    method = build(cls)
    settings = {"steps": STEPS, "batch_size": N, "optimizer": "sgd", "lr": 0.05, "checkpoint_every": 2,
                "device": CPU, "progress": False, "out": out}  # fmt: skip
    with contextlib.suppress(Interrupted):
        history = pretrain(method, images(), (POLICY, POLICY), **settings | changes)
        return {
            "weights": method.state_dict(),
            "losses": [row["loss"] for row in history],
            "history": history,
        }


def runs(folder):
    """The undisturbed run, the stopped and resumed one, and what must be refused."""
    train = shapes("train", 16, 40)
    whole = run(folder / "whole", monitor=Monitor(train[:20], train[20:], every=3))
    run(folder / "stopped", stop=5)
    if distributed.is_main():
        shutil.copytree(folder / "stopped", folder / "for_one")
    again = run(folder / "stopped", resume=True)
    queue = partial(MoCoV2, queue_size=16)
    errors = {
        "queue": refusal(partial(run, folder / "refused", cls=queue)),
        "batch": refusal(partial(run, folder / "refused", batch_size=N + 1)),
        "resume": refusal(partial(run, folder / "whole")),
        "settings": refusal(partial(run, folder / "whole", resume=True, lr=0.5)),
        "diverged": refusal(partial(run, folder / "sick", cls=Sick)),
    }
    return {"whole": whole, "again": again, "errors": errors}


def rank_main(number: int, ranks: int, port: int, folder: Path) -> None:
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test", "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    alone = refusal(partial(run, folder / "refused"))  # outside of the group
    with distributed.process_group(CPU):
        found = {name: loss_and_gradients(name) for name in METHOD}
        found |= {"bug": gather_without_the_sum(), "gather": gather_alone(), "alone": alone}
        found |= {"sharing": sharing(), "runs": runs(folder)}
    torch.save(found, folder / f"{number}.pt")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    # The first optimizer of a process imports for seconds: better once here than in every fork.
    torch.optim.SGD([torch.zeros(1)], lr=1.0)
    for ranks in (2, 3):
        port, pids = free_port(), []
        (folder / str(ranks)).mkdir()
        for number in range(ranks):
            if (pid := os.fork()) == 0:
                try:
                    rank_main(number, ranks, port, folder / str(ranks))
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
            pids.append(pid)
        codes = [os.waitpid(pid, 0)[1] for pid in pids]
        assert codes == [0] * ranks, codes


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- the tests ------------------------------------------------------------------------------------------

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
if sys.platform != "linux":
    del ENVIRONMENT["GLOO_SOCKET_IFNAME"]  # the loopback has another name there


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What all ranks of all cases wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-W", "ignore", __file__, str(folder)]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request, folder):
    """The results of every rank, for two ranks and for three."""
    found = folder / str(request.param)
    return [torch.load(found / f"{number}.pt") for number in range(request.param)]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def close(a: dict, b: dict, atol: float, rtol: float = 0.0) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], rtol=rtol, atol=atol) for k in a)


@FORK
@pytest.mark.parametrize("name", METHOD)
def test_loss_and_every_gradient_are_those_of_one_process(ranks, name):
    alone = loss_and_gradients(name)
    size = max(float(g.abs().max()) for g in alone["gradients"].values())
    assert size > 1e-3 and len(alone["gradients"]) >= 12
    for found in (rank[name] for rank in ranks):
        assert found["loss"] == pytest.approx(alone["loss"], rel=1e-12)
        assert close(found["gradients"], alone["gradients"], atol=1e-10 * size)
        assert close(
            found["buffers"], alone["buffers"], atol=1e-12, rtol=1e-12
        )  # BatchNorm's running statistics
        assert same(
            found["gradients"], ranks[0][name]["gradients"]
        )  # to the last bit, or the ranks would part


@FORK
def test_a_gather_without_the_sum_is_off_by_the_world_size(ranks):
    right, wrong = ranks[0]["bug"]["right"], ranks[0]["bug"]["wrong"]
    assert torch.allclose(right, len(ranks) * wrong, rtol=1e-12)


@FORK
def test_gather_keeps_the_order_and_returns_the_gradients(ranks):
    size = len(ranks)
    expected = torch.cat([(10.0 * r + torch.arange(4.0)).view(2, 2) for r in range(size)])
    for number, rank in enumerate(ranks):
        assert torch.equal(rank["gather"]["rows"], expected)
        factor = size * (size + 1) / 2  # 1 + 2 + ... over the ranks' losses
        rows = torch.tensor([[2.0 * number + 1], [2.0 * number + 2]]).expand(2, 2)
        assert torch.equal(rank["gather"]["gradient"], factor * rows)


@FORK
def test_the_ranks_share_each_batch_without_overlap(ranks):
    for step in range(6):
        joined = torch.cat([rank["sharing"]["indices"][step] for rank in ranks])
        assert torch.equal(joined, batch_indices(60, N, step, seed=0)) and len(joined.unique()) == N


@FORK
def test_the_ranks_see_the_views_of_one_process(ranks):
    alone = sharing()["views"]
    assert len(alone) == 3
    for step, views in enumerate(alone):
        for which, whole in enumerate(views):
            joined = torch.cat([rank["sharing"]["views"][step][which] for rank in ranks])
            assert torch.allclose(joined, whole, atol=1e-4)


@FORK
def test_the_ranks_agree(ranks):
    assert len({rank["sharing"]["seconds"] for rank in ranks}) == 1
    for rank in ranks:
        mean, nan = rank["sharing"]["mean"]
        assert mean == (len(ranks) - 1) / 2 and math.isnan(nan)
        assert rank["sharing"]["errors"][0] == "InputError: rank 0 says no"
        assert f"make it a multiple of {len(ranks)}" in rank["sharing"]["errors"][1]


@FORK
def test_a_run_on_several_ranks_is_the_run_of_one(ranks, folder, tmp_path):
    alone = run(tmp_path / "alone")
    for rank in ranks:
        whole = rank["runs"]["whole"]
        assert whole["losses"] == pytest.approx(alone["losses"], abs=1e-4)
        assert close(whole["weights"], alone["weights"], atol=1e-4)
        assert same(whole["weights"], ranks[0]["runs"]["whole"]["weights"])
        assert [row["knn"] for row in whole["history"] if "knn" in row] == [
            row["knn"] for row in ranks[0]["runs"]["whole"]["history"] if "knn" in row
        ]
    out = folder / str(len(ranks)) / "whole"
    encoder = load_encoder(out)[0].state_dict()
    weights = ranks[0]["runs"]["whole"]["weights"]
    assert all(torch.equal(weights[f"encoder.{name}"], value) for name, value in encoder.items())
    log = (out / "log.txt").read_text()
    assert log.count("started:") == log.count("finished:") == 1  # rank 0 alone writes
    assert f"{len(ranks)} processes" in log and log.count(": checkpoint") == 4
    rows = json.loads((out / "history.json").read_text())["rows"]
    assert [row["loss"] for row in rows] == ranks[0]["runs"]["whole"]["losses"]


@FORK
def test_resumed_by_as_many_ranks_it_is_the_same_run(ranks, folder):
    for rank in ranks:
        whole, again = rank["runs"]["whole"], rank["runs"]["again"]
        assert again["losses"] == whole["losses"] and same(again["weights"], whole["weights"])
    log = (folder / str(len(ranks)) / "stopped" / "log.txt").read_text()
    assert "resumed at step 4 of 7" in log and f"{len(ranks)} processes as before" in log


@FORK
def test_resumed_by_one_process_it_goes_on_and_says_what_differs(ranks, folder, tmp_path):
    shutil.copytree(folder / str(len(ranks)) / "for_one", tmp_path / "run")
    again = run(tmp_path / "run", resume=True)
    whole = ranks[0]["runs"]["whole"]
    assert again["losses"][:4] == whole["losses"][:4]
    assert again["losses"] == pytest.approx(whole["losses"], abs=1e-4)
    assert close(again["weights"], whole["weights"], atol=1e-4)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert f"1 process instead of {len(ranks)}" in log and "not the same to the last bit" in log


@FORK
def test_every_rank_refuses_and_stops(ranks, folder):
    for rank in ranks:
        errors = rank["runs"]["errors"]
        assert errors["queue"].startswith(f"InputError: MoCoV2 cannot be trained by {len(ranks)} processes")
        assert f"multiple of {len(ranks)}" in errors["batch"] and "already holds a run" in errors["resume"]
        assert "lr 0.05 -> 0.5" in errors["settings"] and "process_group" in rank["alone"]
        assert errors["diverged"].startswith("Diverged: the loss became nan at step 4")
    assert not (folder / str(len(ranks)) / "refused").exists()
    sick = folder / str(len(ranks)) / "sick"
    assert (
        checkpoints.load(sick)["step"] == 2
        and "diverged: the loss became nan" in (sick / "log.txt").read_text()
    )


def test_what_several_ranks_can_train():
    """Everything that carries something from step to step, or compares labels, is refused; one process may do all."""
    able = {
        name
        for name, cls in METHODS.items()
        if refusal(partial(cls.refuse_ranks, cls.__new__(cls), 2)) in ALLOWED
    }
    assert able == {"simclr", "simclr_v2", "dcl", "spectral", "directclr", "barlow_twins", "vicreg", "w_mse"}
    for cls in METHODS.values():
        cls.refuse_ranks(cls.__new__(cls), 1)


ALLOWED = {"nothing was raised"}


def test_one_process_needs_none_of_it():
    z = torch.ones(2, 3)
    assert distributed.gather(z) is z and distributed.world_size() == 1 and distributed.is_main()
    assert distributed.my_rows(5) == slice(0, 5) and distributed.mean(2.0, True) == [2.0, True]
    method = build()
    distributed.synchronise_batch_norm(method, CPU)
    assert distributed.data_parallel(method, CPU) is method
    assert not any(isinstance(module, distributed.JoinedBatchNorm) for module in method.modules())
    with distributed.process_group(CPU), distributed.one_per_machine_first():
        distributed.barrier()
        assert distributed.from_main(lambda: 3) == 3 and distributed.world_size() == 1


@pytest.mark.parametrize(
    "layer, shape",
    [(nn.BatchNorm2d(4), (6, 4, 5, 3)), (nn.BatchNorm1d(4), (6, 4)), (nn.BatchNorm1d(4, affine=False), (6, 4, 3)),
     (nn.BatchNorm1d(4, momentum=None), (6, 4)), (nn.BatchNorm2d(4, eps=0.5, momentum=0.3), (2, 4, 2, 2))],
)  # fmt: skip
def test_joined_batch_norm_is_batch_norm(layer, shape):
    torch.manual_seed(0)
    theirs = layer.double()
    if theirs.affine:
        nn.init.normal_(theirs.weight), nn.init.normal_(theirs.bias)
    ours = distributed.JoinedBatchNorm(4, theirs.eps, theirs.momentum, theirs.affine).double()
    ours.load_state_dict(theirs.state_dict())
    for _ in range(3):
        x = 3 * torch.randn(shape, dtype=torch.float64) + 1
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        weight = torch.randn(shape, dtype=torch.float64)
        (theirs(a) * weight).sum().backward()
        (ours(b) * weight).sum().backward()
        assert torch.allclose(a.grad, b.grad, atol=1e-10)
        assert close(dict(ours.named_buffers()), dict(theirs.named_buffers()), atol=1e-12)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-10)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-12)


def test_joined_batch_norm_is_precise_in_half():
    x = (100 + torch.randn(64, 4)).to(torch.bfloat16)
    y = distributed.JoinedBatchNorm(4)(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float().mean(0), torch.zeros(4), atol=0.02)
    assert torch.allclose(y.float().var(0, correction=0), torch.ones(4), atol=0.02)


# ---- the command ----------------------------------------------------------------------------------------

COMMAND = ["pretrain", "--images", "128", "--steps", "6", "--batch-size", "32", "--size", "16", "--device", "cpu",
           "--optimizer", "sgd", "--lr", "0.2", "--lr-rule", "sqrt", "--no-progress", "--json"]  # fmt: skip


def shell(*command, **options):
    done = subprocess.run(
        command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=200, **options
    )
    return done


def test_torchrun_from_end_to_end(tmp_path):
    alone = shell(sys.executable, "-m", "ssl_lessons", *COMMAND, "--out", tmp_path / "one")
    assert alone.returncode == 0, alone.stderr[-2000:]
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        f"--master-port={free_port()}",
    ]
    joined = shell(*torchrun, "-m", "ssl_lessons", *COMMAND, "--out", tmp_path / "two")
    assert joined.returncode == 0, joined.stderr[-4000:]
    one, two = json.loads(alone.stdout), json.loads(joined.stdout)  # one voice speaks for both ranks
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-4) and two["knn"] is not None
    a, b = (load_encoder(tmp_path / name)[0].state_dict() for name in ("one", "two"))
    # six steps in float32: rounding grows to 2e-4 in one layer (in float64, above, gradients are equal)
    assert close(a, b, atol=1e-3)
    assert {p.name for p in (tmp_path / "one").iterdir()} == {p.name for p in (tmp_path / "two").iterdir()}
    line = f"learning rate {0.2 * math.sqrt(32 / 256):.4g}: 0.2 at batch 256, sqrt rule, for batch 32"
    assert line in alone.stderr and joined.stderr.count(line) == 1
    settings = json.loads((tmp_path / "two" / "history.json").read_text())["settings"]
    assert settings["lr"] == pytest.approx(0.2 * math.sqrt(1 / 8))
    assert "2 processes with 16 images each" in joined.stderr

    # The plan keeps what was asked, so the same options may be given again; other ones may not.
    again = shell(sys.executable, "-m", "ssl_lessons", *COMMAND, "--resume", "--out", tmp_path / "two")
    assert again.returncode == 0 and json.loads(again.stdout)["already_complete"], again.stderr[-2000:]


def test_the_commands_refusals(tmp_path):
    from typer.testing import CliRunner

    from ssl_lessons import cli

    small = [
        "pretrain",
        "--images",
        "64",
        "--steps",
        "2",
        "--batch-size",
        "32",
        "--size",
        "16",
        "--no-progress",
    ]
    result = CliRunner().invoke(cli.app, [*small, "--lr-rule", "cubic", "--out", str(tmp_path / "run")])
    assert result.exit_code == 2 and "cubic" in result.output and "linear, sqrt" in result.output
    assert not (tmp_path / "run").exists()
    result = CliRunner().invoke(cli.app, [*small, "--lr-rule", "linear", "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    plan = json.loads((tmp_path / "run" / "run.json").read_text())
    settings = json.loads((tmp_path / "run" / "history.json").read_text())["settings"]
    assert plan["lr_rule"] == "linear" and settings["lr"] == pytest.approx(plan["lr"] * 32 / plan["lr_batch"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
