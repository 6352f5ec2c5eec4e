"""The picture of the README, drawn from the record of the embedded world: what pretraining saves.

    uv run python benchmarks/readme_picture.py

Trains nothing.  Writes docs/labels_saved.png, with a checksum of the rows it shows, so that a test notices when the
record has moved on.
"""

import json
import zlib
from pathlib import Path

from ssl_lessons import book, data
from ssl_lessons.book import plots

PICTURE = Path(__file__).parent.parent / "docs" / "labels_saved.png"
CURVES = {"pretrained without labels, fine-tuned": "fine-tuned", "from scratch": "scratch"}
SHOWN = 12  # drawn pictures beside the curves


def curves() -> dict[str, dict[int, list[float]]]:
    """Test accuracy: arm -> labels per class -> one mean over draws of labels per seed."""
    rows, _ = book.recorded("embedded_world", world=2)
    found = {}
    for name, arm in CURVES.items():
        runs = book.per_seed(rows, "by_labels", arm=arm)
        found[name] = {int(count): [sum(run[count]) / len(run[count]) for run in runs] for count in runs[0]}
    return found


def checksum() -> str:
    return f"{zlib.crc32(json.dumps(curves(), sort_keys=True).encode()):08x}"


def draw():
    plots.style()
    fig, axes = plots.new_figure(8.0, 2.9, 3, 8, width_ratios=[1, 1, 1, 1, 0.3, 3, 3, 0.01])
    images = data.shapes("train", 64, SHOWN, seed=3).images
    for ax in axes.flat:
        ax.axis("off")
    for ax, image in zip(axes[:, :4].flat, images, strict=True):
        ax.imshow(image.permute(1, 2, 0).numpy())
    ax = fig.add_subplot(axes[0, 0].get_gridspec()[:, 5:7])
    for (name, points), color, mark in zip(curves().items(), plots.COLORS, "os", strict=False):
        counts = list(points)
        ax.plot(counts, [100 * sum(v) / len(v) for v in points.values()], mark + "-", color=color, label=name)
        low, high = ([100 * edge(v) for v in points.values()] for edge in (min, max))
        ax.fill_between(counts, low, high, color=color, alpha=0.2)
    ax.set(xscale="log", xlabel="labels per class", ylabel="test accuracy (%)", ylim=(0, 100))
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
    ax.set_title("The same network on the same labels")
    ax.legend(loc="upper left")
    return fig


def main() -> None:
    PICTURE.parent.mkdir(exist_ok=True)
    draw().savefig(PICTURE, dpi=150, metadata={"Comment": checksum(), "Software": None})
    print(PICTURE)


if __name__ == "__main__":
    main()
