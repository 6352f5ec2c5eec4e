"""Agreement with lightly (dependency group `bench`), wherever it implements the same formula.

Each difference is stated where it is compensated for, with what the paper says. Checked with lightly 1.6.0.
"""

import math

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("lightly")

from lightly import loss as lightly_loss  # noqa: E402
from lightly.loss.hypersphere_loss import HypersphereLoss  # noqa: E402

from ssl_lessons.losses import (  # noqa: E402
    clustering,
    contrastive,
    correlation,
    distillation,
    gaussian,
    rate_reduction,
    second_moment,
)

N, D, K = 12, 5, 7


def rows(seed, n=N, d=D):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def pair():
    return rows(0), rows(0) + 0.7 * rows(1)


def cosines(seed, n=N, k=K):
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def agree(ours, theirs, rel=1e-5):
    ours, theirs = float(torch.as_tensor(ours).detach()), float(theirs.detach())
    assert ours == pytest.approx(theirs, rel=rel, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nt_xent(temperature):
    agree(contrastive.nt_xent(*pair(), temperature), lightly_loss.NTXentLoss(temperature)(*pair()))


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_info_nce_with_a_queue(temperature):
    theirs = lightly_loss.NTXentLoss(temperature, memory_bank_size=(9, D))
    queue = theirs.memory_bank.bank.clone()
    assert queue.shape in [(9, D), (D, 9)]
    queue = queue if queue.shape == (9, D) else queue.T
    agree(contrastive.info_nce(*pair(), queue, temperature), theirs(*pair()))


def test_dcl():
    agree(contrastive.dcl(*pair(), 0.1), lightly_loss.DCLLoss(0.1)(*pair()))
    # Older versions of lightly added the log-sum-exps of the two views' negatives; eq. 6 has one sum under one
    # logarithm, as here and in lightly 1.6.


def test_dclw():
    agree(contrastive.dclw(*pair(), 0.1, 0.5), lightly_loss.DCLWLoss(0.1, 0.5)(*pair()))


def test_align_uniform():
    ours = contrastive.align_uniform(*pair(), t=2.0, uniform_weight=0.7)
    agree(ours, HypersphereLoss(t=2.0, lam=0.7)(*pair()))


def test_direct_clr():
    """DirectCLR (Jing et al. 2022): NT-Xent on the first dimensions of the representation."""
    ours = contrastive.nt_xent(*(z[:, :3] for z in pair()), 0.5)
    agree(ours, lightly_loss.DirectCLRLoss(loss_dim=3, temperature=0.5)(*pair()))


def test_barlow_twins():
    theirs = lightly_loss.BarlowTwinsLoss(lambda_param=5e-3)(*pair())
    agree(correlation.barlow_twins(*pair(), 5e-3), theirs)


def test_vicreg():
    agree(correlation.vicreg(*pair()), lightly_loss.VICRegLoss()(*pair()))


def test_w_mse():
    z1, z2 = pair()
    theirs = lightly_loss.WMSELoss(embedding_dim=D, w_size=N)(torch.cat([z1, z2]))
    agree(correlation.w_mse(z1, z2), theirs, rel=1e-4)


def test_negative_cosine():
    agree(distillation.negative_cosine(*pair()), lightly_loss.NegativeCosineSimilarity()(*pair()))
    agree(distillation.byol(*pair()), 2 + 2 * lightly_loss.NegativeCosineSimilarity()(*pair()))


def test_dino():
    student, teacher = [rows(i, d=K) for i in range(4)], [rows(i, d=K) for i in (4, 5)]
    theirs = lightly_loss.DINOLoss(output_dim=K, teacher_temp=0.04, student_temp=0.1)
    for _ in range(2):  # the second time with a centre that has moved
        center = theirs.center.flatten().clone()
        ours = distillation.dino(student, teacher, center, 0.1, 0.04)
        agree(ours, theirs(teacher, student))
        moved = distillation.update_center(center, torch.cat(teacher), 0.9)
        assert torch.allclose(moved, theirs.center.flatten(), atol=1e-6)
    assert moved.abs().max() > 0.01


def test_ibot():
    student, teacher = rows(0, 4 * 9, K).view(4, 9, K), rows(1, 4 * 9, K).view(4, 9, K)
    mask = torch.zeros(4, 9, dtype=torch.bool)
    mask[:, :3] = True  # the same number in every image
    center = torch.zeros(K)

    def theirs(mask):
        return lightly_loss.IBOTPatchLoss(output_dim=K)(teacher[mask], student[mask], mask.view(4, 3, 3))

    agree(distillation.ibot(student, teacher, mask, center), theirs(mask))
    # With unequal numbers lightly (as the authors' code) weighs images alike, so the patches of a little-masked image
    # count for more; here every masked patch counts alike, as in the paper's sum (eq. 2).
    mask[0, 3:] = True
    each = [
        distillation.ibot(student[i : i + 1], teacher[i : i + 1], mask[i : i + 1], center) for i in range(4)
    ]
    agree(sum(each) / 4, theirs(mask))
    assert abs(distillation.ibot(student, teacher, mask, center) - theirs(mask)) > 1e-3


def test_koleo():
    # lightly adds 1e-8 to distances, and PairwiseDistance another 1e-6 to every difference.
    agree(distillation.koleo(rows(0)), lightly_loss.KoLeoLoss()(rows(0)), rel=1e-4)


@pytest.mark.parametrize("iterations", [0, 3])
def test_swav(iterations):
    large, small = [cosines(0), cosines(1)], [cosines(2), cosines(3)]
    theirs = lightly_loss.SwaVLoss(temperature=0.1, sinkhorn_iterations=iterations, sinkhorn_epsilon=0.05)
    if iterations:
        agree(clustering.swav([*large, *small], iterations=iterations), theirs(large, small))
        queue = [cosines(4, n=20), cosines(5, n=20)]
        agree(clustering.swav([*large, *small], queue=queue), theirs(large, small, queue))
    else:
        # Without iterations lightly's codes are exp(s / eps) over the sum of the whole batch, not one distribution per
        # image; ours are the softmax. The paper never does without: a question of what "off" should mean.
        assert float(clustering.swav([*large, *small], iterations=0)) > float(theirs(large, small))


def test_msn():
    anchors, targets, prototypes = rows(0, 2 * N), rows(1), rows(2, K)
    theirs = lightly_loss.MSNLoss(temperature=0.1, sinkhorn_iterations=0, regularization_weight=0.8)
    unit = F.normalize(prototypes, dim=1)
    scores = F.normalize(anchors, dim=1) @ unit.T, F.normalize(targets, dim=1) @ unit.T
    ours = clustering.msn(scores[0].chunk(2), scores[1], 0.1, 0.025, entropy_weight=0.8)
    # lightly shifts the regulariser by log K, so that it is 0 for even use; eq. 1 has the plain entropy.
    agree(ours + 0.8 * math.log(K), theirs(anchors, targets, prototypes), rel=1e-4)
    # With its default 3 Sinkhorn iterations lightly also balances the targets, which eq. 1 does not (the paper treats
    # it as an optional extra).
    balanced = clustering.sinkhorn_knopp((scores[1] / 0.025).log_softmax(dim=1), epsilon=1.0, iterations=3)
    match = torch.stack([F.cross_entropy(s / 0.1, balanced) for s in scores[0].chunk(2)]).mean()
    with_sinkhorn = lightly_loss.MSNLoss(temperature=0.1, sinkhorn_iterations=3, regularization_weight=0)
    agree(match, with_sinkhorn(anchors, targets, prototypes), rel=1e-4)


def test_pmsn_has_the_divergence_the_other_way_round():
    """lightly documents KL(mean prediction, prior) and computes KL(prior, mean prediction), as F.kl_div does with its
    arguments in this order. Ours is the first: only with it is the uniform prior the plain MSN loss, which the paper
    sets out to generalise."""
    anchors, targets, prototypes = rows(0, N), rows(1), rows(2, K)
    unit = F.normalize(prototypes, dim=1)
    scores = F.normalize(anchors, dim=1) @ unit.T, F.normalize(targets, dim=1) @ unit.T
    prior = clustering.power_law_prior(K, 0.25)
    mean = (scores[0] / 0.1).softmax(dim=1).mean(dim=0)
    ours = clustering.msn([scores[0]], scores[1], 0.1, 0.025, entropy_weight=0.8, prior=prior)
    match = clustering.msn([scores[0]], scores[1], 0.1, 0.025, entropy_weight=0.0)
    agree(ours, match + 0.8 * (mean * (mean / prior).log()).sum())
    theirs = lightly_loss.PMSNLoss(temperature=0.1, sinkhorn_iterations=0, regularization_weight=0.8)
    agree(match + 0.8 * (prior * (prior / mean).log()).sum(), theirs(anchors, targets, prototypes), rel=1e-4)
    uniform = clustering.msn(
        [scores[0]], scores[1], 0.1, 0.025, entropy_weight=0.8, prior=torch.full((K,), 1 / K)
    )
    plain = lightly_loss.MSNLoss(temperature=0.1, sinkhorn_iterations=0, regularization_weight=0.8)
    agree(uniform, plain(anchors, targets, prototypes), rel=1e-4)


def views(count=3):
    return [rows(0, d=K) + 0.7 * rows(1 + v, d=K) for v in range(count)]


def drawn(count):
    """The directions that lightly draws after this seed."""
    torch.manual_seed(3)
    directions = gaussian.random_directions(K, count)
    torch.manual_seed(3)
    return directions


def test_lejepa():
    directions, z = drawn(64), views()
    agree(gaussian.sigreg(z[0], directions), lightly_loss.SIGReg(num_vectors=64)(z[0]))
    theirs = lightly_loss.LeJEPALoss(lambda_param=0.3, sigreg_num_vectors=64)
    ours = gaussian.lejepa(z, drawn(64), 0.3, n_global=2)
    agree(ours, theirs(local_proj=torch.stack(z[2:]), global_proj=torch.stack(z[:2])))
    # Its default weight is 0.05; that of the authors' minimal example, where all views are global, is 0.02.


def test_visreg():
    z = views()
    theirs = lightly_loss.VISRegLoss(
        0.3, num_slices=64, lambda_scale=2.0, lambda_shape=3.0, lambda_center=0.5, eps=1e-7
    )
    ours = gaussian.visreg(z, drawn(64), 0.3, 2, 2.0, 3.0, 0.5)
    agree(ours, theirs(local_proj=torch.stack(z[2:]), global_proj=torch.stack(z[:2])), rel=1e-4)
    # Its default eps is 1e-4, and is added to the deviation; the authors' code takes 1e-6 as the smallest deviation.


def test_mmcr():
    # lightly does not normalise, as the authors' loss does, and takes two sets of views of which the second comes from
    # a momentum encoder.
    unit = [F.normalize(z, dim=1) for z in views(4)]
    theirs = lightly_loss.MMCRLoss(lmda=0.3)(torch.stack(unit[:2], dim=1), torch.stack(unit[2:], dim=1))
    agree(second_moment.mmcr(views(4), 0.3), theirs)


def test_tico():
    theirs, memory = lightly_loss.TiCoLoss(beta=0.9, rho=8.0), torch.zeros(D, D)
    for seed in range(3):
        z1, z2 = rows(seed), rows(seed) + 0.5 * rows(seed + 9)
        memory = second_moment.tico_covariance(memory, z1, 0.9)
        agree(second_moment.tico(z1, z2, memory, 8.0), theirs(z1, z2))
    # Its default is rho = 20 (the code it follows says that the paper recommends 8), and its C gives no gradient.


def test_frossl():
    # lightly gives each column length 1, the authors' multi-view loss each row, and lightly's invariance is summed over
    # the views once more than solo-learn's, from which it was ported.
    z = views()
    theirs = lightly_loss.FroSSLLoss(invariance_weight=2.0)(z)
    agree(second_moment.frossl(z, len(z) * 2.0, "dimensions"), theirs)
    assert abs(second_moment.frossl(z, 2.0) - theirs) > 0.1


def test_emp_ssl_has_the_coding_rate_with_the_opposite_sign():
    """lightly adds the rate that the paper and the authors' code maximise, so that collapse is the best it can do."""
    unit = [F.normalize(z, dim=1) for z in views()]
    theirs, rate = lightly_loss.EMPSSLLoss(), sum(rate_reduction.coding_rate(z, 0.2) for z in unit) / 3
    agree(rate_reduction.emp_ssl(views()) + 2 * rate, theirs(unit))
    point = [F.normalize(torch.ones(N, K), dim=1)] * 3
    assert theirs(point) < theirs([torch.eye(K)] * 3)
    assert rate_reduction.emp_ssl(point) > rate_reduction.emp_ssl([torch.eye(K)] * 3)
