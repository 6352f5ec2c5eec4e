"""From what was asked for, a recipe, and facts about the pictures to one frozen plan of a run.

    plan = make({"method": "byol", "minutes": 5.0})
    method = plan.build(n_images=8192)
    plan = plan.fitted(8192, seconds_per_step=0.05)     # how many steps that is

A plan is what run.json holds: everything that was chosen, by whom ever, and nothing that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from ssl_lessons.errors import InputError
from ssl_lessons.methods import METHODS, Method, takes
from ssl_lessons.models import ENCODERS
from ssl_lessons.training.optimizers import LR_RULES, OPTIMIZERS, scaled_lr
from ssl_lessons.training.recipes import Recipe, get_recipe
from ssl_lessons.views import Policy

SHAPES_IMAGES = 8_192  # images of the embedded world that a run draws unless told otherwise
BATCH_256_LR = {"adamw": 3e-3, "sgd": 0.06, "lars": 0.3}  # our recipes' values; LARS: SimCLR, appendix B.6
BUDGETS = ("epochs", "minutes", "steps")


@dataclass(frozen=True)
class Plan:
    """Every choice of a run.  `steps` is None until the images are counted and a step is timed (`fitted`).

    data: a name or a folder; unlabeled: another folder beside it, to pretrain on; labels: how to read the folder.
    size: side of the views in pixels.  images: how many to train on (None: all).  lr: at batch `lr_batch`.
    epochs, minutes, steps: how long; the one that was asked for counts.
    """

    method: str
    data: str
    size: int
    recipe: str
    seed: int
    images: int | None
    labels_per_class: int | None
    encoder: str
    encoder_options: dict
    method_options: dict
    policy: Policy
    policy_strength: float
    batch_size: int
    optimizer: str
    lr: float
    lr_rule: str | None
    lr_batch: int
    weight_decay: float
    warmup: float
    epochs: float | None
    minutes: float | None
    steps: int | None
    precision: str | None = None
    unlabeled: str | None = None
    labels: str | None = None
    data_dir: str | None = None

    @property
    def supervised(self) -> bool:
        return METHODS[self.method].needs_labels

    @property
    def peak_lr(self) -> float:
        """The learning rate for this batch size."""
        if self.lr_rule is None:
            return self.lr
        return scaled_lr(self.lr, self.batch_size, self.lr_rule, self.lr_batch)

    def build(self, **facts) -> Method:
        """The untrained method; facts: what is known about the data, such as n_images=8192."""
        recipe = get_recipe(self.recipe, self.method)
        recipe = recipe.with_(
            encoder=self.encoder, encoder_options=self.encoder_options, options=self.method_options
        )
        return recipe.build(self.seed, **facts)

    def training(self) -> dict:
        """The keyword arguments of `pretrain` that the plan fixes."""
        names = ("batch_size", "optimizer", "weight_decay", "warmup", "seed", "precision")
        return {name: getattr(self, name) for name in names} | {"lr": self.peak_lr}

    def fitted(self, images: int, seconds_per_step: float | None = None) -> Plan:
        """The plan with its number of steps, for so many images; a budget in minutes needs the time of a step."""
        if self.steps is not None:
            return self
        if self.minutes is not None:
            steps, _ = steps_that_fit(60 * self.minutes, seconds_per_step, images, self.batch_size)
        else:
            steps = steps_of(self.epochs, images, self.batch_size)
        return replace(self, steps=steps)

    def as_dict(self) -> dict:
        """Ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping) -> Plan:
        """The plan in what `as_dict` gave, whatever else stands there."""
        policy = {k: tuple(v) if isinstance(v, list) else v for k, v in stored["policy"].items()}
        known = {name: stored[name] for name in cls.__dataclass_fields__ if name in stored}
        return cls(**known | {"policy": Policy(**policy)})


def steps_of(epochs: float, images: int, batch_size: int) -> int:
    """Optimiser steps of so many passes over the images, incomplete batches dropped; at least one."""
    return max(1, round(epochs * max(1, images // batch_size)))


def steps_that_fit(
    seconds: float, seconds_per_step: float, images: int, batch_size: int
) -> tuple[int, float]:
    """How many steps fit a time budget, and how many epochs that is."""
    steps = max(1, int(seconds / seconds_per_step))
    return steps, steps * batch_size / images


def make(asked: Mapping) -> Plan:
    """The plan of a new run: the recipe's choices, except where `asked` (fields of Plan, and temperature) says else.

    Raises InputError for unknown names, options that do not fit together, and numbers that cannot be.
    """
    check(asked)
    name = asked.get("recipe", "quick")
    recipe = get_recipe(name, asked.get("method"))
    encoder, optimizer = asked.get("encoder", recipe.encoder), asked.get("optimizer", recipe.optimizer)
    _check_choices(asked, recipe, encoder, optimizer)
    policy = recipe.policy.scaled(asked.get("policy_strength", 1.0))
    policy = policy.replace(size=asked.get("size", policy.size))
    source = asked.get("data", "shapes")
    drawn = source == "shapes" and not METHODS[recipe.method].needs_labels
    timed = any(budget in asked for budget in ("minutes", "steps"))
    temperature = {"temperature": asked["temperature"]} if "temperature" in asked else {}
    chosen = {
        "method": recipe.method, "data": source, "recipe": name, "encoder": encoder, "optimizer": optimizer,
        "seed": 0, "images": SHAPES_IMAGES if drawn else None, "labels_per_class": None,
        "encoder_options": _encoder_options(encoder, recipe, policy.size),
        "method_options": recipe.options | temperature, "policy": policy, "policy_strength": 1.0,
        "batch_size": recipe.batch_size, "lr": recipe.lr, "lr_rule": None,
        "lr_batch": 256 if "lr" in asked else recipe.batch_size, "weight_decay": recipe.weight_decay,
        "warmup": recipe.warmup, "epochs": None if timed else recipe.epochs, "minutes": None, "steps": None,
    }  # fmt: skip
    given = {k: v for k, v in asked.items() if k not in ("temperature", "method", "size")}
    return Plan(**chosen | given | {"size": policy.size})


def check(asked: Mapping) -> None:
    """Raises InputError for numbers that cannot be, whatever the recipe."""
    budgets = [f"--{name}" for name in BUDGETS if name in asked]
    if len(budgets) > 1:
        raise InputError(f"{' and '.join(budgets)} each say how long to train; give one of them")
    for name in ("epochs", "minutes", "temperature", "lr"):
        if name in asked and not (asked[name] > 0 and math.isfinite(asked[name])):
            raise InputError(f"--{name} must be a number above 0, got {asked[name]:g}")


def _check_choices(asked: Mapping, recipe: Recipe, encoder: str, optimizer: str) -> None:
    for kind, value, known in (
        ("encoder", encoder, ENCODERS),
        ("optimizer", optimizer, OPTIMIZERS),
        ("learning-rate rule", asked.get("lr_rule", "linear"), LR_RULES),
    ):
        if value not in known:
            raise InputError(f"unknown {kind} {value!r}; choose from {', '.join(known)}")
    method = recipe.method
    if "temperature" in asked and not takes(method, "temperature"):
        raise InputError(f"--method {method} has no temperature; leave out --temperature")
    if "labels_per_class" in asked and not METHODS[method].needs_labels:
        raise InputError(f"--method {method} uses no labels; leave out --labels-per-class")
    if optimizer != recipe.optimizer and "lr" not in asked:
        usual = ", ".join(f"{k} {v:g}" for k, v in BATCH_256_LR.items())
        raise InputError(
            f"the recipe's learning rate {recipe.lr:g} is meant for {recipe.optimizer}: with --optimizer "
            f"{optimizer} give --lr too (usual at batch 256: {usual})"
        )


def _encoder_options(encoder: str, recipe: Recipe, size: int) -> dict:
    """The recipe's options where its encoder is used; a transformer is built for the size of the views."""
    options = dict(recipe.encoder_options) if encoder == recipe.encoder else {}
    return options | ({"size": size} if encoder == "vit" else {})
