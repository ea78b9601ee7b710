"""What a member of each kind tells of itself; a fact that is not told counts as unknown, and nothing is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping


class Entry(NamedTuple):
    """A registered name's implementation, as ``package.module:attribute``, and one line of help."""

    target: str
    summary: str


class Whole(NamedTuple):
    """A setting that is a whole number, and its legal range."""

    least: int
    most: int


class Real(NamedTuple):
    """A setting that is a number, and its legal range."""

    least: float
    most: float


class Words(NamedTuple):
    """A setting that is one of a few words.

    Attributes:
        legal: The words.
        refused: Words that a user could expect among them, and why they are not: what follows "is not here: ".
    """

    legal: tuple[str, ...]
    refused: Mapping[str, str] = {}


class Text(NamedTuple):
    """A setting that is any text which is not empty, such as a file's path.

    Attributes:
        metavar: What stands for it in a message.
    """

    metavar: str


Setting: TypeAlias = Whole | Real | Words | Text


class Placement(NamedTuple):
    """Where a normalizer stands that does not stand everywhere.

    Attributes:
        stages: The first so many stages have it.
        place: ``second`` is the branch's second normalizer, which takes what the first convolution returns;
            ``addition`` follows the addition of a stage's last block.
        elsewhere: The normalizer of every other place of a branch.
    """

    stages: int
    place: Literal["second", "addition"]
    elsewhere: str


class NormalizerEntry(NamedTuple):
    """A normalizer.

    Attributes:
        target: Builder: from the number of channels and the settings to a module, or None for no module.
        summary: One line of help.
        removes: The mean it takes out: each channel's own (``channel``), one of several channels, which leaves each the
            rest of its own (``several``), or ``none``; None where that is unknown.
        running: Whether eval mode uses running statistics.
        theory: What the recursion of covariances does for it: ``batch`` normalization or ``none``; None where it knows
            no such layer.
        one_scale: Whether each channel has one learnable scale, which equi-normalization may move; None where unknown.
        warmup: Batches that are run before the measurement unless the user says otherwise.
        settings: Its settings (``--norm-kw``), which are keywords of the builder.
        everywhere: Whether it can take the place of any normalizer in any model.
        placement: Where it stands; everywhere if None.
        order: Whether ``--order`` moves it.
        refuses_gates: Why no gate may stand in its network: what follows its name in the message; empty if one may.
        noiseless: The setting, and its value, with which train mode has no noise on the weights.
        layer: The class of its module, as ``package.module:Class``, where that is not one of torch's.
        block: The class of its network's blocks, where it needs its own.
    """

    target: str
    summary: str
    removes: Literal["channel", "several", "none"] | None = None
    running: bool = False
    theory: Literal["batch", "none"] | None = None
    one_scale: bool | None = None
    warmup: int = 0
    settings: Mapping[str, Setting] = {}
    everywhere: bool = True
    placement: Placement | None = None
    order: bool = False
    refuses_gates: str = ""
    noiseless: tuple[str, str] | None = None
    layer: str | None = None
    block: str | None = None


class WeightEntry(NamedTuple):
    """A weight parametrization.

    Attributes:
        target: Function of the raw weight, the filters' gains and c.
        summary: One line of help.
        centred: Whether the weights of each filter sum to zero; None where unknown.
        squares: What the squared weights of a filter sum to: as they are ``drawn``, c in the mean over filters, less
            what centring takes; ``c`` exactly; the ``fan-in``, each weight having unit variance; None where unknown.
    """

    target: str
    summary: str
    centred: bool | None = None
    squares: Literal["drawn", "c", "fan-in"] | None = None


class ActivationEntry(NamedTuple):
    """An activation f.

    Attributes:
        target: A ``models.activations.Activation``.
        summary: One line of help.
        variance: Var f(z), z ~ N(0, 1): what a convolution after a normalizer and f sees; a test holds each against
            the quadrature. None where unknown.
        slopes: Above and below 0, of the only functions with f(a x) = a f(x) for a > 0: what such an f does to a
            variance does not depend on the variance. None for all others.
        module: Its class in ``torch.nn``, whose defaults are this function.
        gate: Whether today's networks use it as a gate, positive by design, and not between layers.
        far_from_gaussian: Whether it makes much out of the little by which a normalizer's output is not Gaussian:
            tanhshrink makes 3.4 times the variance out of it (measured, bn-relu-conv, width 0.25), others up to 2.
    """

    target: str
    summary: str
    variance: float | None = None
    slopes: tuple[float, float] | None = None
    module: str | None = None
    gate: bool = False
    far_from_gaussian: bool = False


class StatisticEntry(NamedTuple):
    """A statistic.

    Attributes:
        target: A ``stats.statistic.Statistic``.
        summary: One line of help.
        role: Where it is measured, the role of a site (``sppkit.sites``): one statistic can be measured in two places
            under two names.
        default: Whether it is measured without being asked for.
    """

    target: str
    summary: str
    role: str
    default: bool = False


class ShiftEntry(NamedTuple):
    """A shift of the input.

    Attributes:
        target: Maker: from its arguments and settings, as keywords, to a ``shifts.shift.Shift``, or to a
            ``shifts.shift.PairShift`` where it pairs.
        summary: One line of help.
        arguments: What must follow the name, each behind a colon, in this order.
        settings: What may follow as ``key=value,key=value``.
        pairs: Whether each picture is shifted by means of another one, its partner.
        moves: Whether it moves what is in the picture, so that a position before it and after it are not the same
            place.
        any_values: Whether it makes sense of numbers that are no picture's, such as Gaussian noise.
        nuisance: Whether it leaves the label, acts alike on every class, and is drawn anew for each use.
    """

    target: str
    summary: str
    arguments: Mapping[str, Setting] = {}
    settings: Mapping[str, Setting] = {}
    pairs: bool = False
    moves: bool = False
    any_values: bool = False
    nuisance: bool = False
