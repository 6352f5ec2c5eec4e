"""examples/one_file: each file, run for five steps, loses what the package's method loses.

Same weights, same views (recorded from the file), same optimiser; everything in float64.
"""

import ast
import math
import types
from pathlib import Path

import pytest
import torch

from ssl_lessons.losses import sigreg
from ssl_lessons.methods import BYOL, MAE, LeJEPA, SimCLR, VICReg
from ssl_lessons.models import build_encoder
from ssl_lessons.training.optimizers import build_optimizer, warmup_cosine

FOLDER = Path(__file__).parents[1] / "examples" / "one_file"
STEPS, BATCH = 5, 12


def convnet():
    return build_encoder("convnet", width=16, dim=256)


METHODS = {
    "simclr": ("SimCLR", "adamw", lambda e: SimCLR(convnet(), temperature=e.TEMPERATURE)),
    "byol": (
        "BYOL",
        "sgd",
        lambda e: BYOL(convnet(), momentum=e.MOMENTUM, predictor_lr=e.PREDICTOR_LR),
    ),
    "vicreg": (
        "VICReg",
        "adamw",
        lambda e: VICReg(convnet(), e.AGREE, e.SPREAD, e.DIFFER, out_dim=e.WIDTH),
    ),
    "lejepa": (
        "LeJEPA",
        "adamw",
        lambda e: LeJEPA(convnet(), e.LAMBDA, e.VIEWS, e.DIRECTIONS, out_dim=e.OUT, layers=2),
    ),
    "mae": ("MAE", "adamw", lambda e: MAE(build_encoder("vit"), mask_ratio=e.HIDDEN)),
}


# What a slip of the pen would make of each loss.
SLIPS = {
    "simclr": (".fill_diagonal_(-math.inf)", ""),  # a view finds itself
    "byol": ("4 - 2 * sum(", "2 - sum("),  # the directions averaged
    "vicreg": (".mean() / 2", ".mean()"),  # without the famous half
    "lejepa": ("z.shape[1] * 2 *", "2 *"),  # without the factor N
    "mae": (")[mask].square()", ").square()"),  # visible patches counted
}


def load(name, slip=("", "")):
    """The example as a module, with a piece of its text replaced."""
    text = (FOLDER / f"{name}.py").read_text()
    assert slip[0] in text
    module = types.ModuleType(f"one_file_{name}")
    exec(compile(text.replace(*slip), f"{name}.py", "exec"), module.__dict__)
    return module


def recorded(monkeypatch, owner, name):
    """What owner.name returns from now on, in order."""
    results, original = [], getattr(owner, name)

    def keep(*args, **kwargs):
        results.append(original(*args, **kwargs))
        return results[-1]

    monkeypatch.setattr(owner, name, keep)
    return results


def copy_weights(model, method):
    """The example's weights into the package's method: the same networks, declared in the same order."""
    with torch.no_grad():
        for ours, theirs in zip(model.parameters(), method.parameters(), strict=True):
            theirs.copy_(ours)


def examples_losses(monkeypatch, name, example, model):
    """The losses of five steps of the example, and what it drew on the way: one tuple of inputs per step."""
    monkeypatch.setattr(example, "BATCH", BATCH)
    monkeypatch.setattr(example, "WARMUP", 0.4)  # two of the five steps, so that both halves are seen
    views = recorded(monkeypatch, example, "view")
    images = example.draw(40)[0].double()
    directions = []
    if name == "lejepa":
        original = example.sigreg
        monkeypatch.setattr(example, "sigreg", lambda z, d: directions.append(d) or original(z, d))
    losses = example.train(model.train(), images, STEPS)
    each = len(views) // STEPS
    return losses, [views[i * each : (i + 1) * each] for i in range(STEPS)], directions


def packages_losses(monkeypatch, name, example, method, optimizer, views, directions):
    """The same five steps with the package's method, optimiser and schedule."""
    optimizer = build_optimizer(method.train(), optimizer, example.LR, example.DECAY)
    losses = []
    for step, drawn in enumerate(views):
        for group in optimizer.param_groups:
            group["lr"] = example.LR * warmup_cosine(step, STEPS, 2)
        if name == "mae":
            ((picture, mask),) = drawn
            drawn = [picture]
            monkeypatch.setattr(method, "draw_mask", lambda n, mask=mask: mask)
        if name == "lejepa":
            unit = torch.nn.functional.normalize(directions[step], dim=0)
            monkeypatch.setattr("ssl_lessons.methods.lejepa.random_directions", lambda *_, unit=unit: unit)
        loss = method(drawn)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step((step + 1) / STEPS)
        losses.append(loss.item())
    return losses


def both(name, example, monkeypatch):
    """The example's and the package's losses, and the two models after the last step."""
    label, optimizer, build = METHODS[name]
    torch.manual_seed(1)
    model, method = getattr(example, label)().double(), build(example).double()
    copy_weights(model, method)
    mine, views, directions = examples_losses(monkeypatch, name, example, model)
    theirs = packages_losses(monkeypatch, name, example, method, optimizer, views, directions)
    return mine, theirs, model, method


@pytest.mark.parametrize("name", METHODS)
def test_five_steps_lose_what_the_package_loses(name, monkeypatch, capsys):
    mine, theirs, model, method = both(name, load(name), monkeypatch)
    assert mine == pytest.approx(theirs, rel=1e-9)
    assert len(set(mine)) == STEPS and "step    5" in capsys.readouterr().out
    for ours, other in zip(model.parameters(), method.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_a_slip_in_the_loss_shows(name, monkeypatch):
    mine, theirs, _, _ = both(name, load(name, SLIPS[name]), monkeypatch)
    assert mine[0] != pytest.approx(theirs[0], rel=1e-3)


def test_lejepa_against_its_definition():
    """Complex exponentials and loops instead of cosines and a trapezoid: an independent reference."""
    example, g = load("lejepa"), torch.Generator().manual_seed(2)
    z = torch.randn(3, 7, 4, generator=g, dtype=torch.float64)
    a = torch.randn(4, 5, generator=g, dtype=torch.float64)
    knots = [(k * 3 / 16, 3 / 16 / (2 if abs(k) == 16 else 1)) for k in range(-16, 17)]
    total = 0.0
    for view in z:
        for direction in a.T:
            x = view @ (direction / direction.norm())
            for t, width in knots:
                bell = math.exp(-t * t / 2)
                total += 7 * width * bell * abs(torch.exp(1j * t * x).mean().item() - bell) ** 2
    expected = total / 15
    assert example.sigreg(z, a).item() == pytest.approx(expected, rel=1e-12)
    assert sum(sigreg(view, a) for view in z).item() / 3 == pytest.approx(expected, rel=1e-12)
    spread = (
        sum((z[v, i, d] - z[:, i, d].mean()) ** 2 for v in range(3) for i in range(7) for d in range(4)) / 84
    )
    whole = (1 - example.LAMBDA) * spread + example.LAMBDA * expected
    assert example.lejepa(z, a).item() == pytest.approx(whole.item(), rel=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_the_file_stands_alone_and_is_short(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 150
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported <= {"argparse", "copy", "math", "torch", "torchvision"}
    assert "# Details that matter." in text and "https://github.com/" in text


@pytest.mark.parametrize("name", METHODS)
def test_pictures_and_neighbours(name):
    example = load(name)
    images, kinds = example.draw(200)
    assert images.shape == (200, 3, 32, 32) and images.min() >= -2 and images.max() <= 2
    assert set(kinds.tolist()) == set(range(8)) and torch.equal(images, example.draw(200)[0])
    perfect = torch.nn.functional.one_hot(kinds).float()
    judge = example.probe if name == "mae" else example.knn
    assert judge(torch.nn.Identity(), perfect, kinds, 50) == 1
    assert judge(torch.nn.Identity(), torch.randn(200, 8), kinds, 50) < 0.5


def test_a_folder_of_pictures(tmp_path):
    from torchvision.utils import save_image

    example = load("simclr")
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for i in range(3):
            save_image(torch.full((3, 40, 50), float(kind == "b")), tmp_path / kind / f"{i}.png")
    images, kinds = example.read(str(tmp_path))
    assert images.shape == (6, 3, 32, 32) and sorted(kinds.tolist()) == [0, 0, 0, 1, 1, 1]
    assert torch.equal(images.mean(dim=(1, 2, 3)), torch.where(kinds == 1, 2.0, -2.0))
