"""A forward pass that takes another way than was expected, so that what was heard is not what was to be heard."""

from sppkit.errors import MeasurementError


class OtherWayError(MeasurementError):
    """The first pass had other joins than were taken for granted: a full look is needed."""


class WaysDifferError(MeasurementError):
    """A later pass had other joins than the first one: each pass has to be looked at."""
