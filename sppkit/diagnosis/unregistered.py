"""Parameters that a network uses and does not know, so that no optimizer of its parameters trains them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit.diagnosis.result import diagnosed
from sppkit.record.table import UNREGISTERED

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis


def find_unregistered(curves: Curves) -> Diagnosis | None:
    """Find parameters that the forward pass used, outside of ``no_grad``, and that ``model.parameters()`` lacks."""
    told = _read(curves.record.get(UNREGISTERED, curves.table.attrs.get(UNREGISTERED)))
    if curves.network.known or not told or not len(curves.variance):
        return None
    values, where = sum(count for _, count in told), told[0][0]
    return diagnosed(
        curves,
        "unregistered-parameters",
        "warning",
        begins=0,
        worst=0,
        statistic="channel_variance",
        limit=float(curves.variance[0]),
        fact=f"{len(told)} parameters of {values:,} values are used and are none of the network's own, the first in "
        f"{where or 'the network itself'}: model.parameters() does not hold them, and no optimizer made of it trains "
        "them",
        cause="their layers stand in a plain list or dict, or belong to another network",
        remedy="keep layers in nn.ModuleList or nn.ModuleDict, and parameters in nn.ParameterList",
    )


def _read(told: Any) -> list[tuple[str, int]]:
    # A record is a file that anybody may have written.
    if not isinstance(told, list):
        return []
    pairs = [each for each in told if isinstance(each, (list, tuple)) and len(each) == 2]
    return [(path, count) for path, count in pairs if isinstance(path, str) and type(count) is int and count > 0]
