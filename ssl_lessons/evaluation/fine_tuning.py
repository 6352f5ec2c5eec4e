"""What a whole network learns from labels: fine-tuning, and training from scratch by the same call."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_lessons.data.stored import StoredPictures
from ssl_lessons.errors import InputError, NotFiniteError
from ssl_lessons.evaluation.checks import checked_features, checked_labels
from ssl_lessons.evaluation.probes import extract_features, over_draws
from ssl_lessons.models.devices import pick_device
from ssl_lessons.views import Policy, augment, normalize
from ssl_lessons.views.constants import to_device

LOOK_EVERY = 20  # steps between two looks at the loss; for each a GPU has to finish its work first


class FineTuned(NamedTuple):
    """Test accuracy, and the trained copy of the encoder and its head: on the CPU and in eval()."""

    accuracy: float
    encoder: nn.Module
    head: nn.Linear


def fine_tune(
    encoder: nn.Module, images: Tensor | StoredPictures, labels: Tensor, test_images: Tensor | StoredPictures,
    test_labels: Tensor, *, policy: Policy | None = None, steps: int = 300, batch_size: int = 100, lr: float = 3e-3,
    weight_decay: float = 1e-4, layer_decay: float = 1.0, seed: int = 0, device: torch.device | str | None = None,
) -> FineTuned:  # fmt: skip
    """Train a copy of the encoder and a fresh linear head on labels, by cross-entropy; score them once on test images.

    Training from scratch is the same call with an untrained encoder: `fine_tune(models.untrained(encoder), ...)`.
    Compare fine-tuning with that, and a frozen probe with another frozen probe.

    encoder: views [N, 3, S, S] -> features [N, encoder.dim].  It is left as and where it is; of its copy all weights
    are trained, frozen ones too.  images, test_images: uint8 [N, 3, H, W], tensors or data.StoredPictures.  labels,
    test_labels: [N] in 0..C-1.  policy: random views to train on; None: the pictures as they are, as in the test.
    batch_size: pictures per step, all of them where there are fewer; batches run through one shuffle after the other.
    lr: of AdamW at the first step; it falls to 0 along half a cosine (Loshchilov & Hutter 2017, eq. 5, first period).
    layer_decay: a transformer's rate falls by this factor from layer to layer towards its input, see `layer_groups`.
    device: where to compute, in float32; by default on the GPU when there is one.

    `seed` decides head, batches and views: on the CPU the same call gives the same weights.  The random state of the
    program is left alone.  Raises InputError for labels that cannot be used (-1, another length, a single class, test
    labels of a class without training labels), for steps, batch_size, lr and weight_decay out of range, for images or
    a device that cannot be used, and when the loss becomes NaN.
    """
    labels, test_labels = _checked(images, labels, test_images, test_labels)
    _check_choices(steps, batch_size, lr, weight_decay)
    device, generator = pick_device(device), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(range(torch.cuda.device_count())):  # for the head, and an encoder with dropout
        torch.manual_seed(seed)
        model = nn.Sequential(
            copy.deepcopy(encoder).requires_grad_(), nn.Linear(encoder.dim, int(labels.max()) + 1)
        )
        model.to(device, memory_format=torch.channels_last)
        # before the work, not after it: test images that the encoder does not take, an encoder that diverged
        checked_features(extract_features(model[0], test_images[:1], device=device))
        model.train()
        groups = layer_groups(*model, lr, layer_decay) if layer_decay != 1 else model.parameters()
        optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step, rows in enumerate(_batches(len(images), batch_size, steps, generator)):
            batch = to_device(images[to_device(rows, images.device)], device)
            views = normalize(batch) if policy is None else augment(batch, policy, generator)
            loss = cross_entropy(model(views), to_device(labels[rows], device))
            if (step + 1) % LOOK_EVERY == 0:
                _check_finite(loss, step, lr)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    encoder, head = model.cpu().eval()
    with torch.no_grad():
        logits = head(extract_features(encoder, test_images, device=device))
    _check_finite(logits, steps, lr)
    return FineTuned(float((logits.argmax(1) == test_labels).float().mean()), encoder, head)


def layer_groups(encoder: nn.Module, head: nn.Module, lr: float, decay: float) -> list[dict]:
    """Parameter groups whose rate is lr decay^(L - l) (Clark et al. 2020, ELECTRA, section 3.1 and appendix B).

    l counts from the input of a transformer: 0 is the patch map, 1 .. L - 1 its blocks, L its last norm and the head,
    which keep lr.  Returns the groups in this order.  Raises InputError for an encoder without `blocks`, and unless
    0 < decay <= 1.
    """
    if not isinstance(getattr(encoder, "blocks", None), nn.ModuleList):
        raise InputError(
            "layer_decay needs a transformer with blocks, such as build_encoder('vit'): leave it at 1"
        )
    if not 0 < decay <= 1:
        raise InputError(f"layer_decay must be above 0 and at most 1, not {decay}")
    blocks = [list(block.parameters()) for block in encoder.blocks]
    last = [*encoder.norm.parameters(), *head.parameters()]
    known = {id(p) for group in (*blocks, last) for p in group}
    first = [p for p in encoder.parameters() if id(p) not in known]
    layers = [first, *blocks, last]
    return [{"params": p, "lr": lr * decay ** (len(layers) - 1 - i)} for i, p in enumerate(layers)]


def fine_tune_efficiency(
    encoder: nn.Module, train_images: Tensor | StoredPictures, train_labels: Tensor,
    test_images: Tensor | StoredPictures, test_labels: Tensor, per_class: tuple[int, ...] = (2, 5, 10, 25),
    draws: int = 3, seed: int = 0, progress: bool = False, **options,
) -> list[dict]:  # fmt: skip
    """Accuracy of `fine_tune` against the number of labels, with the draws and the rows of `label_efficiency`.

    Draw i has the same pictures as there for the same seed, and is trained with seed + i; pictures labelled -1 are
    never drawn.  progress: a bar on stderr when it takes long.  options: of `fine_tune`, such as policy, steps, device.
    Raises InputError as `fine_tune` does, and for a class with fewer labels than asked for.
    """

    def score(chosen: Tensor, draw_seed: int) -> float:
        few = train_images[to_device(chosen, train_images.device)], train_labels[chosen]
        return fine_tune(encoder, *few, test_images, test_labels, seed=draw_seed, **options).accuracy

    return over_draws(train_labels, len(train_images), per_class, draws, seed, score, progress)


def _batches(n: int, batch_size: int, steps: int, generator: torch.Generator) -> Tensor:
    """Rows of the pictures of every step, [steps, min(batch_size, n)]: shuffles of 0..n-1, one after the other."""
    size = min(batch_size, n)
    shuffles = [torch.randperm(n, generator=generator) for _ in range(math.ceil(steps * size / n))]
    return torch.cat(shuffles)[: steps * size].view(steps, size)


def _checked(images, labels: Tensor, test_images, test_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Training and test labels as int64 on the CPU; InputError where nothing can be learned from them."""
    if not len(images) or not len(test_images):
        raise InputError(
            "fine-tuning needs images to learn from and images to test on; give at least one of each"
        )
    labels = checked_labels(labels, images, "training labels").cpu()
    test_labels = checked_labels(test_labels, test_images, "test labels").cpu()
    if len(labels.unique()) < 2:
        raise InputError("fine-tuning needs labels of at least two classes")
    unseen = test_labels[~torch.isin(test_labels, labels)].unique().tolist()
    if unseen:
        raise InputError(
            f"class {unseen[0]} is among the test labels and not among the training labels; leave out its test images, "
            "or train on some of its images"
        )
    return labels, test_labels


def _check_choices(steps: int, batch_size: int, lr: float, weight_decay: float) -> None:
    if steps < 1:
        raise InputError(f"steps must be at least 1, not {steps}")
    if batch_size < 2:
        raise InputError(f"batch_size must be at least 2 (BatchNorm compares images), not {batch_size}")
    if not (lr > 0 and math.isfinite(lr)) or not (weight_decay >= 0 and math.isfinite(weight_decay)):
        raise InputError(f"need lr > 0 and weight_decay >= 0, not lr={lr}, weight_decay={weight_decay}")


def _check_finite(values: Tensor, steps: int, lr: float) -> None:
    if not bool(values.isfinite().all()):
        raise NotFiniteError(
            f"the loss became NaN or infinite within {steps} steps: the learning rate {lr:g} is too high; divide it "
            "by ten"
        )
