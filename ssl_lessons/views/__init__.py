"""Random views of images, drawn (`policy`) and made (`augment`); colour spaces (`color`), masks, pretext tasks."""

from ssl_lessons.views.augment import (
    CHUNK,
    LUMINANCE,
    apply,
    augment,
    blur,
    color_matrix,
    crop_resize,
    denormalize,
    make_views,
    normalize,
    recolor,
    rotate,
)
from ssl_lessons.views.mixing import cutmix, mixing_weight, mixup
from ssl_lessons.views.policy import COLOR_STEPS, MEAN, STD, Policy, draw, places

__all__ = [
    "CHUNK", "COLOR_STEPS", "LUMINANCE", "MEAN", "STD", "Policy", "apply", "augment", "blur", "color_matrix",
    "crop_resize", "cutmix", "denormalize", "draw", "make_views", "mixing_weight", "mixup",
    "normalize", "places", "recolor", "rotate",
]  # fmt: skip
