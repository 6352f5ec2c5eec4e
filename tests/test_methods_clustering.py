"""The clustering methods: their loss is the published one, their memories are right, every parameter learns."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons.data import shapes
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import extract_features
from ssl_lessons.losses import clustering as losses
from ssl_lessons.losses import info_nce
from ssl_lessons.methods.deepcluster import DeepCluster, whiten
from ssl_lessons.methods.msn import MSN
from ssl_lessons.methods.online_deepcluster import OnlineDeepCluster
from ssl_lessons.methods.pcl import PCL
from ssl_lessons.methods.sela import SeLa
from ssl_lessons.methods.swav import SwAV
from ssl_lessons.models import ViT, build_encoder
from ssl_lessons.training import pretrain
from ssl_lessons.views import Policy

IMAGES = shapes("unlabeled", 16, 48).images
INDEX = torch.tensor([3, 9, 41, 0, 17, 5, 28, 30])
POLICY = Policy.simclr(16)
MAKE = {
    "swav": lambda e: SwAV(e, prototypes=8, out_dim=12),
    "deepcluster": lambda e: DeepCluster(e, 48, clusters=6, refresh_every=4, pca_dim=8, out_dim=12),
    "online_deepcluster": lambda e: OnlineDeepCluster(
        e, 48, clusters=6, refresh_every=2, smallest=3, out_dim=12
    ),
    "sela": lambda e: SeLa(e, 48, clusters=6, heads=2, refresh_every=4, out_dim=12),
    "pcl": lambda e: PCL(e, 48, clusters=3, levels=2, refresh_every=4, out_dim=12),
    "msn": lambda e: MSN(e, prototypes=8, anchors=2, out_dim=12),
}


def small():
    torch.manual_seed(0)
    return build_encoder("convnet", width=4, dim=16)


def make(name):
    return MAKE[name](small())


def batch(method, n=8, seed=1):
    policies = method.views(POLICY)
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 3, p.size, p.size, generator=g) for p in policies]


def extract(module):
    return extract_features(module, IMAGES)


def loss_of(method, views):
    return method(views, None, INDEX) if method.needs_index else method(views)


@pytest.mark.parametrize("name", MAKE)
def test_gradients_reach_every_parameter_but_no_teacher(name):
    method = make(name)
    for _ in range(2):
        method.refresh(extract)
    loss = loss_of(method, batch(method))
    assert loss.shape == () and loss.isfinite()
    loss.backward()
    for parameter_name, p in method.named_parameters():
        if parameter_name.startswith("teacher"):
            assert p.grad is None and not p.requires_grad
        else:
            assert p.grad is not None and p.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", MAKE)
def test_a_few_steps_lower_the_loss(name):
    method = make(name)
    for _ in range(2):
        method.refresh(extract)
    views, opt, values = batch(method), torch.optim.Adam(method.parameters(), 1e-2), []
    for _ in range(15):
        torch.manual_seed(0)  # the same masks
        values.append(loss_of(method, views))
        opt.zero_grad()
        values[-1].backward()
        opt.step()
    assert values[-1] < values[0] - 0.05


@pytest.mark.parametrize("name", MAKE)
def test_a_resumed_run_ends_with_the_same_weights(name, tmp_path):
    def run(method, folder=None, resume=False, steps_before_kill=None):
        settings = {"steps": 10, "batch_size": 16, "progress": False, "checkpoint_every": 5}
        if steps_before_kill:
            real = method.after_step

            def killed(progress):
                real(progress)
                if progress * 10 > steps_before_kill:
                    raise KeyboardInterrupt

            method.after_step = killed
        pretrain(method, IMAGES, method.views(POLICY), **settings, out=folder, resume=resume)
        return method.state_dict()

    whole = run(make(name))
    with pytest.raises(KeyboardInterrupt):
        run(make(name), tmp_path, steps_before_kill=7)
    resumed = run(make(name), tmp_path, resume=True)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.parametrize("name", MAKE)
def test_assignments_are_probabilities(name):
    method = make(name)
    for _ in range(2):
        method.refresh(extract)
    method.eval()
    views = batch(method)
    p, z = method.assign(views[0]), method.embed(views[0])
    assert z.shape == (8, 12) and (p >= 0).all()
    assert torch.allclose(p.sum(dim=1), torch.ones(8), atol=1e-5)
    chance = method.chance_loss(8)
    expected = {"swav": 8, "msn": 1, "pcl": 8 * math.sqrt(3 * 6)}.get(name, 6)
    assert chance == pytest.approx(math.log(expected), abs=1e-6)


@pytest.mark.parametrize("name", ["pcl", "msn"])
def test_the_teacher_follows_the_student(name):
    method = make(name)
    student, teacher = method.momentum_pairs()[0]
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1.0)
    before = [p.clone() for p in teacher.parameters()]
    method.after_step(0.5)
    for old, new, s in zip(before, teacher.parameters(), student.parameters(), strict=True):
        assert torch.allclose(new, method.momentum * old + (1 - method.momentum) * s, atol=1e-6)


# --- SwAV ------------------------------------------------------------------------------------------


def test_swav_is_the_swapped_prediction_of_its_scores():
    method = make("swav").eval()
    views = batch(method)
    weight = F.normalize(method.prototypes.weight, dim=1)
    scores = [F.normalize(method.projector(method.encoder(v)), dim=1) @ weight.T for v in views]
    assert torch.allclose(method(views), losses.swav(scores, method.temperature, method.epsilon), atol=1e-5)
    plain = SwAV(small(), prototypes=8, out_dim=12, sinkhorn=False).eval()
    plain.load_state_dict(method.state_dict())
    assert torch.allclose(plain(views), losses.swav(scores, plain.temperature, plain.epsilon, 0), atol=1e-5)


def test_swav_multi_crop():
    method = SwAV(small(), prototypes=8, out_dim=12, n_small=3).eval()
    policies = method.views(POLICY)
    assert [p.size for p in policies] == [16, 16, 8, 8, 8]
    assert policies[-1].crop_scale[1] < policies[0].crop_scale[1]
    views = batch(method)
    scores = [method.scores(method.embed(v)) for v in views]
    assert torch.allclose(method(views), losses.swav(scores, method.temperature, method.epsilon), atol=1e-5)
    with pytest.raises(InputError, match="5 views"):
        method(views[:2])


def test_swav_prototypes_stay_on_the_sphere_and_rest_at_first():
    method = SwAV(small(), prototypes=8, out_dim=12, frozen_steps=2)
    opt = torch.optim.SGD(method.parameters(), 1.0)
    moved = []
    for _ in range(4):
        before = method.prototypes.weight.detach().clone()
        opt.zero_grad()
        method(batch(method)).backward()
        opt.step()
        method.after_step(0.1)
        moved.append(not torch.allclose(before, method.prototypes.weight, atol=1e-6))
        assert torch.allclose(method.prototypes.weight.norm(dim=1), torch.ones(8), atol=1e-5)
    assert moved == [False, False, True, True]


def test_swav_queue_keeps_the_latest_and_joins_when_full():
    method = SwAV(small(), prototypes=8, out_dim=12, queue_length=12)
    plain = SwAV(small(), prototypes=8, out_dim=12)
    plain.load_state_dict(method.state_dict() | {"queue": plain.queue})
    values = []
    for seed in range(3):
        views = batch(method, seed=seed)
        values.append((method(views).item(), plain(views).item()))
    assert values[0][0] == values[0][1] and values[1][0] == values[1][1]
    assert values[2][0] != values[2][1]  # 16 embeddings have passed: full
    latest = method.train()(views)
    z = plain.embed(torch.cat(views)).chunk(2)
    assert latest.isfinite() and torch.allclose(method.queue[1, :8], z[1], atol=1e-4)
    kept = method.queue.clone()
    method.eval()(views)
    assert torch.equal(kept, method.queue)


# --- DeepCluster, ODC, SeLa ------------------------------------------------------------------------


def test_whitened_features_are_white_before_they_are_normalised():
    x = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) @ torch.diag(
        torch.tensor([9.0, 5, 3, 1, 0.1, 0])
    )
    w = whiten(x, 3)
    assert w.shape == (500, 3) and torch.allclose(w.norm(dim=1), torch.ones(500))
    second_moment = w.T @ w / 500
    assert torch.allclose(second_moment, torch.eye(3) / 3, atol=0.03)
    assert whiten(x, 20).shape == (500, 5)  # the last column has no variance


def test_deepcluster_refresh_labels_all_images_and_resets_the_classifier():
    method = make("deepcluster")
    old = method.classifier.weight.detach().clone()
    method.refresh(extract)
    assert not torch.equal(old, method.classifier.weight)
    features = whiten(extract(torch.nn.Sequential(method.encoder, method.projector)), 8)
    expected, _ = losses.kmeans(features, 6)
    assert torch.equal(method.pseudo_labels, expected)
    assert (
        torch.equal(method.sizes, torch.bincount(expected, minlength=6).float()) and (method.sizes > 0).all()
    )


def test_deepcluster_loss_uses_the_labels_of_the_images_at_hand():
    method = make("deepcluster")
    method.refresh(extract)
    torch.nn.init.normal_(method.classifier.weight)
    method.eval()
    views = batch(method)
    logits = method.classifier(method.embed(torch.cat(views)))
    y = method.pseudo_labels[INDEX].repeat(2)
    assert torch.allclose(method(views, None, INDEX), F.cross_entropy(logits, y, 1 / method.sizes))
    assert not torch.allclose(method(views, None, INDEX), method(views, None, INDEX.flip(0)))
    method.balance = False
    assert torch.allclose(method(views, None, INDEX), F.cross_entropy(logits, y))


def test_odc_remembers_features_and_relabels_only_this_batch():
    method = make("online_deepcluster")
    method.refresh(extract)
    memory, labels = method.memory.clone(), method.pseudo_labels.clone()
    assert torch.allclose(memory.norm(dim=1), torch.ones(48), atol=1e-5)
    views = batch(method)
    method(views, None, INDEX)
    others = torch.ones(48, dtype=torch.bool)
    others[INDEX] = False
    assert torch.equal(memory[others], method.memory[others])
    assert torch.equal(labels[others], method.pseudo_labels[others])
    assert (method.memory[INDEX] - memory[INDEX]).norm(dim=1).min() > 1e-3
    nearest = torch.cdist(method.memory[INDEX], method.centroids).argmin(dim=1)
    assert torch.equal(method.pseudo_labels[INDEX], nearest)
    method.eval()
    before = method.memory.clone()
    method(views, None, INDEX)
    assert torch.equal(before, method.memory)


def test_odc_centroids_are_the_means_of_the_memory_and_small_clusters_dissolve():
    method = make("online_deepcluster")
    method.refresh(extract)

    def must_not(module):
        raise AssertionError("ODC extracts features once")

    method.pseudo_labels.fill_(0)
    method.pseudo_labels[0] = 1  # five clusters below the smallest size
    method.refresh(must_not)
    sizes = torch.bincount(method.pseudo_labels, minlength=6)
    assert sizes.sum() == 48 and (sizes > 0).all() and sizes.max() < 48
    for j in range(6):
        assert torch.allclose(
            method.centroids[j], method.memory[method.pseudo_labels == j].mean(dim=0), atol=1e-5
        )


def test_sela_labels_every_head_evenly():
    method = make("sela")
    method.refresh(extract)
    z = extract(torch.nn.Sequential(method.encoder, method.projector))
    for head, labels in zip(method.classifiers, method.pseudo_labels, strict=True):
        assert torch.equal(labels, losses.sela_labels(head(z).log_softmax(dim=1)))
        assert torch.bincount(labels, minlength=6).max() <= 16  # 8 each if the transport were exact
    assert not torch.equal(*method.pseudo_labels)
    method.eval()
    views = batch(method)
    z = method.embed(torch.cat(views))
    expected = [
        F.cross_entropy(head(z), y[INDEX].repeat(2))
        for head, y in zip(method.classifiers, method.pseudo_labels, strict=True)
    ]
    assert torch.allclose(method(views, None, INDEX), sum(expected) / 2)


# --- PCL -------------------------------------------------------------------------------------------


def test_pcl_is_info_nce_until_the_second_clustering_and_then_protonce():
    method = make("pcl").eval()
    views = batch(method)
    query, key = method.embed(views[0]), method.teacher(views[1])
    assert method.assign(views[0]) is None
    method.refresh(extract)
    assert torch.allclose(method(views, None, INDEX), info_nce(query, key, None, 0.2))
    method.refresh(extract)
    prototypes, labels, concentrations = method.clusterings(INDEX)
    assert [len(c) for c in prototypes] == [3, 6] and [len(y) for y in labels] == [8, 8]
    features = F.normalize(extract(method.teacher), dim=1)
    for level, k in enumerate((3, 6)):
        expected, means = losses.kmeans(features, k)
        assert torch.equal(method.pseudo_labels[level], expected) and torch.equal(
            labels[level], expected[INDEX]
        )
        assert torch.allclose(prototypes[level], F.normalize(means, dim=1), atol=1e-6)
        assert concentrations[level].mean() == pytest.approx(0.2)
    expected = losses.protonce(query, key, prototypes, labels, concentrations, 0.2)
    assert torch.allclose(method(views, None, INDEX), expected, atol=1e-5)
    with pytest.raises(InputError, match="two views"):
        method(views[:1], None, INDEX)


# --- MSN -------------------------------------------------------------------------------------------


def test_msn_hides_the_asked_share_of_patches():
    class Spy(torch.nn.Module):
        dim = 16

        def forward(self, x):
            self.seen = x
            return x.flatten(1)[:, :16]

    method = MSN(Spy(), mask_ratio=0.25, patch=4)
    method.masked_features(torch.ones(5, 3, 16, 16))
    shown = method.encoder.seen.view(5, 3, 4, 4, 4, 4)[:, :, :, 0, :, 0]
    whole = method.encoder.seen.view(5, 3, 4, 4, 4, 4).amax(dim=(3, 5))
    assert torch.equal(shown, whole)  # a patch is hidden as a whole, in all colours
    assert (shown[:, 0].flatten(1).sum(dim=1) == 12).all()
    assert len({tuple(row) for row in shown[:, 0].flatten(1).tolist()}) > 1  # another mask for every image


def test_msn_drops_tokens_of_a_vit():
    torch.manual_seed(0)
    method = MSN(ViT(size=16, patch=4, dim=16, depth=1, heads=2), prototypes=8, mask_ratio=0.5, out_dim=12)
    views = batch(method)
    assert len(views) == 3 and method(views).isfinite()
    calls = []
    real = method.encoder.patches
    method.encoder.patches = lambda x, keep=None: calls.append(keep) or real(x, keep=keep)
    method.masked_features(views[0])
    assert calls[0].shape == (8, 8)


def test_msn_is_the_published_loss():
    method = MSN(small(), prototypes=8, mask_ratio=0.0, out_dim=12).eval()
    target, *anchors = views = batch(method)
    weight = F.normalize(method.prototypes.weight, dim=1)
    scores = [F.normalize(method.embed(v), dim=1) @ weight.T for v in anchors]
    goal = F.normalize(method.teacher(target), dim=1) @ weight.T
    assert torch.allclose(
        method(views),
        losses.msn(scores, goal, method.temperature, method.target_temperature, iterations=3),
        atol=1e-5,
    )
    power = MSN(small(), prototypes=8, mask_ratio=0.0, out_dim=12, prior_exponent=1.0).eval()
    power.load_state_dict(method.state_dict())
    prior = losses.power_law_prior(8, 1.0)
    assert torch.allclose(
        power(views),
        losses.msn(scores, goal, power.temperature, power.target_temperature, prior=prior, iterations=3),
        atol=1e-5,
    )
    with pytest.raises(InputError, match="3 views"):
        method(views[:2])


@pytest.mark.parametrize("ratio", [-0.1, 1.0])
def test_msn_refuses_to_hide_everything(ratio):
    with pytest.raises(InputError, match="mask_ratio"):
        MSN(small(), mask_ratio=ratio)
