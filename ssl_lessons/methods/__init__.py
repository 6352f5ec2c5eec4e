"""One screen per method; everything two methods share lives below."""

import inspect

from torch import nn

from ssl_lessons.errors import InputError
from ssl_lessons.methods.barlow_twins import BarlowTwins
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.beit import BEiT
from ssl_lessons.methods.byol import BYOL
from ssl_lessons.methods.colorization import Colorization
from ssl_lessons.methods.context_encoder import ContextEncoder
from ssl_lessons.methods.counting import Counting
from ssl_lessons.methods.crossmae import CrossMAE
from ssl_lessons.methods.data2vec import Data2Vec
from ssl_lessons.methods.dcl import DCL
from ssl_lessons.methods.deepcluster import DeepCluster
from ssl_lessons.methods.densecl import DenseCL
from ssl_lessons.methods.diet import DIET
from ssl_lessons.methods.dino import DINO
from ssl_lessons.methods.dinov2 import DINOv2
from ssl_lessons.methods.directclr import DirectCLR
from ssl_lessons.methods.emp_ssl import EMPSSL
from ssl_lessons.methods.equimod import EquiMod
from ssl_lessons.methods.essl import ESSL
from ssl_lessons.methods.exemplar import Exemplar
from ssl_lessons.methods.frossl import FroSSL
from ssl_lessons.methods.ibot import IBOT
from ssl_lessons.methods.ijepa import IJEPA
from ssl_lessons.methods.insloc import InsLoc
from ssl_lessons.methods.instdisc import InstDisc
from ssl_lessons.methods.jigsaw import Jigsaw
from ssl_lessons.methods.lejepa import LeJEPA
from ssl_lessons.methods.looc import LooC
from ssl_lessons.methods.mae import MAE
from ssl_lessons.methods.mmcr import MMCR
from ssl_lessons.methods.mochi import MoCHi
from ssl_lessons.methods.moco import MoCoV1, MoCoV2
from ssl_lessons.methods.moco_v3 import MoCoV3
from ssl_lessons.methods.msf import MSF
from ssl_lessons.methods.msn import MSN
from ssl_lessons.methods.nnclr import NNCLR
from ssl_lessons.methods.online_deepcluster import OnlineDeepCluster
from ssl_lessons.methods.pcl import PCL
from ssl_lessons.methods.pirl import PIRL
from ssl_lessons.methods.relative_position import RelativePosition
from ssl_lessons.methods.rotation import Rotation
from ssl_lessons.methods.salt import SALT
from ssl_lessons.methods.sela import SeLa
from ssl_lessons.methods.selfpatch import SelfPatch
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.methods.simclr_v2 import SimCLRv2
from ssl_lessons.methods.simdino import SimDINO
from ssl_lessons.methods.simmim import SimMIM
from ssl_lessons.methods.simsiam import SimSiam
from ssl_lessons.methods.spectral import Spectral
from ssl_lessons.methods.split_brain import SplitBrain
from ssl_lessons.methods.supcon import SupCon
from ssl_lessons.methods.supervised import Supervised
from ssl_lessons.methods.swav import SwAV
from ssl_lessons.methods.tico import TiCo
from ssl_lessons.methods.vicreg import VICReg
from ssl_lessons.methods.vicregl import VICRegL
from ssl_lessons.methods.visreg import VISReg
from ssl_lessons.methods.w_mse import WMSE

METHODS = {
    # What was taken away, or turned? (chapters 05 and 06)
    "context_encoder": ContextEncoder, "colorization": Colorization, "split_brain": SplitBrain,
    "rotation": Rotation, "relative_position": RelativePosition, "jigsaw": Jigsaw, "counting": Counting,
    "exemplar": Exemplar,
    # Which one is it? (chapters 13 and 14)
    "simclr": SimCLR, "simclr_v2": SimCLRv2, "dcl": DCL, "spectral": Spectral, "directclr": DirectCLR,
    "supcon": SupCon, "nnclr": NNCLR, "instdisc": InstDisc, "pirl": PIRL, "moco_v1": MoCoV1, "moco_v2": MoCoV2,
    "moco_v3": MoCoV3, "mochi": MoCHi, "diet": DIET,
    # What does the teacher say? (15)
    "byol": BYOL, "simsiam": SimSiam, "dino": DINO, "ibot": IBOT, "dinov2": DINOv2, "msf": MSF, "simdino": SimDINO,
    # Keep the dimensions apart (16)
    "barlow_twins": BarlowTwins, "vicreg": VICReg, "w_mse": WMSE, "tico": TiCo, "mmcr": MMCR, "frossl": FroSSL,
    "emp_ssl": EMPSSL, "lejepa": LeJEPA, "visreg": VISReg,
    # Which cluster? (17)
    "deepcluster": DeepCluster, "online_deepcluster": OnlineDeepCluster, "sela": SeLa, "swav": SwAV, "pcl": PCL,
    "msn": MSN,
    # What shall a view keep? (22c)
    "essl": ESSL, "equimod": EquiMod, "looc": LooC,
    # What is hidden? (18)
    "mae": MAE, "simmim": SimMIM, "beit": BEiT, "data2vec": Data2Vec, "ijepa": IJEPA,
    "crossmae": CrossMAE, "salt": SALT,
    # What does a place know? (23b)
    "densecl": DenseCL, "vicregl": VICRegL, "selfpatch": SelfPatch, "insloc": InsLoc,
    # the baseline
    "supervised": Supervised,
}  # fmt: skip


def takes(name: str, option: str) -> bool:
    """Whether the constructor of a method has that option, itself or by passing it on to its parent's."""
    for cls in METHODS[name].__mro__:
        parameters = inspect.signature(cls.__init__).parameters
        if option in parameters:
            return True
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return False
    return False


def build_method(name: str, encoder: nn.Module, **options) -> Method:
    """A method by name around an encoder; options go to its constructor.

    Raises InputError for an unknown name or option.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; choose from {', '.join(METHODS)}")
    try:
        return METHODS[name](encoder, **options)
    except TypeError as error:
        raise InputError(f"method {name!r} does not take these options: {error}") from None


__all__ = ["METHODS", "Method", "build_method", "takes"] + [cls.__name__ for cls in METHODS.values()]
