"""The patients of the clinic: what was broken in each, what stayed whole, and which of them are the test.

The lines that `diagnose` draws were set on the cases "drawn on".  The test has other cases and other settings: learning
rates, temperatures, batch sizes, heads, widths, encoders and methods, written down before any of them was run, and
never to be used for moving a line.
"""

from dataclasses import dataclass, field, replace

import torch
from torch.nn.functional import cross_entropy

from ssl_lessons.losses.common import unit_rows
from ssl_lessons.methods import METHODS

DRAWN_ON, TEST = "drawn on", "test"
HEALTHY_STEPS = 120
IMAGES, BATCH = 4096, 64  # a fraction of the protocol of the families: what breaks, breaks in a few seconds
NO_COLOR = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "grayscale_p": 0.0}
STRONG = {
    "crop_scale": (0.02, 0.1),
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.5,
    "grayscale_p": 0.5,
}


# ---- what no method offers as a switch -----------------------------------------------------------------------


def no_negatives(method):
    """SimCLR whose loss only pulls partners together."""

    def forward(views, labels=None):
        z1, z2 = unit_rows(*method.pair(views))
        return (z1 - z2).square().sum(dim=1).mean()

    method.forward = forward


def wrong_pairs(method):
    """The second view belongs to another image: the batch was shuffled once too often."""
    healthy = method.forward

    def forward(views, labels=None):
        return healthy([views[0], views[1].roll(1, dims=0)])

    method.forward = forward


def detached(method):
    """The encoder and projector never get a gradient."""
    method.pair, healthy = lambda views: [z.detach() for z in healthy(views)], method.pair
    anchor = next(method.parameters())
    forward = method.forward
    method.forward = lambda views, labels=None: forward(views) + 0 * anchor.sum()


def raw_queue(method):
    """The queue keeps the keys with their length, and only the query and its own key have length 1."""

    def push(z):
        rows, n = method.queue.rows, len(z)
        rows.copy_(torch.cat([z, rows[:-n]]))

    def contrast(query, key):
        query, own = unit_rows(query, key)
        logits = torch.cat([(query * own).sum(dim=1, keepdim=True), query @ method.queue.rows.T], dim=1)
        return cross_entropy(logits / method.temperature, logits.new_zeros(len(query), dtype=torch.long))

    method.queue.push, method.contrast = push, contrast


BREAKS = {
    "raw_queue": raw_queue,
    "no_negatives": no_negatives,
    "wrong_pairs": wrong_pairs,
    "detached": detached,
}


@dataclass(frozen=True)
class Case:
    """A patient: what was done to a healthy method, and the name it ought to get."""

    name: str
    method: str
    what: str
    expected: str = "healthy"
    options: dict = field(default_factory=dict)  # of the method
    training: dict = field(default_factory=dict)  # of pretrain
    policy: dict = field(default_factory=dict)
    steps: int = 80
    images: int = IMAGES  # to train on
    broken_by: str = ""  # a function of BREAKS
    also: str = ""  # a second name that is right: which of the two it becomes, the seed decides
    encoder: str = ""  # another one than the recipe's
    encoder_options: dict = field(default_factory=dict)
    split: str = DRAWN_ON


COMPLETE, CLUSTER, DIMENSIONAL = "complete collapse", "cluster collapse", "dimensional collapse"
BROKEN = [
    Case("simsiam_no_predictor", "simsiam", "SimSiam without predictor", DIMENSIONAL, {"predictor": False},
         steps=200, also=COMPLETE),
    Case("simsiam_no_stop_gradient", "simsiam", "SimSiam without stop-gradient", COMPLETE, {"stop_gradient": False},
         steps=200),
    Case("byol_no_predictor_no_ema", "byol", "BYOL without predictor and moving average", COMPLETE,
         {"predictor": False, "momentum": 0.0, "rising": False}),
    Case("byol_no_predictor", "byol", "EMA teacher, but no predictor", COMPLETE,
         {"predictor": False, "momentum": 0.9, "rising": False}),
    Case("simclr_no_negatives", "simclr", "SimCLR without negatives (alignment only)", COMPLETE,
         broken_by="no_negatives"),
    Case("vicreg_no_variance", "vicreg", "VICReg without the variance term", COMPLETE, {"variance_weight": 0.0},
         steps=120),
    Case("vicreg_no_covariance", "vicreg", "VICReg without the covariance term", DIMENSIONAL,
         {"covariance_weight": 0.0}),
    Case("barlow_lambda_0", "barlow_twins", "Barlow Twins with lambda 0", DIMENSIONAL, {"lambd": 0.0}),
    Case("strong_augmentation", "simclr", "extreme augmentation, linear projector", "loss at chance", {"layers": 1},
         policy=STRONG),
    Case("dino_no_centering", "dino", "DINO without centring", CLUSTER, {"centering": False}),
    Case("dino_no_sharpening", "dino", "DINO without sharpening (teacher temperature 1)", CLUSTER,
         {"teacher_temperature": 1.0}),
    Case("swav_no_sinkhorn", "swav", "SwAV without Sinkhorn", CLUSTER, {"sinkhorn": False}),
    Case("temperature_high", "simclr", "temperature 20", DIMENSIONAL, {"temperature": 20.0}),
    Case("temperature_low", "simclr", "temperature 0.0005", "loss at chance", {"temperature": 0.0005}),
    Case("wrong_pairs", "simclr", "the second view is of another image", "loss at chance", broken_by="wrong_pairs"),
    Case("detached", "simclr", "no gradient reaches the encoder", "loss at chance", broken_by="detached"),
    Case("lr_high", "vicreg", "learning rate 250 times too high", "divergence", training={"lr": 1.0}),
    Case("raw_queue", "moco_v2", "a queue of keys that were not normalised", "divergence", broken_by="raw_queue"),
    Case("no_color_jitter", "simclr", "no colour jitter", "shortcut", policy=NO_COLOR, steps=120),
    Case("teacher_frozen", "byol", "teacher momentum 1", "teacher-student drift",
         {"momentum": 1.0}, steps=120),
]  # fmt: skip
# Two famous ways to break a method that did not break it here, in so short a run: an alarm would be a false one.
RESISTED = [
    Case("msn_no_entropy", "msn", "MSN without the mean-entropy term", options={"entropy_weight": 0.0}),
    Case("batchnorm_leak", "moco_v2", "BatchNorm over 4 images, keys not shuffled",
         options={"groups": 16, "shuffle": False}, steps=150),
]  # fmt: skip


def healthy_cases() -> list[Case]:
    """Every method as it comes, on its quick settings."""
    names = [name for name in METHODS if name != "supervised"]
    # W-MSE needs examples to whiten; SupCon, on batches of 64, stays at chance (and is told so): their recipe's batch.
    larger = {name: {"batch_size": 4 * BATCH} for name in ("w_mse", "supcon")}
    # Nothing can be learned from a memory bank, or a class per image, before the second visit of an image: fewer
    # images, more visits.
    banks = dict.fromkeys(
        ("instdisc", "pirl", "exemplar", "diet"), {"images": 512, "steps": 4 * HEALTHY_STEPS}
    )
    own = {"steps": HEALTHY_STEPS}
    return [
        Case(name, name, f"{name}, healthy", training=larger.get(name, {}), **own | banks.get(name, {}))
        for name in names
    ]


# ---- the test: nothing here was run while lines were drawn ---------------------------------------------------

CHANCE, DIVERGENCE, SHORTCUT, DRIFT = "loss at chance", "divergence", "shortcut", "teacher-student drift"
_LARGER, _SLOWER = {"batch_size": 2 * BATCH}, {"batch_size": 2 * BATCH, "lr": 1e-3}
_SGD = {"batch_size": 2 * BATCH, "lr": 0.1}
_WIDE, _NARROW = {"width": 24, "dim": 192}, {"width": 12, "dim": 128}
_SMALL_VIT = {"dim": 48, "depth": 2}

TEST_BROKEN = [
    Case("invariance_only", "vicreg", "VICReg with nothing but invariance", COMPLETE,
         {"variance_weight": 0.0, "covariance_weight": 0.0, "hidden_dim": 256, "out_dim": 128}, _SLOWER,
         steps=150, encoder_options=_WIDE),
    Case("deep_head_no_negatives", "simclr_v2", "SimCLR v2 without negatives", COMPLETE,
         {"hidden_dim": 128, "out_dim": 64}, _LARGER | {"lr": 2e-3}, broken_by="no_negatives"),
    Case("vit_no_negatives", "spectral", "a ViT and a loss that only pulls", COMPLETE, training={"lr": 1e-3},
         steps=100, broken_by="no_negatives", encoder="vit", encoder_options=_SMALL_VIT),
    Case("byol_fast_teacher_no_predictor", "byol", "BYOL, momentum 0.5, no predictor", COMPLETE,
         {"predictor": False, "momentum": 0.5, "rising": False, "out_dim": 256}, _SGD),
    Case("small_simsiam_no_stop_gradient", "simsiam", "a small SimSiam without stop-gradient", COMPLETE,
         {"stop_gradient": False, "hidden_dim": 128, "out_dim": 128, "bottleneck": 32}, _SGD, steps=200),
    Case("bottleneck_of_two", "simclr", "a projector through two units", DIMENSIONAL,
         {"hidden_dim": 2, "temperature": 0.2}, _LARGER),
    Case("deep_vicreg_no_covariance", "vicreg", "VICReg without covariance, three layers", DIMENSIONAL,
         {"covariance_weight": 0.0, "layers": 3, "hidden_dim": 256, "out_dim": 128}, _SLOWER, steps=120),
    Case("deep_barlow_lambda_0", "barlow_twins", "Barlow Twins with lambda 0, three layers", DIMENSIONAL,
         {"lambd": 0.0, "layers": 3, "out_dim": 128}, _SLOWER, encoder_options=_WIDE),
    Case("dcl_temperature_high", "dcl", "DCL at temperature 8", DIMENSIONAL, {"temperature": 8.0}, _LARGER),
    Case("small_simsiam_no_predictor", "simsiam", "a small SimSiam without predictor", DIMENSIONAL,
         {"predictor": False, "hidden_dim": 128, "out_dim": 128}, _SGD, steps=150, also=COMPLETE),
    Case("many_prototypes_no_sinkhorn", "swav", "SwAV without Sinkhorn, 128 prototypes, temperature 0.1", CLUSTER,
         {"sinkhorn": False, "prototypes": 128, "temperature": 0.1}, _SGD),
    Case("few_prototypes_no_centering", "dino", "DINO without centring, 64 prototypes", CLUSTER,
         {"centering": False, "prototypes": 64, "bottleneck": 32, "momentum": 0.9}, _LARGER | {"lr": 0.05}),
    Case("flat_teacher", "dino", "DINO whose teacher is softer than its student (0.5)", CLUSTER,
         {"teacher_temperature": 0.5, "prototypes": 128}, _SGD, steps=120),
    Case("ibot_no_centering", "ibot", "iBOT without centring", CLUSTER, {"centering": False},
         steps=60, encoder_options=_SMALL_VIT),
    Case("dcl_wrong_pairs", "dcl", "DCL whose second view is of another image", CHANCE, {"temperature": 0.3},
         _LARGER, broken_by="wrong_pairs"),
    Case("barlow_wrong_pairs", "barlow_twins", "Barlow Twins whose second view is of another image", CHANCE,
         {"out_dim": 128}, _SLOWER, broken_by="wrong_pairs"),
    Case("dcl_detached", "dcl", "DCL whose encoder gets no gradient", CHANCE, {"temperature": 0.3}, _LARGER,
         broken_by="detached", encoder_options=_NARROW),
    Case("learning_rate_zero", "simclr", "a learning rate of 1e-9", CHANCE, {"temperature": 0.5},
         {"batch_size": 2 * BATCH, "lr": 1e-9}),
    Case("mae_lr_high", "mae", "MAE, learning rate 100 times too high", DIVERGENCE, training={"lr": 0.3},
         encoder_options=_SMALL_VIT),
    Case("v1_raw_queue", "moco_v1", "MoCo v1, keys not normalised", DIVERGENCE,
         {"temperature": 0.2, "queue_size": 1024}, _SGD, broken_by="raw_queue"),
    Case("identical_views", "simclr", "both views are the image itself", SHORTCUT, {"temperature": 0.2},
         policy=NO_COLOR | {"crop_p": 0.0, "flip_p": 0.0}, steps=120),
    Case("deep_head_no_color_jitter", "simclr_v2", "SimCLR v2 without colour jitter", SHORTCUT,
         {"temperature": 0.07}, _LARGER | {"lr": 2e-3}, policy=NO_COLOR, steps=120),
    Case("moco_v3_frozen_teacher", "moco_v3", "MoCo v3, teacher momentum 1", DRIFT, {"momentum": 1.0}, steps=120),
    Case("msf_frozen_teacher", "msf", "mean shift, teacher momentum 1", DRIFT, {"momentum": 1.0}, _LARGER, steps=120),
]  # fmt: skip
_SETTINGS = {  # healthy, but on other settings than the quick recipe's: method -> options, training, encoder
    "simclr": ({"temperature": 0.3, "hidden_dim": 512, "out_dim": 64}, _LARGER | {"lr": 2e-3}, _WIDE),
    "simclr_v2": ({"temperature": 0.2, "batch_norm": False}, _LARGER | {"lr": 2e-3}, {}),
    "dcl": ({"temperature": 0.3}, _LARGER, _WIDE),
    "spectral": ({"radius": 3.0}, _LARGER, _NARROW),
    "nnclr": ({"temperature": 0.2, "queue_size": 512}, _LARGER, {}),
    "moco_v2": ({"temperature": 0.2, "momentum": 0.95, "queue_size": 512}, _LARGER, {}),
    "moco_v3": ({"temperature": 0.3}, _SGD, _NARROW),
    "byol": ({"momentum": 0.9, "out_dim": 64}, _SGD, {}),
    "simsiam": ({"hidden_dim": 128, "out_dim": 128, "bottleneck": 32}, _SGD, _WIDE),
    "msf": ({"k": 10, "queue_size": 1024}, _SGD, {}),
    "vicreg": (
        {"invariance_weight": 10.0, "variance_weight": 10.0, "out_dim": 128},
        _LARGER | {"lr": 2e-3},
        {},
    ),
    "barlow_twins": ({"lambd": 0.02, "layers": 3, "out_dim": 128}, _LARGER | {"lr": 2e-3}, {}),
    "w_mse": ({"out_dim": 16}, _SLOWER, _WIDE),
    "online_deepcluster": ({"clusters": 32}, _LARGER, {}),
    "sela": ({"clusters": 32, "heads": 2}, _LARGER, {}),
    "swav": ({"prototypes": 32, "temperature": 0.1}, _SGD, {}),
    "dino": ({"prototypes": 64, "teacher_temperature": 0.04, "momentum": 0.98}, _SGD, _WIDE),
    "msn": ({"prototypes": 32, "mask_ratio": 0.3}, _SGD, {}),
    "deepcluster": ({"clusters": 32}, _LARGER, {}),
    "pcl": ({"clusters": 16, "temperature": 0.3}, _LARGER, {}),
    "mae": ({"mask_ratio": 0.6}, _LARGER | {"lr": 2e-3}, _SMALL_VIT),
    "data2vec": ({"mask_ratio": 0.4, "top_k": 2}, _SLOWER, _SMALL_VIT),
    "rotation": ({}, {"batch_size": BATCH // 2, "lr": 1e-3}, _WIDE),
    "supervised": ({}, {"batch_size": BATCH, "lr": 2e-3}, {}),
}


def held_out_cases() -> list[Case]:
    """The test: other things broken, other methods, and healthy ones on other settings."""
    healthy = [
        Case(f"{name}_other_settings", name, f"{name}, healthy, other settings", options=options, training=training,
             encoder_options=encoder, steps=HEALTHY_STEPS)
        for name, (options, training, encoder) in _SETTINGS.items()
    ]  # fmt: skip
    return [replace(case, split=TEST) for case in [*TEST_BROKEN, *healthy]]


def cases(split: str | None = None) -> dict[str, Case]:
    """All patients by name, or those of one split."""
    everyone = [*BROKEN, *RESISTED, *healthy_cases(), *held_out_cases()]
    return {case.name: case for case in everyone if split in (None, case.split)}
