"""On a (pretended) GPU: losses, measures, methods, resuming, evaluation.  No mixed devices, and the CPU's numbers.

Over 400 lines: one list of losses and methods, against which all of the package is held.
"""

import functools
import math

import pretend_gpu
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.utils._pytree import tree_leaves, tree_map_only

from ssl_lessons import data, diagnostics, evaluation, losses
from ssl_lessons.book import capstone
from ssl_lessons.methods import METHODS, build_method, takes
from ssl_lessons.models import build_encoder, load_encoder
from ssl_lessons.training import Monitor, loop, pretrain, throughput, time_steps
from ssl_lessons.training.recipes import RECIPES
from ssl_lessons.views import Policy

CPU, GPU = torch.device("cpu"), torch.device("cuda")

# ---- losses and measures: every public function, called with the same tensors on either device ----------------------


def ingredients() -> dict[str, Tensor]:
    """What the losses are called with; float tensors carry a gradient."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=g)

    made = {
        "a": normal(12, 4), "b": normal(12, 4), "c": normal(12, 4), "queue": normal(10, 4), "bank": normal(20, 4),
        "center": normal(4), "prototypes": normal(3, 4), "u": normal(12), "v": normal(12),
        "patches": normal(3, 6, 5), "others": normal(3, 6, 5), "blocks": normal(2, 2, 3, 4), "more": normal(2, 2, 3, 4),
        "center5": normal(5), "phi": torch.tensor([0.1, 0.2, 0.3]),
        "labels": torch.arange(12) % 3, "sizes": torch.tensor([5, 4, 3]), "index": torch.arange(12) + 2,
        "noise": torch.randint(20, (12, 6), generator=g), "codes": torch.randint(5, (3, 6), generator=g),
        "mask": torch.arange(18).view(3, 6) % 2 == 0, "same": torch.arange(12) % 2 == 0,
    }  # fmt: skip
    return {name: t.requires_grad_() if t.is_floating_point() else t for name, t in made.items()}


PAIR = lambda f, t: f(t["a"], t["b"])  # noqa: E731
ONE = lambda f, t: f(t["a"])  # noqa: E731
VIEWS = lambda f, t: f([t["a"], t["b"], t["c"]])  # noqa: E731
LABELLED = lambda f, t: f(t["a"], t["labels"])  # noqa: E731
LOSSES = {
    "align_uniform": PAIR, "barlow_twins": PAIR, "byol": PAIR, "dcl": PAIR, "dclw": PAIR, "debiased_contrastive": PAIR,
    "hard_negative": PAIR, "info_nce": PAIR, "n_pair": PAIR, "nat": PAIR, "nat_assignment": PAIR,
    "negative_cosine": PAIR, "nt_xent": PAIR, "relic": PAIR, "spectral_contrastive": PAIR, "update_center": None,
    "vicreg": PAIR, "vicreg_invariance": PAIR, "w_mse": PAIR,
    "balancing_center": ONE, "hsic": ONE, "koleo": ONE, "sela_labels": ONE, "sinkhorn_knopp": ONE, "vcreg": ONE,
    "vicreg_covariance": ONE, "vicreg_variance": ONE, "whiten": ONE, "normalized_patches": ONE,
    "lifted_structure": LABELLED, "nca": LABELLED, "semi_hard_triplets": LABELLED, "soft_nearest_neighbor": LABELLED,
    "beit": lambda f, t: f(t["patches"], t["codes"], t["mask"]),
    "causal_lm": lambda f, t: f(t["patches"], t["codes"], t["mask"]),
    "masked_lm": lambda f, t: f(t["patches"], t["codes"], t["mask"]),
    "masked_diffusion": lambda f, t: f(
        t["patches"], t["codes"], t["mask"], t["patches"].detach()[:, 0, 0].sigmoid(), torch.ones_like(t["mask"])),
    "replaced_token": lambda f, t: f(t["patches"].sum(2), t["codes"] > 0, t["mask"]),
    "best_matches": lambda f, t: f(t["patches"], t["others"]),
    "debias": lambda f, t: f(t["a"].softmax(1), 0.2),
    "dense_info_nce": lambda f, t: f(t["patches"], t["others"], losses.best_matches(t["patches"], t["others"])),
    "consistency": PAIR,
    "pseudo_label": ONE, "sharpen": lambda f, t: f(t["a"].softmax(1), 0.5),
    "mixmatch": lambda f, t: f(*(g(t[k]) for k in ("a", "b") for g in (lambda x: x, lambda x: x.detach().softmax(1)))),
    "vat": lambda f, t: f(lambda x: x.square() @ t["b"].T, t["a"], 0.5, torch.Generator().manual_seed(0)),
    "vime": lambda f, t: f(t["a"], t["b"].detach() > 0, t["b"], t["c"].detach()),
    "subtab": lambda f, t: f([t["a"], t["b"]], [t["b"], t["c"]], t["a"].detach()),
    "saint": lambda f, t: f(t["a"], t["b"], t["c"], t["a"].detach()),
    "time_contrast": lambda f, t: f(t["patches"], t["others"]), "slowness": lambda f, t: f(t["patches"]),
    "cycle_walk": lambda f, t: f(t["blocks"]),
    "copy_colours": lambda f, t: f(t["patches"], t["others"], t["codes"] * 0, t["codes"]),
    "intra_negatives": lambda f, t: f(t["a"], t["b"], torch.stack([t["c"], t["a"] * 2], dim=1)),
    "dgi": lambda f, t: f(t["a"], t["b"], t["c"][:4]), "scaled_cosine": PAIR,
    "infograph": lambda f, t: f(t["a"], t["prototypes"], t["labels"]),
    "dual_criteria": ONE, "ssl_hsic": PAIR, "neighbor_log_probs": ONE,
    "i_con": lambda f, t: f(t["b"].detach().softmax(1), t["a"].log_softmax(1)),
    "nearest_places": lambda f, t: f((t["patches"] @ t["others"].mT).detach(), 3),
    "neighbor_probs": lambda f, t: f(t["a"].softmax(1)),
    "similar_neighbours": lambda f, t: f(t["patches"][:, :4], 2, 3),
    "vicreg_places": lambda f, t: f(t["patches"], t["others"]),
    "vicregl_local": lambda f, t: f(*(t[k] for k in ("patches", "others")), *(
        t[k][..., :2].detach() for k in ("others", "patches")), 3),
    "cca": lambda f, t: f(t["a"], t["b"], 2, 0.1).correlations,
    "contrastive_pairs": lambda f, t: f(t["a"], t["b"], t["same"]),
    "data2vec": lambda f, t: f(t["patches"], t["others"], t["mask"]),
    "data2vec_targets": lambda f, t: f([t["patches"], t["others"]], 2),
    "dcca": lambda f, t: f(t["a"], t["b"], 2),
    "deepcluster": lambda f, t: f(t["a"], t["labels"], torch.cat([t["sizes"], t["sizes"][:1]])),
    "dino": lambda f, t: f([t["a"], t["b"]], [t["c"]], t["center"]),
    "ibot": lambda f, t: f(t["patches"], t["others"], t["mask"], t["center5"]),
    "ijepa": lambda f, t: f(t["blocks"], t["more"]),
    "instdisc": lambda f, t: f(t["a"], t["bank"], t["index"], proximal=1.0),
    "instdisc_nce": lambda f, t: f(t["a"], t["bank"], t["index"], t["noise"], 30.0, proximal=1.0),
    "instdisc_normalizer": lambda f, t: f(t["a"], t["bank"], t["noise"]),
    "isd": lambda f, t: f(t["a"], t["b"], t["queue"]),
    "kmeans": lambda f, t: f(t["a"], 3),
    "mae": lambda f, t: f(t["patches"], t["others"], t["mask"]),
    "msf": lambda f, t: f(t["a"], t["b"], t["queue"], 3),
    "msn": lambda f, t: f([t["a"], t["b"]], t["c"], iterations=2, prior=losses.power_law_prior(4)),
    "nce": lambda f, t: f(t["u"], t["v"], t["u"] - 1, t["v"] + 1),
    "nearest_neighbors": lambda f, t: f(t["a"], t["queue"]),
    "nnclr": lambda f, t: f(t["a"], t["b"], t["queue"]),
    "phi_psi": lambda f, t: [f(t["a"], t["b"], *pair) for pair in losses.phi_psi_table(1.0).values()],
    "phi_psi_table": None,
    "power_law_prior": None,
    "protonce": lambda f, t: f(t["a"], t["b"], [t["prototypes"]], [t["labels"]], [t["phi"].detach()]),
    "prototype_concentration": lambda f, t: f(t["a"], t["prototypes"], t["labels"]),
    "salt": lambda f, t: f(t["blocks"], t["more"]),
    "capi": lambda f, t: f(t["patches"], t["others"].detach().softmax(2), t["mask"]),
    "capi_targets": lambda f, t: f(t["patches"].detach()),
    "simmim": lambda f, t: f(t["patches"], t["others"], t["mask"]),
    "supcon": lambda f, t: f(t["a"], t["b"], t["labels"]),
    "swav": lambda f, t: f([t["a"], t["b"]], queue=[t["queue"], t["queue"]]),
    "triplet": lambda f, t: f(t["a"], t["b"], t["c"]),
    "coding_rate": ONE, "emp_ssl": VIEWS, "frossl": VIEWS, "mmcr": VIEWS,
    "gram_anchoring": lambda f, t: f(t["patches"], t["others"]),
    "lejepa": lambda f, t: f([t["a"], t["b"], t["c"]], t["queue"].T.detach()),
    "random_directions": None,
    "sigreg": lambda f, t: f(t["a"], t["queue"].T.detach()),
    "simdino": lambda f, t: f([t["a"], t["b"]], [t["c"].detach()], smooth=True),
    "tico": lambda f, t: f(t["a"], t["b"], losses.tico_covariance(0.1 * t["queue"].T @ t["queue"], t["a"])),
    "tico_covariance": lambda f, t: f(0.1 * t["queue"].T @ t["queue"], t["a"], center=True),
    "looc": lambda f, t: f([t["a"], t["b"]], [[t["b"], t["c"]], [t["c"], t["a"]]]),
    "visreg": lambda f, t: f([t["a"], t["b"], t["c"]], t["queue"].T.detach()),
    "visreg_regularization": lambda f, t: f(t["a"], t["queue"].T.detach()),
    "clip": lambda f, t: f(t["a"], t["b"], 5.0, 0.75, t["queue"]), "siglip": PAIR,
    "mil_nce": lambda f, t: f(t["a"], torch.stack([t["b"], t["c"]], dim=1)),
    "codebook_diversity": lambda f, t: f(t["patches"].softmax(2)), "gumbel_codes": ONE,
    "cola": lambda f, t: f(t["a"], t["b"], t["b"].T @ t["b"]),
    "cpc": lambda f, t: f(t["patches"], t["others"], (t["others"][0].T @ t["others"][0])[None]),
    "hubert": lambda f, t: f(t["patches"], t["others"][0], t["codes"] % t["others"].shape[1], t["mask"]),
    "wav2vec2": lambda f, t: f(t["a"], t["b"], torch.arange(len(t["a"]), device=t["a"].device)[:, None].flip(0)),
}  # fmt: skip
LOSSES["update_center"] = lambda f, t: f(t["center"], t["a"])
MEASURES = {
    "alignment": PAIR, "alpha_req": lambda f, t: f(t["bank"]), "feature_correlation": ONE, "feature_std": ONE,
    "lidar": lambda f, t: f(t["a"].view(3, 4, 4)), "norm_statistics": ONE, "rank_me": ONE, "singular_values": ONE,
    "sigreg": ONE, "spread": ONE, "uniformity": ONE, "spectrum_area": ONE, "two_nn": ONE, "views_found": PAIR,
    "cluster_learnability": lambda f, t: f(t["a"], 3),
    "mst_dimension": lambda f, t: f(torch.cat([t["a"] + 0.1 * k * t["b"] for k in range(9)])),
    "assignment_information": lambda f, t: f(t["a"].softmax(1)),
    "cluster_usage_entropy": lambda f, t: f(t["a"].softmax(1)),
    "diagnose": lambda f, t: f(t["a"]).evidence,
}  # fmt: skip


def on(device, tensors: dict, dtype=None) -> dict:
    """The tensors on a device, as leaves with their gradients still to come; floats in another dtype if given."""
    moved = {k: t.detach().to(device, dtype if t.is_floating_point() else None) for k, t in tensors.items()}
    return {k: moved[k].requires_grad_(t.requires_grad) for k, t in tensors.items()}


def outcome(function, call, tensors: dict) -> tuple[list, dict]:
    """The values of a call, tensors or numbers, and the gradients of their sum."""
    values = [v for v in tree_leaves(call(function, tensors)) if isinstance(v, (Tensor, float, int))]
    through = [v.sum() for v in values if isinstance(v, Tensor) and v.requires_grad]
    if through:
        sum(through).backward()
    return values, {name: t.grad for name, t in tensors.items() if t.grad is not None}


def same(here, there) -> None:
    there = tree_map_only(Tensor, lambda t: t.detach().cpu(), there)
    here = tree_map_only(Tensor, lambda t: t.detach(), here)
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-5)


def check_loss(name, call):
    function = getattr(losses, name)
    here, there = (outcome(function, call, on(device, ingredients())) for device in (CPU, GPU))
    assert all(v.is_cuda for v in there[0] if isinstance(v, Tensor)), "the result is not on the GPU"
    same(here, there)
    with torch.autocast("cuda", dtype=torch.float16):
        values, gradients = outcome(function, call, on(GPU, ingredients(), torch.float16))
    for value in tree_leaves([values, gradients]):
        assert torch.as_tensor(value).isfinite().all()


def check_measure(name, call):
    function = getattr(diagnostics, name)
    here, there = (outcome(function, call, on(device, ingredients())) for device in (CPU, GPU))
    same(here, there)


@pretend_gpu.on_a_gpu
def test_losses():
    assert set(LOSSES) == set(losses.__all__)
    pretend_gpu.each({name: call for name, call in LOSSES.items() if call is not None}, check_loss)


@pretend_gpu.on_a_gpu
def test_measures():
    assert set(MEASURES) == set(diagnostics.__all__) - {"VERDICTS", "CollapseReport", "teacher_distance"}
    pretend_gpu.each(MEASURES, check_measure)
    student, teacher = torch.nn.Linear(2, 2).cuda(), torch.nn.Linear(2, 2).cuda()
    distance = diagnostics.teacher_distance([(student, teacher)])
    assert distance == pytest.approx(diagnostics.teacher_distance([(student.cpu(), teacher.cpu())]), rel=1e-6)


# ---- methods: train, measure, save, stop, go on elsewhere -----------------------------------------------------------

N, STEPS = 40, 4
PATCHES = {"ibot", "dinov2", "mae", "simmim", "beit", "data2vec", "ijepa", "crossmae", "salt", "selfpatch"}
# They draw random numbers on the device, and the other device does not have its state.
DRAWS_THERE = {"deepcluster", "mochi", "msn", "pirl"}
OPTIONS = {
    "beit": {"codes": 8}, "data2vec": {"top_k": 2}, "ijepa": {"predictor_dim": 16, "predictor_depth": 1, "targets": 2},
    "crossmae": {"decoder_dim": 16}, "salt": {"predictor_dim": 16, "predictor_depth": 1},
    "mae": {"decoder_dim": 16}, "w_mse": {"out_dim": 4, "sub_batch": 0}, "directclr": {"channels": 8},
    "deepcluster": {"clusters": 4, "pca_dim": 8, "refresh_every": 2}, "online_deepcluster": {"clusters": 4},
    "sela": {"clusters": 4, "refresh_every": 2}, "pcl": {"clusters": 4, "refresh_every": 2},
}  # fmt: skip


@functools.cache
def tiny() -> data.ImageSet:
    """Labelled images of 16 pixels."""
    drawn = data.shapes("train", 32, N)
    return data.ImageSet(
        avg_pool2d(drawn.images.float(), 2).byte(), drawn.labels, drawn.classes, "tiny", "train"
    )


def method(name):
    torch.manual_seed(0)
    if name in PATCHES:
        encoder = build_encoder("vit", size=16, patch=4, dim=24, depth=2, heads=2)
    else:
        encoder = build_encoder("convnet", width=4, dim=16)
    facts = {"n_images": N, "n_classes": 10, "size": 16}
    return build_method(
        name, encoder, **OPTIONS.get(name, {}), **{k: v for k, v in facts.items() if takes(name, k)}
    )


def train(name, device, stop_after=None, **options):
    """(method, history) of a short run; stop_after: the method breaks off in the step after that one."""
    made, done = method(name), []
    plain = made.after_step

    def after_step(progress):
        plain(progress)
        done.append(progress)
        if len(done) - 1 == stop_after:
            raise KeyboardInterrupt

    made.after_step = after_step
    options = {
        "precision": "float32",
        "progress": False,
        "batch_size": 16,
        "steps": STEPS,
        "device": device,
    } | options
    try:
        history = pretrain(made, tiny().images, made.views(Policy(16)), labels=tiny().labels, **options)
    except KeyboardInterrupt:
        history = None
    return made, history


def course(history) -> list[float]:
    return [row["loss"] for row in history]


def check_method(name, folder):
    whole, history = train(name, CPU)
    for first, second in ((GPU, CPU), (CPU, GPU)):
        out = folder / f"{name} {first.type}"
        train(name, first, stop_after=2, out=out, checkpoint_every=2)
        resumed, rows = train(name, second, out=out, resume=True)
        known = 2 if name in DRAWS_THERE else STEPS
        assert course(rows)[:known] == pytest.approx(course(history)[:known], rel=2e-3, abs=1e-4), first
        assert all(map(math.isfinite, course(rows)))
        assert not any(t.is_cuda for t in (*resumed.parameters(), *resumed.buffers()))
        assert load_encoder(out)[0].dim == whole.encoder.dim
    monitor = Monitor(tiny()[:20], tiny()[20:], every=2)
    half, rows = train(name, GPU, precision=None, monitor=monitor, keep_on_device=True)
    assert all(p.is_cuda for p in half.parameters())
    assert all(math.isfinite(row["loss"]) for row in rows) and course(rows) != course(history)
    measured = [row for row in rows if "verdict" in row]
    assert len(measured) == 3 and all(0 <= row["knn"] <= 1 for row in measured)


def group(number: int) -> list[str]:
    return sorted(METHODS)[number::4]


@pytest.mark.parametrize("number", range(4))
@pretend_gpu.on_a_gpu
def test_methods(number):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        pretend_gpu.each(dict.fromkeys(group(number), Path(folder)), check_method)


@pretend_gpu.on_a_gpu
def test_a_run_begun_in_float16_goes_on_in_float32():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        train("simclr", GPU, stop_after=2, out=folder, checkpoint_every=2, precision=None)
        _, rows = train("simclr", CPU, out=folder, resume=True, precision=None)
    assert course(rows) == pytest.approx(course(train("simclr", CPU)[1]), rel=0.05)


# ---- how often the GPU waits ----------------------------------------------------------------------------------------


def waits_of(steps: int, **options):
    pretend_gpu.waits.clear()
    train("simclr", GPU, steps=steps, **options)
    return pretend_gpu.waits.copy()


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pretend_gpu.on_a_gpu
def test_the_loop_lets_the_gpu_work(precision):
    """Between two looks at the loss nothing waits; with loss scaling, PyTorch's GradScaler asks once per step."""
    short, long = (waits_of(steps, precision=precision) for steps in (20, 60))
    more = long - short
    for (what, line), times in more.most_common():
        print(f"{times:4d}  {what}  {line}")
    epochs = 40 / (N // 16)  # each has its order
    allowed = 40 / loop.READ_EVERY + epochs + (40 if precision == "float16" else 0)
    assert more.total() <= allowed


# ---- evaluation and planning ----------------------------------------------------------------------------------------


def features(device):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.randn(60, 5, generator=g)
    x[:, 0] += 2 * y
    return x[:40].to(device), y[:40].to(device), x[40:].to(device), y[40:].to(device)


def factors(y, x):
    return {"class": data.Factor(y, "categorical"), "size": data.Factor(x[:, 1], "continuous"),
            "angle": data.Factor(x[:, 2], "circular")}  # fmt: skip


def views_of(x, y):
    """Features and labels, and each picture's once more as tokens, as a map, as a mask."""
    tokens = torch.stack([x, x.flip(0)], dim=1)
    return {"x": x, "y": y, "tokens": tokens, "map": tokens.mT[..., None], "mask": y[:, None, None].expand(-1, 2, 2)}


SPLIT = lambda f, a, b: f(a["x"], a["y"], b["x"], b["y"])  # noqa: E731
EVALUATIONS = {
    "knn_accuracy": SPLIT, "linear_probe": SPLIT, "mlp_probe": SPLIT,
    "fit_probe": lambda f, a, b: f(a["x"], a["y"])[3],
    "label_efficiency": lambda f, a, b: SPLIT(lambda *split: f(*split, (1, 2), draws=2)[1]["mean"], a, b),
    "factor_probe": lambda f, a, b: f(a["x"], factors(a["y"], a["x"]), b["x"], factors(b["y"], b["x"])),
    "precision_at_k": lambda f, a, b: f(a["x"], a["y"], 3),
    "recall_at_k": lambda f, a, b: f(a["x"], a["y"], 3),
    "mean_average_precision": lambda f, a, b: f(b["x"], b["y"], a["x"], a["y"]),
    "purity": lambda f, a, b: f(a["y"], a["y"].flip(0)),
    "edges": lambda f, a, b: f((50 * a["map"].abs()).byte().expand(-1, -1, -1, 2), 1),
    "attentive_probe": lambda f, a, b: f(a["tokens"], a["y"], b["tokens"], b["y"], queries=1, steps=3),
    "dense_probe": lambda f, a, b: f(a["map"], a["mask"], b["map"], b["mask"], steps=5)[:1],
    "intersection_over_union": lambda f, a, b: f(a["mask"], a["mask"].flip(0), 3),
    "region_similarity": lambda f, a, b: f(a["mask"] > 0, a["mask"].flip(0) > 0),
    "contour_accuracy": lambda f, a, b: f(a["mask"] > 0, a["mask"].flip(0) > 0),
    "propagate": lambda f, a, b: f(a["map"], a["map"].flip(0), a["map"].abs(), 1),
    "pgd": lambda f, a, b: f(energy, a["x"], 0.1, 3, low=-9, high=9, generator=torch.Generator().manual_seed(0)),
}


def energy(x):
    return x.square().sum()


def evaluate(call, name, device):
    x, y, test_x, test_y = features(device)
    return call(getattr(evaluation, name), views_of(x, y), views_of(test_x, test_y))


def check_evaluation(name, call):
    same(evaluate(call, name, CPU), evaluate(call, name, GPU))


@pretend_gpu.on_a_gpu
def test_evaluation():
    others = {"AttentivePool", "DenseResult", "FineTuned", "HeadResult", "PROBE_CS", "ProbeResult"}
    others |= {"extract_features", "pixels", "fine_tune", "fine_tune_efficiency"}  # below, and in test_fine_tuning
    others |= {"labels_needed", "layer_groups"}  # numbers only; groups of parameters where they are
    assert set(EVALUATIONS) == set(evaluation.__all__) - others
    pretend_gpu.each(EVALUATIONS, check_evaluation)
    encoder, pictures = build_encoder("convnet", width=4, dim=16), tiny().images
    expected = evaluation.extract_features(encoder, pictures, device=CPU)
    for home in ("cpu", "cuda"):
        encoder.to(home)
        for place in ("cpu", "cuda"):
            found = evaluation.extract_features(encoder, pictures.to(place))
            same(expected, found)
            assert not found.is_cuda and next(encoder.parameters()).device.type == home
    same(evaluation.pixels(pictures), evaluation.pixels(pictures.cuda()))


def fine_tuned(encoder, pictures, device, steps=4, **options):
    """The trained encoder and head, from pictures and labels where they are."""
    labels = (torch.arange(N) % 3).to(pictures.device)
    options |= {"policy": Policy(16, brightness=0.4), "batch_size": 16, "steps": steps, "device": device}
    return evaluation.fine_tune(encoder, pictures, labels, pictures[:9], labels[:9], **options)


@pretend_gpu.on_a_gpu
def test_fine_tuning():
    torch.manual_seed(0)
    encoder, pictures = build_encoder("convnet", width=4, dim=16), tiny().images
    expected = fine_tuned(encoder, pictures, CPU)
    for home in ("cpu", "cuda"):
        encoder.to(home)
        for place in ("cpu", "cuda"):
            torch.cuda.manual_seed(7)
            before = torch.cuda.get_rng_state()
            found = fine_tuned(encoder, pictures.to(place), None)
            assert torch.equal(torch.cuda.get_rng_state(), before)
            assert next(encoder.parameters()).device.type == home
            weights = found.encoder.state_dict() | found.head.state_dict()
            assert not any(w.is_cuda for w in weights.values())
            for part, wanted in zip(found[1:], expected[1:], strict=True):
                torch.testing.assert_close(part.state_dict(), wanted.state_dict(), rtol=1e-3, atol=1e-3)
    (row,) = evaluation.fine_tune_efficiency(
        encoder, pictures, tiny().labels.cuda(), pictures, tiny().labels, per_class=(1,), draws=2, steps=2
    )
    assert len(row["accuracies"]) == 2


@pretend_gpu.on_a_gpu
def test_fine_tuning_lets_the_gpu_work():
    """Only the loss is looked at, now and then."""
    encoder = build_encoder("convnet", width=4, dim=16)
    for place in ("cpu", "cuda"):
        counted, pictures = [], tiny().images.to(place)
        for steps in (20, 60):
            pretend_gpu.waits.clear()
            fine_tuned(encoder, pictures, GPU, steps)
            counted.append(pretend_gpu.waits.copy())
        more = counted[1] - counted[0]
        for (what, line), times in more.most_common():
            print(f"{times:4d}  {what}  {line}")
        assert more.total() == 2


@pretend_gpu.on_a_gpu
def test_planning():
    simclr, policy = method("simclr"), Policy(16)
    assert time_steps(simclr, tiny().images, (policy, policy), 16, steps=2) > 0
    for dtype in (None, torch.float16):
        parts = throughput.time_parts(simclr, tiny().images, policy, 16, steps=2, device=GPU, dtype=dtype)
        assert set(parts) == set(throughput.PARTS) and min(parts.values()) > 0
    assert not any(p.is_cuda for p in simclr.parameters())
    work = throughput.count(simclr, 16, 8)
    assert throughput.count(simclr.cuda(), 16, 8) == work and work.flops > 0
    recipe = RECIPES["quick"].with_(batch_size=16, epochs=2)
    budget = capstone.plan(recipe, data.shapes("unlabeled", 32, N), steps=5)
    assert budget.steps == 5 and budget.seconds_per_step > 0
