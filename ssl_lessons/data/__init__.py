"""Images with their labels and factors: the embedded world, digits, STL-10, CIFAR-10, any folder.

Names are handed on from the modules below when they are first used: a server decodes pictures (`decoding`) without
torch, and torchvision, which the readers of real images bring in, takes seconds to import.
"""

from ssl_lessons.deferred import hand_on

__all__, __getattr__ = hand_on(
    __name__,
    {
        "image_set": ("SPLITS", "Factor", "ImageSet", "label_subset"),
        "folders": ("folder",),
        "layout": ("Found",),
        "loading": ("load",),
        "names": ("NAMES",),
        "real": ("cifar10", "digits", "stl10"),
        "world": (
            "backgrounds", "captions", "object_masks", "on_backgrounds", "recolour", "render", "same_polarity",
            "sample_factors", "shapes", "video",
        ),
    },
)
