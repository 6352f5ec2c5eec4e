# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A study of my own
#
# Replace what stands in quotes and the function `measure`. Run from top to bottom. The last cell stays closed until the
# cell above it holds your prediction.

# %%
from ssl_lessons import data, evaluation
from ssl_lessons.book import Study
from ssl_lessons.models import settle
from ssl_lessons.training import pretrain, recipes

STEPS = 100

# %% [markdown]
# ## What is compared, and what would change my mind
#
# Effect and spread are what you *expect*; where from? From a pilot, or from somebody's record. 0.01 is a point.

# %%
study = Study(
    name="blur",
    hypothesis="A blur of every view makes the features better.",
    treatment="SimCLR with blur",
    control="SimCLR without",
    measured="probe with ten labels per class",
    changes_my_mind="an interval that lies below two points: then I leave blur out",
    effect=0.04,
    spread=0.02,
    seeds=(0, 1, 2),
)
study.card()

# %% [markdown]
# ## How it is measured
#
# One pair of runs for a seed: same pictures, same first weights. The floor is the same encoder before training.


# %%
def probe(encoder, train, test) -> float:
    h, h_test = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    (row,) = evaluation.label_efficiency(h, train.labels, h_test, test.labels, (10,), draws=3)
    return row["mean"]


def measure(seed: int) -> dict[str, float]:
    unlabeled, train, test = (data.shapes(split, n=2000, seed=seed) for split in data.SPLITS)
    recipe = recipes.get_recipe("quick").with_(batch_size=128)
    found = {"floor": probe(settle(recipe.build(seed), unlabeled.images[:1000]).encoder, train, test)}
    for arm, policy in (("treatment", recipe.policy.replace(blur_p=1.0)), ("control", recipe.policy)):
        method = recipe.build(seed)
        pretrain(method, unlabeled.images, (policy,) * 2, steps=STEPS, seed=seed, **recipe.training())
        found[arm] = probe(method.encoder, train, test)
    return found


# %% [markdown]
# ## My prediction
#
# In points, treatment minus control. Take the # away, and put your own numbers and your own reason.

# %%
# study.predict(low=-3, high=3, because="outlines survive a blur but texture does not")

# %% [markdown]
# ## The results

# %%
verdict = study.results(measure)

# %% [markdown]
# **What I believe now, and what I would run next:** ...
