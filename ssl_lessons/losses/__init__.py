"""Loss functions, each written out in the open and compared with a float64 loop in the tests."""

from .contrastive import info_nce, nt_xent

__all__ = ["info_nce", "nt_xent"]
