"""Fine-tuning and training from scratch: against a plain loop, what it leaves alone, what it refuses."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ssl_lessons import evaluation
from ssl_lessons.data import label_subset
from ssl_lessons.data.stored import StoredPictures
from ssl_lessons.errors import InputError, NotFiniteError
from ssl_lessons.evaluation import fine_tune, fine_tune_efficiency, fine_tuning, probes
from ssl_lessons.models import build_encoder
from ssl_lessons.views import Policy, normalize

POLICY = Policy(16, crop_scale=(0.5, 1.0), brightness=0.4)


def stripes(n, seed, size=16):
    """Faint stripes in noise, across (0) or down (1), light and dark swapped in half of them: images and labels [n]."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    wave = torch.where(torch.arange(size) % 4 < 2, 30.0, -30.0)
    pattern = torch.where((y == 0)[:, None, None], wave[:, None], wave[None])
    sign = 2.0 * torch.randint(2, (n, 1, 1), generator=g) - 1
    x = 128 + (sign * pattern)[:, None] + 40 * torch.randn(n, 3, size, size, generator=g)
    return x.clamp(0, 255).byte(), y


def fresh(seed=0, **options):
    torch.manual_seed(seed)
    return build_encoder("convnet", **{"width": 4, "dim": 8} | options)


def few(**changes):
    """Arguments of a short run, some changed."""
    images, labels = stripes(12, seed=0)
    test_images, test_labels = stripes(10, seed=1)
    arguments = {
        "encoder": fresh(), "images": images, "labels": labels, "test_images": test_images,
        "test_labels": test_labels, "steps": 3, "batch_size": 8,
    }  # fmt: skip
    return arguments | changes


def weights(result):
    return {"encoder": result.encoder.state_dict(), "head": result.head.state_dict()}


def same_weights(a, b):
    return all(torch.equal(v, weights(b)[part][k]) for part, w in weights(a).items() for k, v in w.items())


# ---- what it does --------------------------------------------------------------------------------


def test_it_learns_what_a_frozen_probe_does_not_see():
    train, test = stripes(64, seed=0), stripes(200, seed=1)
    encoder = fresh(width=8, dim=16)
    features = [evaluation.extract_features(encoder, images) for images in (train[0], test[0])]
    frozen = evaluation.linear_probe(features[0], train[1], features[1], test[1]).accuracy
    tuned = fine_tune(encoder, *train, *test, steps=60, batch_size=32, lr=1e-2)
    assert frozen < 0.8 and tuned.accuracy > 0.95


def test_weights_are_those_of_a_plain_loop():
    """Every step takes all pictures, so that their order does not matter."""
    arguments, steps, lr = few(), 4, 3e-3
    x, y = normalize(arguments["images"]), arguments["labels"]
    torch.manual_seed(5)
    model = nn.Sequential(copy.deepcopy(arguments["encoder"]), nn.Linear(8, 2)).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=5.0)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    found = fine_tune(
        **arguments | {"steps": steps, "lr": lr, "weight_decay": 5.0, "batch_size": 100, "seed": 5}
    )
    for expected, part in zip(model, (found.encoder, found.head), strict=True):
        torch.testing.assert_close(part.state_dict(), expected.state_dict(), rtol=1e-3, atol=1e-4)


def test_the_accuracy_is_that_of_the_networks_returned():
    arguments = few(steps=20, test_images=stripes(50, seed=1)[0], test_labels=stripes(50, seed=1)[1])
    found = fine_tune(**arguments)
    assert not found.encoder.training and not found.head.training
    with torch.no_grad():
        logits = found.head(found.encoder(normalize(arguments["test_images"])))
    assert found.accuracy == pytest.approx(
        float((logits.argmax(1) == arguments["test_labels"]).float().mean())
    )
    assert found.encoder.name == "convnet" and found.encoder.options == arguments["encoder"].options


def test_one_output_per_class():
    labels = torch.tensor([0, 3] * 6)
    assert fine_tune(**few(labels=labels, test_labels=torch.tensor([3, 0] * 5))).head.out_features == 4


@pytest.mark.parametrize("policy", [None, POLICY])
def test_batches_run_through_all_pictures(monkeypatch, policy):
    seen, name = [], "normalize" if policy is None else "augment"
    plain = getattr(fine_tuning, name)
    monkeypatch.setattr(fine_tuning, name, lambda x, *rest: seen.append(x) or plain(x, *rest))
    monkeypatch.setattr(fine_tuning, "augment" if policy is None else "normalize", None)
    images = stripes(12, seed=0)[0]
    fine_tune(**few(images=images, policy=policy, steps=6, batch_size=8))
    rows = [[int((images == picture).flatten(1).all(1).nonzero()) for picture in batch] for batch in seen]
    assert [len(batch) for batch in rows] == [8] * 6
    in_order = sum(rows, [])
    assert all(sorted(in_order[i : i + 12]) == list(range(12)) for i in range(0, 48, 12))
    assert in_order[:12] != in_order[12:24]
    first = seen[0]
    seen.clear()
    fine_tune(**few(images=images, policy=policy, steps=2, batch_size=50, seed=1))
    assert [len(batch) for batch in seen] == [12] * 2 and not torch.equal(seen[0][:8], first)


def test_batches_do_not_depend_on_the_policy(monkeypatch):
    seen = {"normalize": [], "augment": []}
    for name, batches in seen.items():
        plain = getattr(fine_tuning, name)
        monkeypatch.setattr(
            fine_tuning, name, lambda x, *rest, put=batches.append, f=plain: put(x) or f(x, *rest)
        )
    for policy in (None, POLICY):
        fine_tune(**few(policy=policy, seed=3))
    assert len(seen["augment"]) == 3
    assert all(torch.equal(a, b) for a, b in zip(*seen.values(), strict=True))


# ---- determinism, and what is left alone ---------------------------------------------------------


class Dropping(nn.Module):
    """Features with dropout."""

    dim = 8

    def __init__(self):
        super().__init__()
        self.inside, self.drop = fresh(), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.inside(x))


@pytest.mark.parametrize("encoder", [fresh(), Dropping()], ids=["plain", "with dropout"])
def test_a_seed_decides_everything(encoder):
    arguments = few(encoder=encoder, policy=POLICY)
    first = fine_tune(**arguments, seed=1)
    torch.manual_seed(77)
    state = torch.get_rng_state()
    again = fine_tune(**arguments, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert same_weights(first, again) and first.accuracy == again.accuracy
    other = fine_tune(**arguments, seed=2)
    assert not torch.equal(other.head.weight, first.head.weight)


def test_the_encoder_is_left_alone():
    encoder = fresh().train()
    encoder.layers[1].eval()
    encoder.layers[0].requires_grad_(False)
    before = copy.deepcopy(encoder.state_dict())
    modes = [m.training for m in encoder.modules()]
    found = fine_tune(**few(encoder=encoder))
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert [m.training for m in encoder.modules()] == modes
    assert [p.requires_grad for p in encoder.parameters()] == [False] + [True] * 11
    assert all(p.grad is None for p in encoder.parameters())
    changed = {k for k, v in found.encoder.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == set(before)  # the frozen layer of the copy as well


def test_pictures_on_disk_give_the_same():
    plain = few(policy=POLICY)
    stored = {name: StoredPictures(plain[name].numpy()) for name in ("images", "test_images")}
    assert same_weights(fine_tune(**plain), fine_tune(**plain | stored))


# ---- label efficiency ----------------------------------------------------------------------------


def test_efficiency_has_the_draws_and_rows_of_label_efficiency(monkeypatch):
    images, labels = stripes(40, seed=0)
    labels[::5] = -1
    test = stripes(10, seed=1)
    drawn = {"fine-tuned": [], "frozen": []}
    seeds = []

    def tuned(encoder, x, y, *rest, seed, steps):
        assert steps == 7
        drawn["fine-tuned"].append((x.flatten(1).float(), y))
        seeds.append(seed)
        return fine_tuning.FineTuned(seed / 10, None, None)

    def probed(x, y, *rest, seed):
        drawn["frozen"].append((x, y))
        return probes.ProbeResult(0.5, 1.0)

    monkeypatch.setattr(fine_tuning, "fine_tune", tuned)
    monkeypatch.setattr(probes, "linear_probe", probed)
    rows = fine_tune_efficiency(fresh(), images, labels, *test, per_class=(1, 3), draws=2, seed=4, steps=7)
    features = images.flatten(1).float()
    frozen = evaluation.label_efficiency(
        features, labels, test[0].flatten(1).float(), test[1], per_class=(1, 3), draws=2, seed=4
    )
    chosen = [label_subset(labels, count, seed=seed) for count in (1, 3) for seed in (4, 5)]
    for pairs in drawn.values():
        for (x, y), rows_drawn in zip(pairs, chosen, strict=True):
            assert torch.equal(x, features[rows_drawn]) and torch.equal(y, labels[rows_drawn])
    assert seeds == [4, 5, 4, 5]
    assert [row.keys() for row in rows] == [row.keys() for row in frozen]
    assert [row["labels"] for row in rows] == [2, 6] and rows[1]["accuracies"] == [0.4, 0.5]
    assert rows[1]["mean"] == pytest.approx(0.45) and rows[1]["std"] == pytest.approx(0.5**0.5 / 10)


def test_efficiency_trains():
    train, test = stripes(40, seed=0), stripes(20, seed=1)
    (row,) = fine_tune_efficiency(fresh(), *train, *test, per_class=(4,), draws=2, seed=3, steps=3)
    chosen = label_subset(train[1], 4, seed=4)
    single = fine_tune(fresh(), train[0][chosen], train[1][chosen], *test, steps=3, seed=4)
    assert row["accuracies"][1] == single.accuracy and row["labels"] == 8


def test_efficiency_refuses():
    train, test = stripes(12, seed=0), stripes(10, seed=1)
    for options, words in (
        ({"draws": 0}, "at least one draw"),
        ({"per_class": (7,)}, "7 per class were asked for"),
    ):
        with pytest.raises(InputError, match=words):
            fine_tune_efficiency(fresh(), *train, *test, **{"steps": 2, "per_class": (2,)} | options)
    with pytest.raises(InputError, match="one label per image"):
        fine_tune_efficiency(fresh(), train[0], train[1][1:], *test, per_class=(2,), steps=2)


# ---- what it refuses -----------------------------------------------------------------------------

NONE = torch.zeros(0, 3, 16, 16, dtype=torch.uint8)
REFUSED = {
    "one class": ({"labels": torch.ones(12, dtype=torch.long)}, "at least two classes"),
    "too few labels": ({"labels": torch.arange(11) % 2}, "12 whole numbers"),
    "too few test labels": ({"test_labels": torch.arange(9) % 2}, "10 whole numbers"),
    "labels that are no whole numbers": ({"labels": torch.rand(12)}, "12 whole numbers"),
    "an unlabelled image": ({"labels": torch.arange(12) % 3 - 1}, "-1"),
    "an unlabelled test image": ({"test_labels": torch.arange(10) % 2 - 1}, "-1"),
    "a test class above": ({"test_labels": torch.arange(10) % 3}, "class 2 is among the test labels"),
    "a test class between": (
        {"labels": torch.arange(12) % 2 * 2, "test_labels": torch.arange(10) % 3},
        "class 1 is among the test labels",
    ),
    "no images": ({"images": NONE, "labels": torch.zeros(0, dtype=torch.long)}, "at least one of each"),
    "no test images": (
        {"test_images": NONE, "test_labels": torch.zeros(0, dtype=torch.long)},
        "at least one of each",
    ),
    "test images of another kind": ({"test_images": torch.zeros(10, 3, 16, 16, dtype=torch.int32)}, "uint8"),
    "no steps": ({"steps": 0}, "steps must be at least 1"),
    "batches of one": ({"batch_size": 1}, "batch_size must be at least 2"),
    "no learning rate": ({"lr": 0.0}, "lr > 0"),
    "an infinite learning rate": ({"lr": math.inf}, "lr > 0"),
    "a negative decay": ({"weight_decay": -0.1}, "weight_decay >= 0"),
    "an unknown device": ({"device": "abacus"}, "cpu, cuda or mps"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_the_first_step(what, monkeypatch):
    monkeypatch.setattr(fine_tuning, "cross_entropy", None)
    changes, words = REFUSED[what]
    with pytest.raises(InputError, match=words):
        fine_tune(**few(**changes))


@pytest.mark.parametrize("steps, looked", [(2, 2), (fine_tuning.LOOK_EVERY * 3, fine_tuning.LOOK_EVERY)])
def test_a_learning_rate_that_is_too_high(steps, looked, monkeypatch):
    taken = []
    plain = fine_tuning.cross_entropy
    monkeypatch.setattr(fine_tuning, "cross_entropy", lambda *pair: taken.append(1) or plain(*pair))
    with pytest.raises(InputError, match=r"NaN.*learning rate 1e\+30 is too high"):
        fine_tune(**few(lr=1e30, steps=steps))
    assert len(taken) == looked


def test_an_encoder_that_diverged_is_not_blamed_on_the_learning_rate():
    encoder = fresh()
    encoder.layers[1].running_mean[0] = math.nan
    with pytest.raises(NotFiniteError, match="diverged"):
        fine_tune(**few(encoder=encoder))
