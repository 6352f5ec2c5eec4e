"""The figures that several chapters need, each from plain numbers; see `plots` for how they get on screen."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from ssl_lessons.book.style import COLORS, GRAY, new_figure
from ssl_lessons.errors import InputError


def image_grid(
    images, columns: int = 8, titles: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """Images [N, 3, H, W] (uint8, or float in [0, 1]; torch or numpy) in a grid, one title per image if
    given.
    """
    array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not len(array):
        raise InputError(f"image_grid() wants images of shape [N, 3, H, W]; this is {list(array.shape)}.")
    if titles is not None and len(titles) != len(array):
        raise InputError(
            f"image_grid() got {len(titles)} titles for {len(array)} images; give one per image."
        )
    if array.dtype != np.uint8:
        array = np.clip(array.astype(np.float64), 0, 1)
    array = np.repeat(array, 3, axis=1) if array.shape[1] == 1 else array
    columns = min(columns, len(array))
    rows = math.ceil(len(array) / columns)
    side = min(1.2, 9.5 / columns, 5.6 / rows)  # inches of a picture
    height = rows * (side * array.shape[2] / array.shape[3] + (0.2 if titles is not None else 0.03))
    # A long title must not be cut at the edge of a narrow grid.
    lines = textwrap.wrap(title, max(20, int(columns * side * 13))) if title else []
    fig, axes = new_figure(max(columns * side, 2.0), height + 0.22 * len(lines), rows, columns, squeeze=False)
    for i, ax in enumerate(axes.flat):
        ax.axis("off")
        if i < len(array):
            ax.imshow(array[i].transpose(1, 2, 0))
            if titles is not None:
                ax.set_title(str(titles[i]), fontsize=8, loc="center", pad=2)
    if lines:
        fig.suptitle("\n".join(lines))
    return fig


def _series(history: Sequence[Mapping], *names: str) -> tuple[list, list]:
    """Steps and values of the rows that hold one of `names` (quality is measured on monitor steps only)."""
    found = [(row["step"], row[name]) for row in history for name in names if row.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]


def training_panel(
    history, title: str, chance: float | None = None, chance_loss: float | None = None
) -> Figure:
    """Loss, online kNN accuracy and collapse measures of a pretraining run, side by side.

    `history` is what `pretrain` returns, or a dict name -> history to compare runs. `chance` is the accuracy
    of a guess (in 0..1), `chance_loss` the loss of an encoder that tells nothing apart (for instance
    log(2N-1)).
    """
    runs = history if isinstance(history, Mapping) else {"": history}
    if not runs or not all(len(rows) for rows in runs.values()):
        raise InputError("training_panel() got an empty history; pass the list that pretrain(...) returned.")
    fig, (left, middle, right) = new_figure(9.6, 2.7, 1, 3)
    rank_axis = right.twinx()
    rank_axis.spines["right"].set_visible(True)
    for (name, rows), color in zip(runs.items(), cycle(COLORS)):
        left.plot(*_series(rows, "loss"), color=color, label=name or None)
        steps, accuracy = _series(rows, "knn", "knn_accuracy")
        middle.plot(steps, [100 * a for a in accuracy], "o-", markersize=3, color=color)
        right.plot(*_series(rows, "std", "feature_std"), "o-", markersize=3, color=color)
        rank_axis.plot(
            *_series(rows, "rank", "rank_me"), "s--", markersize=3, color=COLORS[1] if not name else color
        )
    if chance_loss is not None:
        left.axhline(chance_loss, color=GRAY, linestyle=":")
        left.annotate(
            "knows nothing",
            (1, chance_loss),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8,
            color=GRAY,
        )
    if chance is not None:
        _chance_line(middle, 100 * chance, "y")
    left.set(title="Loss", xlabel="step", ylabel="loss")
    middle.set(title="Quality: online kNN", xlabel="step", ylabel="accuracy (%)")
    middle.set_ylim(bottom=0)
    right.set(title="Collapse? std (solid), rank (dashed)", xlabel="step", ylabel="feature std")
    right.set_ylim(bottom=0)
    rank_axis.set_ylabel("RankMe (dimensions)")
    rank_axis.set_ylim(bottom=0)
    if any(runs):
        fig.legend(loc="outside lower center", ncols=min(len(runs), 5))
    fig.suptitle(title)
    return fig


def _chance_line(ax, value: float, axis: str) -> None:
    (ax.axhline if axis == "y" else ax.axvline)(value, color=GRAY, linestyle=":", zorder=3)
    if axis == "y":
        where = {"xy": (1, value), "xycoords": ("axes fraction", "data"), "ha": "right"}
    else:
        where = {"xy": (value, 1), "xycoords": ("data", "axes fraction"), "ha": "center"}
    ax.annotate("chance", fontsize=8, color=GRAY, va="bottom", **where)


def _runs(value) -> np.ndarray:
    """One number or several runs of it as a float array [R]."""
    return np.atleast_1d(np.asarray(value, dtype=float))


def bars(
    values: Mapping[str, object],
    title: str,
    xlabel: str = "accuracy (%)",
    chance: float | None = None,
    errors: Mapping[str, float] | None = None,
    fmt: str = ".1f",
) -> Figure:
    """Horizontal bars, one per name, in the units of `xlabel`.

    A value is a number, or a list with one number per seed: then the bar is the mean, the dots are the seeds
    and the whisker goes from the lowest to the highest. `errors` gives half-widths of whiskers for plain
    numbers.
    """
    if not values:
        raise InputError("bars() needs at least one value.")
    fig, ax = new_figure(6.4, 0.75 + 0.34 * len(values) + (0.15 if chance is not None else 0))
    reach = max(np.max(np.abs(_runs(v))) for v in values.values()) or 1.0
    for i, (name, value) in enumerate(values.items()):
        runs = _runs(value)
        mean = runs.mean()
        low, high = mean - runs.min(), runs.max() - mean
        if errors and name in errors:
            low = high = errors[name]
        ax.barh(i, mean, color=COLORS[i % len(COLORS)], height=0.68)
        if low or high:
            ax.errorbar(mean, i, xerr=[[low], [high]], color="black", capsize=3, linewidth=1)
        if len(runs) > 1:
            ax.plot(runs, np.full(len(runs), i), "o", color="white", markeredgecolor="black", markersize=3.5)
        ax.text(max(mean + high, 0) + 0.015 * reach, i, format(mean, fmt), va="center", fontsize=8)
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()
    ax.margins(x=0.1)
    ax.set_xlabel(xlabel)
    ax.set_title(title, pad=14 if chance is not None else 6)
    if chance is not None:
        _chance_line(ax, chance, "x")
    return fig


def spectrum(
    singular_values: Mapping[str, object], title: str = "A collapsed direction has no variance left"
) -> Figure:
    """Singular values (descending, any length) of one or more embeddings, each divided by its largest, on a
    log axis.
    """
    if not singular_values:
        raise InputError("spectrum() needs at least one set of singular values.")
    fig, ax = new_figure(6.0, 3.0)
    for i, (name, values) in enumerate(singular_values.items()):
        values = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
        top = values.max() if len(values) and values.max() > 0 else 1.0
        ax.plot(
            np.arange(1, len(values) + 1),
            np.maximum(values / top, 1e-7),
            label=name,
            color=COLORS[i % len(COLORS)],
            linestyle=("-", "--", "-.", ":")[i % 4],
        )
    ax.set(
        yscale="log",
        xlabel="dimension, by decreasing singular value",
        ylabel="singular value / largest",
        title=title,
    )
    ax.legend()
    return fig


def factor_bars(
    scores: Mapping[str, Mapping[str, object]], title: str = "What each representation keeps of the scene"
) -> Figure:
    """Grouped bars of factor-probe scores: encoder name -> factor -> score (0 = chance, 1 = perfect; or one
    per seed).
    """
    if not scores or not any(scores.values()):
        raise InputError("factor_bars() needs scores such as {'SimCLR': {'color': 0.2, 'shape': 0.9}}.")
    factors = list(dict.fromkeys(factor for row in scores.values() for factor in row))
    width = 0.8 / len(scores)
    fig, ax = new_figure(max(6.0, min(10.0, 1.0 + 0.26 * len(factors) * len(scores))), 3.2)
    for i, (name, row) in enumerate(scores.items()):
        for k, factor in enumerate(factors):
            if factor not in row:
                continue
            runs, x = _runs(row[factor]), k + (i - (len(scores) - 1) / 2) * width
            ax.bar(x, runs.mean(), width * 0.92, color=COLORS[i % len(COLORS)], label=name if not k else None)
            if len(runs) > 1:
                ax.plot([x, x], [runs.min(), runs.max()], color="black", linewidth=1)
    ax.axhline(0, color=GRAY, linewidth=0.8)
    ax.set_xticks(range(len(factors)), [textwrap.fill(str(f).replace("_", " "), 12) for f in factors])
    ax.set_ylim(top=1.02)
    ax.set_ylabel("score (0 = chance, 1 = perfect)")
    fig.suptitle(title)
    fig.legend(loc="outside lower center", ncols=min(len(scores), 5))
    return fig


def side_by_side(
    figures: Sequence[Figure], captions: Sequence[str] | None = None, columns: int | None = None
) -> Figure:
    """Several figures as one, pixel for pixel, each under its caption; as many per row as fit in about 1,000
    pixels.
    """
    if not figures:
        raise InputError("side_by_side() needs at least one figure.")
    pictures = []
    for fig in figures:
        buffer = io.BytesIO()
        fig.savefig(buffer, format="rgba", dpi=fig.dpi)
        width, height = (int(v) for v in fig.canvas.get_width_height())
        pictures.append(np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4))
    cell_w = max(p.shape[1] for p in pictures)
    cell_h = max(p.shape[0] for p in pictures)
    columns = columns or max(1, min(len(pictures), 1000 // cell_w))
    rows = math.ceil(len(pictures) / columns)
    band = 22 if captions else 0
    total_w, total_h = columns * cell_w, rows * (cell_h + band)
    sheet = Figure(figsize=(total_w / 100, total_h / 100), dpi=100)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        top = total_h - row * (cell_h + band)
        if captions:
            sheet.text(
                (column * cell_w + cell_w / 2) / total_w,
                (top - band / 2) / total_h,
                captions[i],
                ha="center",
                va="center",
                fontsize=9,
                fontweight="bold",
            )
        sheet.figimage(picture, column * cell_w, top - band - picture.shape[0])
    return sheet
