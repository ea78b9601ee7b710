"""Gains and moments against mathematics that shares no code with the package: mpmath, closed forms, SciPy, the paper.

The definitions below are written from the mathematics (in mpmath, or with ``math``), not from torch's functions.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from scipy import integrate
from torch import nn
from torch.nn import functional

from sppkit.errors import UsageError
from sppkit.models import activations
from sppkit.models.activations import Activation, activation_gain, gaussian_moments, load_activation, quadrature
from sppkit.registry import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# Klambauer et al. 2017, arXiv:1706.02515, equation 14: alpha and lambda of selu.
SELU_ALPHA = mpf("1.6732632423543772848170429916717")
SELU_SCALE = mpf("1.0507009873554804934193349852946")


class Definition(NamedTuple):
    """What a name means, for an mpmath number; and where it must be integrated piecewise."""

    function: Callable[[mpf], mpf]
    kinks: tuple[float, ...] = ()


def clamp(x: mpf, low: float, high: float) -> mpf:
    return min(max(x, mpf(low)), mpf(high))


def sigmoid(x: mpf) -> mpf:
    return 1 / (1 + mp.exp(-x))


def softplus(x: mpf) -> mpf:
    return max(x, mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def elu(x: mpf, alpha: mpf = mpf(1)) -> mpf:  # noqa: B008 - an immutable number
    return x if x > 0 else alpha * mp.expm1(x)


def gelu_tanh(x: mpf) -> mpf:  # Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2
    return x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)))


DEFINITIONS = {
    "celu": Definition(elu, (0,)),
    "elu": Definition(elu, (0,)),
    "gelu": Definition(lambda x: x * mp.ncdf(x)),
    "gelu-tanh": Definition(gelu_tanh),
    "hardshrink": Definition(lambda x: x if abs(x) > 0.5 else mpf(0), (-0.5, 0.5)),
    "hardsigmoid": Definition(lambda x: clamp(x + 3, 0, 6) / 6, (-3, 3)),
    "hardswish": Definition(lambda x: x * clamp(x + 3, 0, 6) / 6, (-3, 3)),
    "hardtanh": Definition(lambda x: clamp(x, -1, 1), (-1, 1)),
    "identity": Definition(lambda x: x),
    "leaky_relu": Definition(lambda x: x if x > 0 else x / 100, (0,)),
    "log-sigmoid": Definition(lambda x: -softplus(-x)),
    "mish": Definition(lambda x: x * mp.tanh(softplus(x))),
    "relu": Definition(lambda x: max(x, mpf(0)), (0,)),
    "relu6": Definition(lambda x: clamp(x, 0, 6), (0, 6)),
    "selu": Definition(lambda x: SELU_SCALE * elu(x, SELU_ALPHA), (0,)),
    "sigmoid": Definition(sigmoid),
    "silu": Definition(lambda x: x * sigmoid(x)),
    "softplus": Definition(softplus),
    "softshrink": Definition(lambda x: mp.sign(x) * max(abs(x) - 0.5, mpf(0)), (-0.5, 0.5)),
    "softsign": Definition(lambda x: x / (1 + abs(x)), (0,)),
    "swish": Definition(lambda x: x * sigmoid(x)),
    "tanh": Definition(mp.tanh),
    "tanhshrink": Definition(lambda x: x - mp.tanh(x)),
}


class Moments(NamedTuple):
    """Mean and variance by mpmath."""

    mean: mpf
    variance: mpf


def mpmath_moments(definition: Definition, mean: float = 0.0, std: float = 1.0) -> Moments:
    """Tanh-sinh quadrature at 30 digits over 15 standard deviations (beyond which lies 7e-51)."""
    with mp.workdps(30):
        m, s = mpf(mean), mpf(std)
        inner = {z for k in definition.kinks if abs(z := (k - m) / s) < 15}
        points = sorted({mpf(z) for z in (-15, -6, -2, 0, 2, 6, 15)} | inner)
        first = mp.quad(lambda z: definition.function(m + s * z) * mp.npdf(z), points)
        variance = mp.quad(lambda z: (definition.function(m + s * z) - first) ** 2 * mp.npdf(z), points)
        return Moments(first, variance)


def test_every_registered_name_has_an_independent_definition() -> None:
    assert set(DEFINITIONS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_gain_agrees_with_mpmath(name: str) -> None:
    expected = 1 / mp.sqrt(mpmath_moments(DEFINITIONS[name]).variance)
    assert activation_gain(name) == pytest.approx(float(expected), rel=1e-10, abs=0)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_moments_agree_with_mpmath_away_from_the_unit_gaussian(name: str) -> None:
    expected = mpmath_moments(DEFINITIONS[name], mean=-0.7, std=2.5)
    measured = gaussian_moments(load_activation(name), mean=-0.7, std=2.5)
    deviation = math.sqrt(expected.variance)
    # softplus: torch drops log(1 + exp(-x)) < 2e-9 above its threshold of 20, eight deviations away: no difference.
    assert measured.mean == pytest.approx(float(expected.mean), rel=0, abs=1e-10 * deviation)
    assert measured.variance == pytest.approx(float(expected.variance), rel=1e-10, abs=0)
    assert measured.second_moment == pytest.approx(float(expected.variance + expected.mean**2), rel=1e-10, abs=0)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_registered_object_has_the_kinks_of_its_definition(name: str) -> None:
    expected = {"softplus": (20.0,)}.get(name, DEFINITIONS[name].kinks)  # torch's own, not the mathematics'
    assert load_activation(name).kinks == expected


@pytest.mark.parametrize("name", DEFINITIONS)
def test_kinks_left_out_are_found(name: str) -> None:
    activation = load_activation(name)
    blind = Activation("blind", activation.function)
    assert activation_gain(blind) == pytest.approx(activation_gain(activation), rel=1e-12, abs=0)


@pytest.mark.parametrize("name", ["relu", "hardshrink", "hardswish", "relu6"])
def test_a_kink_that_is_named_needs_no_bisection(name: str) -> None:
    sizes = []

    def recorded(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return activation.function(x)

    activation = load_activation(name)
    gaussian_moments(Activation("recorded", recorded, activation.kinks))
    # Twice all first panels (the shift, the sums); then at most the two kinks' neighbours, never a chain of halvings.
    assert len([size for size in sizes if size > 24]) == 2


CLOSED_FORMS = {
    "identity": 1.0,
    "relu": math.sqrt(2) / math.sqrt(1 - 1 / math.pi),  # Brock et al. 2021, section 4.2
    # With slope a below zero: E f = (1 - a)/sqrt(2 pi), E f^2 = (1 + a^2)/2.
    "leaky_relu": 1 / math.sqrt((1 + 0.01**2) / 2 - (1 - 0.01) ** 2 / (2 * math.pi)),
    # Odd, E f^2 = P(|z| < 1) - 2 phi(1) + P(|z| > 1) = 1 - 2 phi(1), by parts.
    "hardtanh": 1 / math.sqrt(1 - math.sqrt(2 / (math.pi * math.e))),
    # Odd, E f^2 = P(|z| > 1/2) + phi(1/2), by parts.
    "hardshrink": 1 / math.sqrt(math.erfc(0.5 / math.sqrt(2)) + math.exp(-1 / 8) / math.sqrt(2 * math.pi)),
    # E f = 1/(2 sqrt(pi)); E f^2 = 1/3 + 1/(2 pi sqrt(3)), by Stein's lemma applied twice.
    "gelu": 1 / math.sqrt(1 / 3 + 1 / (2 * math.pi * math.sqrt(3)) - 1 / (4 * math.pi)),
    "selu": 1.0,  # its constants are chosen so that (0, 1) is a fixed point
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_gain_agrees_with_the_closed_form(name: str) -> None:
    assert activation_gain(name) == pytest.approx(CLOSED_FORMS[name], rel=1e-12, abs=0)


# github.com/google-deepmind/deepmind-research, nfnets/base.py, `nonlinearities`: estimated from samples.
PUBLISHED = {
    "celu": 1.270926833152771,
    "elu": 1.2716004848480225,
    "gelu": 1.7015043497085571,
    "identity": 1.0,
    "leaky_relu": 1.70590341091156,
    "log-sigmoid": 1.9193484783172607,
    "relu": 1.7139588594436646,
    "relu6": 1.7131484746932983,
    "selu": 1.0008515119552612,
    "sigmoid": 4.803835391998291,
    "silu": 1.7881293296813965,
    "softplus": 1.9203323125839233,
    "softsign": 2.338853120803833,
    "tanh": 1.5939117670059204,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_gain_agrees_with_the_published_estimates(name: str) -> None:
    # Theirs is 1/sqrt of variances of samples, all from above and by up to 0.13 %.
    assert 0 <= PUBLISHED[name] / activation_gain(name) - 1 + 1e-12 < 0.0014


SCALAR = {
    "relu": Definition(lambda x: max(x, 0.0), (0,)),
    "hardswish": Definition(lambda x: x * min(max(x + 3, 0.0), 6.0) / 6, (-3, 3)),
    "hardshrink": Definition(lambda x: x if abs(x) > 0.5 else 0.0, (-0.5, 0.5)),
    "softsign": Definition(lambda x: x / (1 + abs(x)), (0,)),
    "gelu": Definition(lambda x: x / 2 * math.erfc(-x / math.sqrt(2))),
    "tanh": Definition(math.tanh),
}
# Mean far from the kinks, on either side; small, tiny, large and huge std, in units of the activation's own scale, 1.
LAWS = [(0.3, 2.0), (-3.0, 0.5), (50.0, 1.0), (-5.0, 1.0), (1.5, 1e-4), (-0.2, 1e-3), (0.0, 1e4), (3e3, 1e4)]


def scipy_moments(definition: Definition, mean: float, std: float) -> tuple[float, float]:
    """QUADPACK between the kinks, and 1, 8 and 64 around 0, within 12 standard deviations."""
    low, high = mean - 12 * std, mean + 12 * std
    marks = {*definition.kinks, *(x for x in (0, 1, -1, 8, -8, 64, -64)), mean - 3 * std, mean, mean + 3 * std}
    points = [low, *sorted(x for x in marks if low < x < high), high]

    def expect(g: Callable[[float], float]) -> float:
        pieces = itertools.pairwise(points)

        def integrand(x: float) -> float:
            return g(definition.function(x)) * math.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))

        return math.fsum(integrate.quad(integrand, a, b, epsabs=0, epsrel=1e-11, limit=200)[0] for a, b in pieces)

    # About f(mean), so that a tiny variance is no difference of large numbers.
    centre = definition.function(mean)
    first = expect(lambda f: f - centre)
    return centre + first, expect(lambda f: (f - centre) ** 2) - first**2


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")  # where f - f(mean) is 0 to rounding
@pytest.mark.parametrize(("mean", "std"), LAWS)
@pytest.mark.parametrize("name", SCALAR)
def test_moments_agree_with_scipy(name: str, mean: float, std: float) -> None:
    expected_mean, expected_variance = scipy_moments(SCALAR[name], mean, std)
    measured = gaussian_moments(load_activation(name), mean=mean, std=std)
    deviation = math.sqrt(expected_variance)
    # x is known to eps |mean|, so std to eps |mean| / std of itself.
    tolerance = 1e-9 + 10 * np.finfo(np.float64).eps * (1 + abs(mean)) / min(std, deviation or math.inf)
    assert measured.mean == pytest.approx(expected_mean, rel=1e-12, abs=tolerance * deviation)
    # tanh rounds to 1 near 50, in SciPy's integrand as in torch's.
    assert measured.variance == pytest.approx(expected_variance, rel=tolerance, abs=np.finfo(np.float64).eps ** 2)


@pytest.mark.parametrize("mean", [-35.0, -20.0, -8.0, 0.0, 3.0, 1e3, 1e6])
def test_moments_of_relu_agree_with_their_closed_form(mean: float) -> None:
    with mp.workdps(300):  # E f^2 - (E f)^2 cancels, and at -35 everything is of the order 1e-270
        m = mpf(mean)
        first = mp.npdf(m) + m * mp.ncdf(m)
        variance = (m**2 + 1) * mp.ncdf(m) + m * mp.npdf(m) - first**2
    measured = gaussian_moments(activations.relu, mean=mean)
    assert measured.mean == pytest.approx(float(first), rel=1e-10, abs=0)
    assert measured.variance == pytest.approx(float(variance), rel=1e-10, abs=0)


@pytest.mark.parametrize("name", ["gelu", "sigmoid", "tanhshrink", "softplus"])
@pytest.mark.parametrize(("mean", "std"), [(1.0, 1e-9), (30.0, 1.0), (-20.0, 1.0), (0.0, 1e-3), (1e8, 1.0)])
def test_error_is_honest_where_rounding_limits_it(name: str, mean: float, std: float) -> None:
    """At worst, f is computed from numbers of size 1 + |x| with a handful of roundings."""
    expected = mpmath_moments(DEFINITIONS[name], mean, std)
    started = time.perf_counter()
    measured = gaussian_moments(load_activation(name), mean=mean, std=std)
    assert time.perf_counter() - started < 5  # 0.05 s; noise is not chased to the last panel
    rounding = 10 * np.finfo(np.float64).eps * (1 + abs(mean) + std)
    deviation = math.sqrt(expected.variance)
    assert measured.mean == pytest.approx(float(expected.mean), rel=1e-12, abs=rounding)
    assert abs(measured.variance - float(expected.variance)) <= 1e-10 * deviation**2 + rounding * (deviation + rounding)


def test_std_zero_is_a_point() -> None:
    assert gaussian_moments(activations.relu, mean=3.0, std=0.0) == (3.0, 0.0, 0.0)


@pytest.mark.parametrize("std", [1e3, 1e6, 1e90])
def test_an_exploding_signal_sees_relu_in_gelu(std: float) -> None:
    """gelu(x) - relu(x) integrates to -1/4 - 1/4 ... over x: seen only if x = 0 is looked at on the scale of 1.

    E gelu(s z) = s^2 / sqrt(2 pi (1 + s^2)), by Stein's lemma.
    """
    expected = std / math.sqrt(2 * math.pi) / math.sqrt(1 + std**-2)
    assert gaussian_moments(activations.gelu, std=std).mean == pytest.approx(expected, rel=1e-13, abs=0)


def step(x: Tensor, at: float) -> Tensor:
    return (x > at).to(x.dtype)


def ramp(x: Tensor, at: float) -> Tensor:
    return functional.relu(x - at)


def staircase(x: Tensor) -> Tensor:
    return torch.floor(10 * x) / 10


# Within the panel [1/4, 3/8]: the ends, where no Gauss node is, and the middle, where all Gauss rules agree.
@pytest.mark.parametrize("at", [math.sqrt(2) / math.pi, *(0.25 + 0.125 * np.array([1e-7, 1e-3, 0.5001, 0.53, 0.9999]))])
def test_a_jump_at_an_unknown_point_is_found(at: float) -> None:
    below = (1 + math.erf(at / math.sqrt(2))) / 2  # P(z < at)
    measured = activation_gain(functools.partial(step, at=float(at)))
    assert measured == pytest.approx(1 / math.sqrt(below * (1 - below)), rel=1e-10, abs=0)


def test_rules_differ_wherever_a_jump_lies() -> None:
    """The claim beside the rules: between any two nodes, their difference is at least 0.38 of the fine one's error."""
    nodes, rules = quadrature._NODES, quadrature._RULES
    cuts = np.unique(np.concatenate(([-1.0], nodes, [1.0])))
    for low, high in itertools.pairwise(cuts[1:-1]):
        fine, coarse = rules[nodes >= high].sum(axis=0)
        assert abs(fine - coarse) >= 0.38 * max(abs(fine - (1 - low)), abs(fine - (1 - high)))


def test_a_kink_at_an_unknown_irrational_point_is_found() -> None:
    with mp.workdps(30):
        at = mp.e / 7
        density, above = mp.npdf(at), mp.ncdf(-at)
        expected = 1 / mp.sqrt((1 + at**2) * above - at * density - (density - at * above) ** 2)
    measured = activation_gain(functools.partial(ramp, at=math.e / 7))
    assert measured == pytest.approx(float(expected), rel=1e-10, abs=0)


def test_a_staircase_of_many_jumps_converges() -> None:
    steps = np.arange(-100, 100) / 10
    mass = np.diff([math.erf(x / math.sqrt(2)) / 2 for x in (*steps, 10.0)])
    variance = (mass * steps**2).sum() - (mass * steps).sum() ** 2
    assert activation_gain(staircase) == pytest.approx(1 / math.sqrt(variance), rel=1e-10, abs=0)


def test_a_pole_that_can_be_integrated_converges() -> None:
    """E |z|^p = 2^(p/2) Gamma((p + 1)/2) / sqrt(pi)."""

    def moment(p: float) -> float:
        return 2 ** (p / 2) * math.gamma((p + 1) / 2) / math.sqrt(math.pi)

    gain = activation_gain(Activation("root", lambda x: x.abs() ** 0.25))
    assert gain == pytest.approx(1 / math.sqrt(moment(0.5) - moment(0.25) ** 2), rel=1e-10, abs=0)


@pytest.mark.parametrize("scale", [1e-100, 1e-12, 1e100])
def test_gain_does_not_depend_on_the_size_of_the_values(scale: float) -> None:
    expected = activation_gain("silu") / scale
    assert activation_gain(lambda x: scale * functional.silu(x)) == pytest.approx(expected, rel=1e-10, abs=0)


def test_a_large_offset_cancels_nothing() -> None:
    assert activation_gain(lambda x: 1e3 + x) == pytest.approx(1.0, rel=1e-12, abs=0)


def test_names_objects_and_callables_load() -> None:
    module = nn.PReLU(init=0.2, dtype=torch.float64)
    assert load_activation("relu") is activations.relu
    assert load_activation("swish") is activations.silu
    assert load_activation(activations.silu) is activations.silu
    assert load_activation(torch.sin) == Activation("sin", torch.sin)
    assert load_activation(module) == Activation("PReLU", module)
    assert load_activation(functools.partial(step, at=1.0)).name == "partial"


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"swish"}))
def test_an_object_carries_its_registered_name(name: str) -> None:
    assert load_activation(name).name == name


def test_gain_accepts_every_kind_of_spec() -> None:
    assert activation_gain("relu") == activation_gain(activations.relu) == activation_gain(torch.relu)


def test_gain_of_a_module_follows_its_parameters() -> None:
    module = nn.PReLU(init=0.0, dtype=torch.float64)
    assert activation_gain(module) == pytest.approx(activation_gain("relu"), rel=1e-12)
    nn.init.ones_(module.weight)
    assert activation_gain(module) == pytest.approx(1.0, rel=1e-12)


def test_a_function_that_works_in_place_is_integrated_alike() -> None:
    assert activation_gain(lambda x: x.add_(1).tanh_()) == activation_gain(lambda x: torch.tanh(x + 1))


def test_no_trace_is_left_on_gradients_or_the_random_stream() -> None:
    module = nn.Dropout(0.5)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.raises(UsageError, match="random"):
        activation_gain(module)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()


def fails(x: Tensor) -> Tensor:
    raise RuntimeError("no kernel\nsecond line")


def outgrows(x: Tensor) -> Tensor:
    return torch.exp(x**2 / 4)


def hashes(x: Tensor) -> Tensor:
    """Deterministic, elementwise, and continuous nowhere."""
    return torch.frac(torch.sin(1e6 * x) * 1e6)


class Refusal(NamedTuple):
    """A function that has no gain, and the whole message that says why."""

    function: object
    message: str


REFUSALS = {
    "no function": Refusal(
        3, "an activation is a registered name or a function of a tensor, not 3; see `sppkit list`."
    ),
    "unknown name": Refusal(
        "seluu", "unknown activation 'seluu'; did you mean 'selu'\\?\nKnown: celu, .*tanhshrink\\."
    ),
    "softmax": Refusal(
        Activation("softmax", functools.partial(functional.softmax, dim=-1)),
        "activation 'softmax' is not elementwise: an element's value depends on the others; "
        "a gain is defined for functions of one number, such as relu.",
    ),
    "sort": Refusal(
        Activation("sort", lambda x: x.sort().values),
        "activation 'sort' is not elementwise: .*",
    ),
    "batch mean": Refusal(
        Activation("centre", lambda x: x - x.mean(0)),
        "activation 'centre' is not elementwise: .*",
    ),
    "glu": Refusal(
        Activation("glu", functional.glu),
        r"activation 'glu' made torch.float64 of shape \(4, 3\) from torch.float64 of shape \(4, 6\); "
        "it must keep both.",
    ),
    "dtype": Refusal(
        Activation("half", torch.Tensor.half),
        r"activation 'half' made torch.float16 of shape \(4, 6\) from torch.float64 of shape \(4, 6\); "
        "it must keep both.",
    ),
    "no tensor": Refusal(
        Activation("list", lambda x: x.tolist()), "activation 'list' returned list; it must return a tensor."
    ),
    "failure": Refusal(
        fails,
        r"activation 'fails' failed on a float64 tensor of shape \(4, 6\): no kernel; "
        "it must accept any shape and dtype.",
    ),
    "random": Refusal(nn.Dropout(), "activation 'Dropout' is random: two calls differ; put it in evaluation mode."),
    "constant": Refusal(
        torch.zeros_like,
        r"activation 'zeros_like' has no gain: on N\(0, 1\) its variance 0 is lost in rounding \(error 0\); "
        "a gain needs a function that is not constant.",
    ),
    "constant but for rounding": Refusal(
        Activation("one", lambda x: torch.sin(x) ** 2 + torch.cos(x) ** 2),
        r"activation 'one' has no gain: on N\(0, 1\) its variance \de-3\d|.* is lost in rounding .*",
    ),
    "nan": Refusal(torch.sqrt, "activation 'sqrt' is nan at x = -.*; it must be finite wherever its input can lie."),
    "nan in place": Refusal(torch.sqrt_, "activation 'sqrt_' is nan at x = -.*; it must be finite .*"),
    "infinite": Refusal(
        Activation("square-exp", lambda x: torch.exp(x**2)),
        "activation 'square-exp' is inf at x = -.*; it must be finite wherever its input can lie.",
    ),
    "infinite variance": Refusal(
        outgrows,
        r"activation 'outgrows' has no finite variance on N\(0, 1\^2\); "
        r"it must grow more slowly than the Gaussian falls, f\(x\) < exp\(z\^2/4\).",
    ),
    "square overflows": Refusal(
        Activation("huge", lambda x: 1e200 * x), r"activation 'huge' has no finite variance on N\(0, 1\^2\); .*"
    ),
    "nowhere continuous": Refusal(
        hashes,
        r"the variance of activation 'hashes' did not converge on N\(0, 1\^2\); "
        r"it must be smooth but for a few kinks and jumps: name those in Activation\(..., kinks=\(...\)\).",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_says_what_was_wrong(case: str) -> None:
    function, message = REFUSALS[case]
    with pytest.raises(UsageError) as caught:
        activation_gain(function)  # type: ignore[arg-type]
    assert re.fullmatch(message, str(caught.value))


@pytest.mark.parametrize(
    ("mean", "std"), [(math.nan, 1.0), (math.inf, 1.0), (0.0, -1.0), (0.0, math.inf), (0.0, math.nan)]
)
def test_a_gaussian_is_finite(mean: float, std: float) -> None:
    message = re.escape(f"a Gaussian needs a finite mean and a finite std of at least 0, not {mean!r} and {std!r}.")
    with pytest.raises(UsageError, match=f"^{message}$"):
        gaussian_moments(activations.relu, mean=mean, std=std)


def test_a_pole_without_finite_square_is_refused() -> None:
    """Bisection closes in on the pole until it meets infinity, or the panels are as narrow as doubles allow."""
    with pytest.raises(
        UsageError, match=r"activation 'pole' (is inf at x = 0\.3; |did not converge on N\(0, 1\^2\); )"
    ):
        activation_gain(Activation("pole", lambda x: (x - 0.3).abs() ** -0.6))


def test_mpmath_twin_knows_a_closed_form() -> None:
    """The judge is judged: Var relu = (1 - 1/pi)/2 to 25 digits."""
    with mp.workdps(30):
        variance = mpmath_moments(DEFINITIONS["relu"]).variance
        assert mpmath.almosteq(variance, (1 - 1 / mp.pi) / 2, rel_eps=mpf(10) ** -25)
