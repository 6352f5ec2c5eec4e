"""Famous bugs on display: every check passes on the package and fails on the wrong version beside it.

All of these train, most of them quietly: the loss goes down and the probe is a few points worse.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons.evaluation import extract_features
from ssl_lessons.losses.contrastive import info_nce, nt_xent
from ssl_lessons.losses.correlation import barlow_twins, vicreg
from ssl_lessons.losses.rate_reduction import coding_rate, emp_ssl
from ssl_lessons.views import Policy, apply, augment, draw, normalize


def pair(n=8, d=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    z1 = torch.randn(n, d, generator=g, dtype=torch.float64)
    return z1, z1 + 0.5 * torch.randn(n, d, generator=g, dtype=torch.float64)


# --- VICReg: the variance of the two views is averaged, the covariance added -----------------------


def vicreg_without_the_half(z1, z2):
    def variance(z):
        return F.relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean()

    def covariance(z):
        c = z.T.cov()
        return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]

    regularisation = 25 * (variance(z1) + variance(z2)) + covariance(z1) + covariance(z2)
    return 25 * F.mse_loss(z1, z2) + regularisation


def check_vicreg(loss):
    """All rows equal: no invariance, no covariance, and each view's hinge is 1 - sqrt(eps)."""
    z = torch.ones(8, 4, dtype=torch.float64)
    assert loss(z, z).item() == pytest.approx(25 * (1 - 0.01))


# --- Barlow Twins: a correlation divides by the biased deviation -----------------------------------


def barlow_with_the_unbiased_deviation(z1, z2):
    z1, z2 = ((z - z.mean(dim=0)) / z.std(dim=0) for z in (z1, z2))
    c = z1.T @ z2 / len(z1)
    diagonal = c.diagonal()
    return (1 - diagonal).square().sum() + 5e-3 * (c.square().sum() - diagonal.square().sum())


def check_barlow(loss):
    """Two equal views whose dimensions are uncorrelated are perfect: the loss must be able to reach 0."""
    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert loss(z, z).item() == pytest.approx(0, abs=1e-8)


# --- several processes: the gathered embeddings must keep their gradient ---------------------------


def gather(parts, rank):
    return torch.cat(parts)


def gather_without_gradient(parts, rank):
    """What torch.distributed.all_gather returns: copies; only one's own part is put back with its gradient."""
    return torch.cat([z if r == rank else z.detach() for r, z in enumerate(parts)])


def check_gather(gather):
    """Two processes with half the batch each, gradients averaged over processes as DDP does, must give the
    gradient of one process with the whole batch. The loss itself is right in both versions."""
    whole = [z.requires_grad_() for z in pair()]
    loss = info_nce(*whole, temperature=0.3)
    right = torch.autograd.grad(loss, whole)

    z1, z2 = ([part.detach().requires_grad_() for part in z.chunk(2)] for z in whole)
    losses = []
    for rank in range(2):
        keys = F.normalize(gather(z2, rank), dim=1)
        logits = F.normalize(z1[rank], dim=1) @ keys.T / 0.3
        losses.append(F.cross_entropy(logits, torch.arange(4) + 4 * rank))
    total = sum(losses) / 2
    assert total.item() == pytest.approx(loss.item())
    grads = torch.autograd.grad(total, z1 + z2)
    for part, whole_part in zip((grads[:2], grads[2:]), right, strict=True):
        assert torch.allclose(torch.cat(part), whole_part)


# --- a queue of keys that were stored with their length --------------------------------------------


def info_nce_with_a_raw_queue(query, positive, queue, temperature):
    query, positive = F.normalize(query, dim=1), F.normalize(positive, dim=1)
    own = (query * positive).sum(dim=1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long))


def check_queue(loss):
    """Cosines, so the length of a key means nothing."""
    query, key = pair()
    queue = pair(seed=5)[0]
    unit = loss(query, key, F.normalize(queue, dim=1), 0.2)
    assert loss(query, key, 7 * queue, 0.2).item() == pytest.approx(unit.item())


# --- NT-Xent with the view itself among the candidates ---------------------------------------------


def nt_xent_with_the_self_pair(z1, z2, temperature):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return F.cross_entropy(z @ z.T / temperature, torch.arange(len(z)).roll(len(z1)))


def check_self_pair(loss):
    """Solved perfectly, the loss goes to 0; with the self-pair it stops at log 2."""
    z = torch.eye(8, dtype=torch.float64)
    assert loss(z, z, 0.05).item() == pytest.approx(0, abs=1e-6)
    assert nt_xent_with_the_self_pair(z, z, 0.05).item() == pytest.approx(math.log(2), abs=1e-6)


# --- EMP-SSL: the coding rate is to be maximised --------------------------------------------------


def emp_ssl_that_adds_the_rate(views, eps=0.2, weight=200.0):
    z = F.normalize(torch.stack(views), dim=2)
    rate = sum(coding_rate(view, eps) for view in z) / len(z)
    return rate - weight * F.cosine_similarity(z, z.mean(dim=0, keepdim=True), dim=2).mean()


def check_rate(loss):
    """The views agree perfectly in both, so what remains must prefer images apart to images in one point."""
    apart, together = torch.eye(8, dtype=torch.float64), torch.ones(8, 8, dtype=torch.float64)
    assert loss([apart] * 3) < loss([together] * 3)


# --- a probe on a backbone that is not really frozen -----------------------------------------------


@torch.no_grad()
def features_in_train_mode(encoder, images):
    encoder.train()
    return encoder(normalize(images)).float()


def check_frozen(extract):
    """An image's features depend on nothing but the image, and extraction leaves the network as it was."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(5))
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    encoder(normalize(images))
    encoder.train()  # as training leaves it
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    together = extract(encoder, images)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert torch.allclose(extract(encoder, images[:2]), together[:2], atol=1e-5)


# --- one set of augmentation parameters for the whole batch ----------------------------------------


def augment_all_alike(images, policy, generator):
    one = draw(policy, 1, images.shape[-2:], generator)
    return apply(
        images, policy, {name: value.expand(len(images), *value.shape[1:]) for name, value in one.items()}
    )


def check_each_its_own(augment):
    """Sixteen copies of one image must become sixteen different views."""
    g = torch.Generator().manual_seed(0)
    image = torch.randint(256, (1, 3, 16, 16), generator=g, dtype=torch.uint8)
    views = augment(image.expand(16, -1, -1, -1).contiguous(), Policy.simclr(16), g)
    assert len({tuple(view.flatten().tolist()) for view in views}) == 16


BUGS = {
    "VICReg: variance not halved": (check_vicreg, vicreg, vicreg_without_the_half),
    "Barlow Twins: unbiased deviation": (check_barlow, barlow_twins, barlow_with_the_unbiased_deviation),
    "gather without gradient": (check_gather, gather, gather_without_gradient),
    "queue not normalised": (check_queue, info_nce, info_nce_with_a_raw_queue),
    "EMP-SSL: coding rate minimised": (check_rate, emp_ssl, emp_ssl_that_adds_the_rate),
    "self-pair in the denominator": (check_self_pair, nt_xent, nt_xent_with_the_self_pair),
    "frozen backbone in train mode": (check_frozen, extract_features, features_in_train_mode),
    "same augmentation for the batch": (check_each_its_own, augment, augment_all_alike),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_package_passes(bug):
    check, ours, _ = BUGS[bug]
    check(ours)


@pytest.mark.parametrize("bug", BUGS)
def test_the_check_catches_the_bug(bug):
    check, _, wrong = BUGS[bug]
    with pytest.raises(AssertionError):
        check(wrong)
