"""The former name of ``Curves``, for modules that still use it."""

from sppkit.curves.curves import PREDICTED, Array
from sppkit.curves.curves import Curves as Signal

__all__ = ["PREDICTED", "Array", "Signal"]
