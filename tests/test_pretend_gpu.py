"""The pretended GPU itself: right programs run and give the CPU's numbers, each kind of mistake is refused."""

import copy
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pretend_gpu
import pytest
import torch
import torch.nn.functional as F
from torch import nn

TWO = "Expected all tensors to be on the same device"


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


def pictures(n=16):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, 8, 8, generator=generator), torch.randint(4, (n,), generator=generator)


def losses(device: str, amp: bool = False, steps: int = 12) -> list[float]:
    model, (x, y), rows = network().to(device), pictures(), []
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    scaler = torch.amp.GradScaler(device, enabled=amp)
    for _ in range(steps):
        with torch.autocast(device, dtype=torch.float16, enabled=amp):
            loss = F.cross_entropy(model(x.to(device)), y.to(device))
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        rows.append(loss.item())
    return rows


def training_gives_the_losses_of_the_cpu():
    assert losses("cuda") == losses("cpu")


def attention_gives_the_gradients_of_the_cpu():
    torch.manual_seed(1)
    here = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    there, x = copy.deepcopy(here).cuda(), torch.randn(3, 5, 16)
    here(x).square().mean().backward()
    there(x.cuda()).square().mean().backward()
    for mine, theirs in zip(here.parameters(), there.parameters(), strict=True):
        assert theirs.grad.is_cuda and torch.allclose(mine.grad, theirs.grad.cpu(), atol=1e-6)


def mixed_precision_is_float16_and_still_learns():
    x = torch.randn(4, 8, device="cuda")
    with torch.autocast("cuda", dtype=torch.float16):
        product = nn.Linear(8, 3).cuda()(x)
        assert product.dtype == torch.float16 and product.softmax(1).dtype == torch.float32
        assert torch.isinf(
            torch.full((1, 2), 300.0, device="cuda") @ torch.full((2, 1), 300.0, device="cuda")
        ).all()
    half, full = losses("cuda", amp=True), losses("cpu")
    assert half != full and half == pytest.approx(full, abs=0.02) and half[-1] < half[0] / 2


def a_module_moves_and_stays_itself():
    model = network()
    weight, gradients = model[0].weight, []
    weight.register_hook(lambda g: gradients.append(g.device.type))
    weight.note = "mine"
    model(pictures()[0]).sum().backward()
    model.to("cuda", memory_format=torch.channels_last)
    assert model[0].weight is weight and isinstance(weight, nn.Parameter) and weight.note == "mine"
    assert weight.is_cuda and weight.grad.is_cuda and model[1].running_mean.is_cuda
    loss = model(pictures()[0].cuda()).sum()
    model.to("cuda")  # where it is: the graph stays whole
    model.zero_grad()
    loss.backward()
    assert gradients == ["cpu", "cuda"] and weight.grad.abs().sum() > 0
    kept = weight.detach().clone()
    model.cpu()  # while `loss` still holds the graph
    assert not weight.is_cuda and torch.equal(weight, kept.cpu()) and not weight.grad.is_cuda
    assert all(p.is_meta for p in copy.deepcopy(model.cuda()).to("meta").parameters())


def views_and_writes_reach_the_numbers():
    x = torch.zeros(4, 3, device="cuda")
    x[1] = torch.ones(3)  # a copy may cross
    x[:, 2].add_(5)
    x[torch.tensor([0, 3])] += 1  # indices may be on the CPU
    x.unsqueeze_(0)
    assert x.shape == (1, 4, 3) and x.tolist()[0] == [[1, 1, 6], [1, 1, 6], [0, 0, 5], [1, 1, 6]]
    base = torch.zeros(2, 2, device="cuda", requires_grad=True)
    y = base * 1
    y[0] = 3 * base[1]
    y.sum().backward()
    assert base.grad.tolist() == [[0, 0], [4, 4]]


def what_cuda_allows_runs():
    x, half = torch.randn(4, 3, device="cuda"), torch.tensor(0.5)
    assert (x * half).is_cuda and torch.where(x > 0, x, half).is_cuda and (half - x).is_cuda
    assert x[torch.tensor([True, False, True, False])].shape == (2, 3)
    assert x.new_tensor([1, 2]).is_cuda and torch.zeros_like(x, device="cpu").device.type == "cpu"
    assert x.to("cuda") is x and x.to(x.device) is x and f"{x.sum():.1f}" == f"{x.cpu().sum():.1f}"
    target = torch.empty(4, 3)
    target.copy_(x)
    assert torch.equal(target, x.cpu()) and np.array_equal(x.cpu().numpy(), x.numpy(force=True))
    assert torch.equal(copy.deepcopy(x), x) and "cuda:0" in repr(x)


def random_states_are_apart():
    torch.manual_seed(3)
    there, here = torch.rand(2, device="cuda").cpu(), torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(2), here)
    assert torch.equal(torch.rand(2, device="cuda").cpu(), there)
    state = torch.cuda.get_rng_state()
    with torch.random.fork_rng():
        torch.rand(3, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), state)
    dropped = F.dropout(torch.ones(100, device="cuda"))
    torch.cuda.set_rng_state(state)
    assert torch.equal(F.dropout(torch.ones(100, device="cuda")), dropped) and 0 < dropped.mean() < 2
    generator = torch.Generator("cuda").manual_seed(0)
    assert generator.device.type == "cuda" and torch.randn(3, generator=generator, device="cuda").is_cuda


def files_come_back_where_they_are_wanted():
    model, file = nn.Linear(2, 2).cuda(), io.BytesIO()
    torch.save({"model": model.state_dict(), "state": torch.get_rng_state()}, file)
    for place, on_card in [(None, (True, False)), ("cpu", (False, False)), ("cuda", (True, True))]:
        file.seek(0)
        found = torch.load(file, map_location=place, weights_only=True)
        assert (found["model"]["weight"].is_cuda, found["state"].is_cuda) == on_card
        assert torch.equal(found["model"]["weight"].cpu(), model.weight.cpu())
    with pytest.raises(TypeError, match="ByteTensor"):
        torch.cuda.set_rng_state(found["state"])


def mistakes():
    x, here = torch.randn(4, 3, device="cuda"), torch.randn(4, 3)
    classes, far = torch.zeros(4, dtype=torch.long), torch.tensor([9], device="cuda")
    return {
        "a tensor left on the CPU": (TWO, lambda: x + here),
        "a model left on the CPU": (TWO, lambda: nn.Linear(3, 2)(x)),
        "pictures left on the CPU": ("should be the same", lambda: network().cuda()(pictures()[0])),
        "targets left on the CPU": (TWO, lambda: F.cross_entropy(x, classes)),
        "joining": (TWO, lambda: torch.cat([x, here])),
        "a mask on the CPU": ("got mask on cpu", lambda: x.masked_fill(here > 0, 0)),
        "a product of both": (TWO, lambda: x @ here.T),
        "gather with CPU indices": (TWO, lambda: x.gather(1, classes[:, None])),
        "card indices of a CPU tensor": ("indices should be either on cpu", lambda: here[far]),
        "a CPU tensor written": (TWO, lambda: here.add_(x)),
        "a CPU number written": (TWO, lambda: torch.tensor(1.0).add_(x[0, 0])),
        "comparing": ("Cannot compare two tensors", lambda: torch.equal(x, here)),
        "to NumPy": ("can't convert cuda:0", lambda: x.numpy()),
        "to NumPy unasked": ("can't convert cuda:0", lambda: np.asarray(x)),
        "generator of the CPU": (
            "generator",
            lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
        ),
        "generator of the card": ("generator", lambda: torch.rand(3, generator=torch.Generator("cuda"))),
        "a product of integers": ("not implemented for 'Long'", lambda: x.long().T @ x.long()),
        "an index out of range": ("device-side assert", lambda: x[far]),
        "a class out of range": ("device-side assert", lambda: F.cross_entropy(x, far.expand(4))),
        "no kernel": ("'CUDA' backend", lambda: torch.histogram(x, 3)),
        "least squares by another driver": ("driver", lambda: torch.linalg.lstsq(x, x, driver="gelsy")),
        "a second card": ("invalid device ordinal", lambda: x.to("cuda:1")),
    }


def refuse(name, mistake):
    words, action = mistake
    with pytest.raises((RuntimeError, TypeError), match=words):
        action()


def waits_are_counted_by_line():
    x, here = torch.ones(4, device="cuda"), torch.arange(4)
    pretend_gpu.waits.clear()
    x.sum().item(), x.cpu(), here.to("cuda"), x[here], x[x > 0], x.nonzero()
    x * 2, x[0] + x[:2], here.pin_memory().to("cuda", non_blocking=True)  # these do not
    found = [what for (what, line), times in pretend_gpu.waits.items() for _ in range(times)]
    assert sorted(found) == sorted(
        ["a number is read", "copy to the CPU", "copy to the card", "index from the CPU or mask",
         "index from the CPU or mask", "nonzero"]
    )  # fmt: skip
    assert {line.split(":")[0] for _, line in pretend_gpu.waits} == {"test_pretend_gpu.py"}


def threads_see_the_card():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: torch.ones(2).to("cuda").sum().item()).result() == 2


RIGHT = [
    training_gives_the_losses_of_the_cpu, attention_gives_the_gradients_of_the_cpu,
    mixed_precision_is_float16_and_still_learns, a_module_moves_and_stays_itself, views_and_writes_reach_the_numbers,
    what_cuda_allows_runs, random_states_are_apart, files_come_back_where_they_are_wanted, waits_are_counted_by_line,
    threads_see_the_card,
]  # fmt: skip


@pretend_gpu.on_a_gpu
def test_right_programs_run_as_on_the_cpu_and_mistakes_are_refused():
    pretend_gpu.each({function.__name__: function for function in RIGHT}, lambda name, function: function())
    pretend_gpu.each(mistakes(), refuse)


@pretend_gpu.on_a_gpu
def failing(what):
    pretend_gpu.each({"one": 1, "two": 2}, lambda name, value: print(1 / (value - 2)))


def test_a_failure_names_the_thing_that_failed():
    if pretend_gpu.missing():
        pytest.skip(pretend_gpu.missing())
    with pytest.raises(pytest.fail.Exception, match="failed on the pretended GPU: two") as error:
        failing(what="x")
    assert "passed one" in str(error.value) and "ZeroDivisionError" in str(error.value)
