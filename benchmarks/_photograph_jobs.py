"""The jobs of benchmarks/photographs.py: what is trained, with which recipe, and how it is read and scored."""

import json
import zlib
from dataclasses import dataclass, fields

from ssl_lessons.errors import InputError
from ssl_lessons.training.recipes import Recipe
from ssl_lessons.views import Policy

KEY = ("group", "arm", "seed", "steps")
STEPS = {"long": 4000, "short": 2000, "tune": 600, "resnet18": 2000}  # of batches of 256 pictures
COUNTS, FEW, DRAWS = (2, 5, 10, 25, 100), (10, 25), 5  # labels per class, draws of them
FINE_DRAWS = 3  # of whole networks: a draw of theirs takes a hundred times as long

# ---- recipes -----------------------------------------------------------------------------------------------

# The crop is that of the quick recipe, the jitter half of it, which scored better on held-out pictures: see the rows
# "simclr, jitter x 2" (all of it) and "x 1.5" of group "tune", which tries others beside BASE's.
BASE = Recipe(
    encoder="convnet", encoder_options={"width": 16, "dim": 256}, batch_size=256, epochs=22, method="simclr",
    optimizer="adamw", lr=4e-3, weight_decay=1e-4, warmup=0.1, options={"temperature": 0.1},
    policy=Policy(
        32, crop_scale=(0.25, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2, grayscale_p=0.1
    ),
)  # fmt: skip
VIT = BASE.with_(encoder="vit", encoder_options={}, weight_decay=0.05)
RESNET = BASE.with_(
    encoder="resnet18", encoder_options={}, optimizer="sgd", lr=0.06, weight_decay=5e-4,
    policy=BASE.policy.replace(size=64), options={"temperature": 0.2, "hidden_dim": 1024},
)  # fmt: skip


def other(method: str, **changes) -> Recipe:
    """BASE for another method, whose options are then its defaults."""
    return BASE.with_(**{"method": method, "options": {}} | changes)


def jittered(strength: float) -> Policy:
    """BASE's policy with its jitter and its share of grey views multiplied by `strength`."""
    return BASE.policy.scaled(strength).replace(grayscale_p=min(1.0, strength * BASE.policy.grayscale_p))


SGD = {"optimizer": "sgd", "weight_decay": 5e-4}
PRETEXT = ("rotation", "jigsaw", "relative_position", "colorization", "context_encoder")
# how the task itself reads pictures, where that is not whole
AS_TRAINED = {
    "jigsaw": ("tiles", "mean tile"),
    "relative_position": ("tiles", "mean tile"),
    "context_encoder": ("hole",),
}
# name: (recipe, learning rates that are tried).  "no head" is trained without its projector, see `build`.
CONTESTANTS = {
    "simclr": (BASE, (2e-3, 4e-3, 8e-3)),
    "simclr, linear head": (BASE.with_(options=BASE.options | {"layers": 1}), (2e-3, 4e-3, 8e-3)),
    "simclr, no head": (BASE, (2e-3, 4e-3, 8e-3)),
    "batch 64": (BASE.with_(batch_size=64), (1e-3, 2e-3, 4e-3)),
    "batch 1024": (BASE.with_(batch_size=1024), (4e-3, 8e-3, 1.6e-2)),
    "moco_v2": (other("moco_v2"), (2e-3, 4e-3, 8e-3)),
    "byol": (other("byol", **SGD), (0.1, 0.2, 0.4)),
    "vicreg": (other("vicreg"), (2e-3, 4e-3, 8e-3)),
    "swav": (other("swav", **SGD), (0.1, 0.2, 0.4)),
    "simclr_vit": (VIT, (1e-3, 2e-3, 4e-3)),
    "mae": (VIT.with_(method="mae", options={}), (1.5e-3, 3e-3, 6e-3)),
    **{name: (other(name, batch_size=128), (1e-3, 3e-3, 6e-3)) for name in PRETEXT},
}
FINE = ((1e-3, 300), (3e-3, 300), (1e-2, 300), (3e-3, 500))  # learning rates and steps that are tried
CROPS, STRENGTHS = ((0.08, 1.0), (0.5, 1.0)), (0.5, 1.5, 2.0)  # tried beside BASE's
# Milliseconds of processor time for a step on 256 pictures, measured on one thread of a busy AMD EPYC, float32.
COST = {
    "simclr": 160, "byol": 235, "vicreg": 215, "swav": 190, "moco_v2": 145, "mae": 160, "rotation": 340, "jigsaw": 245,
    "relative_position": 280, "colorization": 400, "context_encoder": 130, "vit": 680, "resnet18": 12_700,
}  # fmt: skip


def choices(recipe: Recipe) -> dict:
    """Everything a recipe chooses; of the policy, what is not the default."""
    policy = {
        f.name: getattr(recipe.policy, f.name)
        for f in fields(Policy)
        if getattr(recipe.policy, f.name) != f.default
    }
    return {"method": recipe.method, "encoder": recipe.encoder, "encoder_options": recipe.encoder_options,
            "options": recipe.options, "policy": policy, **recipe.training()}  # fmt: skip


def differences(recipe: Recipe) -> dict:
    """What a recipe chooses differently from BASE."""
    base, found = choices(BASE), choices(recipe)
    base, found = (c.pop("policy") | c for c in (base, found))
    return {name: found.get(name) for name in base | found if base.get(name) != found.get(name)}


# ---- jobs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One row of the record.

    recipe, steps, seed: the training; 0 steps: none, with BatchNorm settled on the pictures.  head: False trains
    without projector.  read: a name of READINGS.  counts: labels per class.  fine: learning rate and steps of
    fine-tuning (of training from scratch, after 0 steps); None: a frozen probe.
    """

    group: str
    arm: str
    seed: int
    recipe: Recipe
    steps: int
    read: str = "whole"
    head: bool = True
    counts: tuple[int, ...] = FEW
    fine: tuple[float, int] | None = None
    draws: int = DRAWS

    @property
    def run(self) -> str:
        """Name of the training, the same for jobs that share it: the folder of its checkpoints."""
        return f"{self.recipe.method}-{self.steps}-{self.seed}-{_crc([choices(self.recipe), self.head])}"

    @property
    def choices(self) -> str:
        """Checksum of everything that was chosen for this row."""
        return _crc([self.run, self.read, self.counts, self.fine, self.draws])

    @property
    def place(self) -> dict:
        return {name: getattr(self, name) for name in KEY}


def _crc(description) -> str:
    return f"{zlib.crc32(json.dumps(description, sort_keys=True).encode()):08x}"


def find(job: Job, rows: list[dict]) -> dict | None:
    """The row of a job, unless it was made with other choices."""
    found = (row for row in rows if all(row[k] == v for k, v in job.place.items()))
    return next((row for row in found if row["choices"] == job.choices), None)


def steps_at(recipe: Recipe, length: str) -> int:
    """Steps with as many pictures as STEPS[length] batches of 256."""
    return STEPS[length] * 256 // recipe.batch_size


def tune_rates(name: str) -> list[Job]:
    recipe, rates = CONTESTANTS[name]
    steps = steps_at(recipe, "tune")
    head = name != "simclr, no head"
    return [Job("tune", f"{name}, {lr:g}", 0, recipe.with_(lr=lr), steps, head=head) for lr in rates]


def tune_fine(arm: str) -> list[Job]:
    steps = STEPS["tune"] if arm == "fine-tuned" else 0
    return [
        Job("tune", f"{arm}, {lr:g}, {n} steps", 0, BASE, steps, fine=(lr, n), counts=(10, 50), draws=2)
        for lr, n in FINE
    ]


def best(jobs: list[Job], rows: list[dict] | None) -> Job:
    """The job that scored best on held-out pictures; without a record (None), the one in the middle.

    Raises InputError where one of them has not run.
    """
    if rows is None:
        return jobs[len(jobs) // 2]
    found = [find(job, rows) for job in jobs]
    if None in found:
        raise InputError(f"{jobs[found.index(None)].arm!r} has not been tried yet: run --only tune first")
    return jobs[max(range(len(jobs)), key=lambda i: found[i].get("held_out", 0.0))]


def tuned(name: str, rows: list[dict] | None) -> Recipe:
    return best(tune_rates(name), rows).recipe


# Every group: rows of the record (None: none yet, for estimates) -> its jobs.


def tune(rows) -> list[Job]:
    """What BASE and the group "labels" rest on comes first."""
    policies = {f"simclr, crop from {c[0]:g}": BASE.policy.replace(crop_scale=c) for c in CROPS}
    policies |= {f"simclr, jitter x {s:g}": jittered(s) for s in STRENGTHS}
    jobs = tune_rates("simclr")
    jobs += [Job("tune", arm, 0, BASE.with_(policy=p), STEPS["tune"]) for arm, p in policies.items()]
    jobs += tune_fine("fine-tuned") + tune_fine("from scratch")
    return jobs + [job for name in CONTESTANTS if name != "simclr" for job in tune_rates(name)]


def labels(rows) -> list[Job]:
    recipe, steps, jobs = tuned("simclr", rows), STEPS["long"], []
    for seed in range(3):
        arms = {"frozen": (steps, None), "untrained": (0, None)}
        arms |= {"fine-tuned": (steps, best(tune_fine("fine-tuned"), rows).fine)}
        arms |= {"from scratch": (0, best(tune_fine("from scratch"), rows).fine)}
        for arm, (n, fine) in arms.items():
            draws = FINE_DRAWS if fine else DRAWS
            jobs.append(Job("labels", arm, seed, recipe, n, counts=COUNTS, fine=fine, draws=draws))
    return jobs + [Job("labels", "pixels", 0, recipe, 0, "pixels", counts=COUNTS)]


def projector(rows) -> list[Job]:
    jobs = []
    for seed in range(3):
        for name, arm in (("simclr", "MLP"), ("simclr, linear head", "linear")):
            for read in ("whole", "z"):
                arm_read = f"{arm}, {'h' if read == 'whole' else 'z'}"
                jobs.append(Job("projector", arm_read, seed, tuned(name, rows), STEPS["long"], read))
        recipe = tuned("simclr, no head", rows)
        jobs.append(Job("projector", "none, h = z", seed, recipe, STEPS["long"], head=False))
    return jobs


def families(rows) -> list[Job]:
    jobs = []
    for seed in range(3):
        for name in ("simclr", "byol", "vicreg", "swav", "simclr_vit", "mae"):
            recipe = tuned(name, rows)
            jobs.append(Job("families", name, seed, recipe, STEPS["long"]))
            if recipe.encoder == "vit":
                jobs.append(Job("families", f"{name}, all tokens", seed, recipe, STEPS["long"], "tokens"))
        for read, arm in (("whole", "untrained vit"), ("tokens", "untrained vit, all tokens")):
            jobs.append(Job("families", arm, seed, tuned("simclr_vit", rows), 0, read))
    return jobs


def _variants(group: str, arms: dict[str, Recipe]) -> list[Job]:
    """Short runs."""
    return [Job(group, arm, seed, r, steps_at(r, "short")) for seed in range(3) for arm, r in arms.items()]


def jitter(rows) -> list[Job]:
    recipe = tuned("simclr", rows)
    return _variants("jitter", {f"{s:g}": recipe.with_(policy=jittered(s)) for s in (0, 0.25, 0.5, 1, 2, 3)})


def temperature(rows) -> list[Job]:
    recipe = tuned("simclr", rows)
    arms = {f"{t:g}": recipe.with_(options={"temperature": t}) for t in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)}
    return _variants("temperature", arms)


def batch(rows) -> list[Job]:
    names = {"64": "batch 64", "256": "simclr", "1024": "batch 1024"}
    return _variants("batch", {arm: tuned(name, rows) for arm, name in names.items()})


def momentum(rows) -> list[Job]:
    recipe = tuned("moco_v2", rows)
    arms = {f"{m:g}": recipe.with_(options={"momentum": m}) for m in (0.0, 0.9, 0.99, 0.999)}
    return _variants("momentum", arms)


def pretexts(rows) -> list[Job]:
    jobs = _variants("pretext", {"simclr": tuned("simclr", rows)})
    for seed in range(3):
        for name in PRETEXT:
            recipe = tuned(name, rows)
            for read in ("whole", *AS_TRAINED.get(name, ())):
                arm = name if read == "whole" else f"{name}, {read}"
                jobs.append(Job("pretext", arm, seed, recipe, steps_at(recipe, "short"), read))
                # on whole pictures the other plain networks start from the weights that rotation starts from
                if read != "whole" or name in ("rotation", "colorization"):
                    arm = "untrained" if name == "rotation" else f"untrained {arm}"
                    jobs.append(Job("pretext", arm, seed, recipe, 0, read))
    return jobs


def resnet18(rows) -> list[Job]:
    jobs, fine = [], {"fine": FINE[1], "draws": 2}
    for seed in range(3):
        for arm, steps, more in (("frozen", STEPS["resnet18"], {}), ("untrained", 0, {}),
                                 ("fine-tuned", STEPS["resnet18"], fine), ("from scratch", 0, fine)):  # fmt: skip
            jobs.append(Job("resnet18", arm, seed, RESNET, steps, **more))
    return jobs


GROUPS = {"tune": tune, "labels": labels, "projector": projector, "families": families, "jitter": jitter,
          "temperature": temperature, "batch": batch, "momentum": momentum, "pretext": pretexts,
          "resnet18": resnet18}  # fmt: skip
