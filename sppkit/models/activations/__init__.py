r"""Elementwise activations, and the gain that makes each of them preserve variance.

A Normalizer-Free network multiplies every activation f by the constant

    gamma = 1 / sqrt(Var f(z)),    z ~ N(0, 1)

so that a unit Gaussian leaves with variance 1 (Brock, De & Smith 2021, arXiv:2101.08692, section 4.2 and appendix D).
The paper estimates the variance by sampling, to about 0.1 %. Here it is an integral over the function that is really
applied, torch's own in float64: composite Gauss-Legendre quadrature, split where f or f' jumps.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch.nn import functional

from sppkit.errors import UsageError
from sppkit.models.activations.quadrature import GaussianMoments as GaussianMoments
from sppkit.models.activations.quadrature import gaussian_moments as gaussian_moments
from sppkit.models.activations.quadrature import name_of
from sppkit.registry import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    ActivationSpec: TypeAlias = "str | Callable[[Tensor], Tensor] | Activation"


@dataclass(frozen=True)
class Activation:
    """An elementwise function of a tensor.

    Attributes:
        name: What it is called in messages and files.
        function: From a tensor to a tensor of the same shape and dtype, pure and elementwise.
        kinks: Where f or f' jumps. The quadrature is split there; a kink left out is found by bisection.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...] = ()


def _unchanged(x: Tensor) -> Tensor:
    return x


# Kinks are those of torch's definitions at its default arguments. elu has none to first order (f' is 1 on both sides),
# but f'' jumps at 0, and a split there costs nothing; so for celu and softsign.
celu = Activation("celu", functional.celu, kinks=(0.0,))
elu = Activation("elu", functional.elu, kinks=(0.0,))
gelu = Activation("gelu", functional.gelu)
gelu_tanh = Activation("gelu-tanh", functools.partial(functional.gelu, approximate="tanh"))
hardshrink = Activation("hardshrink", functional.hardshrink, kinks=(-0.5, 0.5))
hardsigmoid = Activation("hardsigmoid", functional.hardsigmoid, kinks=(-3.0, 3.0))
hardswish = Activation("hardswish", functional.hardswish, kinks=(-3.0, 3.0))
hardtanh = Activation("hardtanh", functional.hardtanh, kinks=(-1.0, 1.0))
identity = Activation("identity", _unchanged)
leaky_relu = Activation("leaky_relu", functional.leaky_relu, kinks=(0.0,))
log_sigmoid = Activation("log-sigmoid", functional.logsigmoid)
mish = Activation("mish", functional.mish)
relu = Activation("relu", functional.relu, kinks=(0.0,))
relu6 = Activation("relu6", functional.relu6, kinks=(0.0, 6.0))
selu = Activation("selu", functional.selu, kinks=(0.0,))
sigmoid = Activation("sigmoid", torch.sigmoid)
silu = Activation("silu", functional.silu)
# torch's softplus is x itself above its threshold of 20: a jump of log(1 + exp(-20)) = 2e-9.
softplus = Activation("softplus", functional.softplus, kinks=(20.0,))
softshrink = Activation("softshrink", functional.softshrink, kinks=(-0.5, 0.5))
softsign = Activation("softsign", functional.softsign, kinks=(0.0,))
tanh = Activation("tanh", torch.tanh)
tanhshrink = Activation("tanhshrink", functional.tanhshrink)


def load_activation(spec: ActivationSpec) -> Activation:
    """Turn a name or a function into an activation.

    >>> load_activation("leaky_relu").kinks
    (0.0,)
    >>> load_activation(torch.sin).name
    'sin'
    """
    if isinstance(spec, Activation):
        return spec
    if isinstance(spec, str):
        activation: Activation = resolve("activation", spec)
        return activation
    if not callable(spec):
        raise UsageError(
            f"an activation is a registered name or a function of a tensor, not {spec!r}; see `sppkit list`."
        )
    return Activation(getattr(spec, "__name__", type(spec).__name__), spec)


def activation_gain(spec: ActivationSpec) -> float:
    """The variance-preserving gain gamma = 1/sqrt(Var f(z)), z ~ N(0, 1).

    Source: Brock et al. 2021, arXiv:2101.08692, section 4.2; their appendix D samples what is integrated here. The
    relative error is below 1e-10. Gains of registered names are kept; a function's is computed at each call.

    >>> f"{activation_gain('relu'):.6f}"  # sqrt(2) / sqrt(1 - 1/pi)
    '1.712859'
    """
    return _gain_of_name(spec) if isinstance(spec, str) else _gain(load_activation(spec))


@functools.cache
def _gain_of_name(name: str) -> float:
    return _gain(load_activation(name))


def _gain(activation: Activation) -> float:
    moments = gaussian_moments(activation)
    # gamma ~ variance^(-1/2) halves the relative error: 2e-10 of the variance is 1e-10 of the gain. ">=" because a
    # constant function has neither variance nor error.
    if moments.variance_error >= 2e-10 * moments.variance:
        raise UsageError(
            f"{name_of(activation)} has no gain: on N(0, 1) its variance {moments.variance:.3g} is lost in rounding "
            f"(error {moments.variance_error:.1g}); a gain needs a function that is not constant."
        )
    return 1.0 / math.sqrt(moments.variance)
