"""What a finite number of channels and samples adds to the limit of many: small numbers that travel with a signal."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Scatter:
    """How far a signal is from its limit, in relative variances.

    Attributes:
        excess: A third of the excess kurtosis over channels, E x⁴ = 3 (1 + excess) (E x²)². Filters of one length
            (scaled-ws) and normalizers of few values take it below 0.
        noise: Of the covariance of two independent positions, around its limit, over the product of their E x².
        jitter: Of the mean square over channels, from position to position.
        carried: How much of the relative deviation of the channel variance at the block's input is still there.
        drift: Of the channel variance, from seed to seed, beside what is carried.
        mean_drift: Of the expected square of a channel's mean, from seed to seed.
    """

    excess: float = 0.0
    noise: float = 0.0
    jitter: float = 0.0
    carried: float = 1.0
    drift: float = 0.0
    mean_drift: float = 0.0

    @property
    def coupling(self) -> float:
        """The excess between two samples, E x² x'² = (1 + coupling) E x² E x'² where E x x' = 0.

        A covariance that is random has the same effect on whatever is not linear in it.
        """
        return self.excess + 2 * self.noise

    def sharing(self, other: Scatter, share: float) -> Scatter:
        """Return the scatter of a sum of two signals.

        Args:
            other: Of the other signal, whose filters are its own.
            share: Of this signal in E x².

        Returns:
            The sum's; what describes means and whole seeds is left as it is here.
        """

        def mix(a: float, b: float) -> float:
            return share**2 * a + (1 - share) ** 2 * b

        return replace(
            self,
            excess=mix(self.excess, other.excess),
            noise=mix(self.noise, other.noise),
            jitter=mix(self.jitter, other.jitter),
        )


@dataclass(frozen=True)
class Response:
    """How the output of an activation hangs on its input, averaged over positions; u/s is the input over its std.

    Attributes:
        second: E phi².
        square: (E phi)².
        linear: (E phi u/s)²: the part of E phi phi' that is linear in the correlation.
        second_slope: Derivative of ``second`` in the logarithm of s².
        square_slope: Derivative of ``square``.
        fourth: E phi⁴.
        central_fourth: E (phi - E phi)⁴.
        tilt: E (phi - E phi)² u/s.
    """

    second: float
    square: float
    linear: float
    second_slope: float
    square_slope: float
    fourth: float
    central_fourth: float
    tilt: float

    def about_mean(self) -> Response:
        """Return the response of phi - E phi.

        Returns:
            The response.
        """
        return Response(
            second=self.second - self.square,
            square=0.0,
            linear=self.linear,
            second_slope=self.second_slope - self.square_slope,
            square_slope=0.0,
            fourth=self.central_fourth,
            central_fourth=self.central_fourth,
            tilt=self.tilt,
        )


# Of the identity, and so of whatever reaches a convolution without an activation.
UNCHANGED = Response(1.0, 0.0, 1.0, 1.0, 0.0, 3.0, 3.0, 0.0)


def behind_convolution(scatter: Scatter, response: Response, *, fan_in: int, taps: int, excess: float) -> Scatter:
    """Return the scatter after a convolution.

    The sum over N = fan_in inputs estimates their covariances with a relative variance of 1/N and their mean square
    with one of (kurtosis - 1)/N. What there was before goes through the activation, and is averaged over taps that
    know nothing of each other.

    Args:
        scatter: Before the activation.
        response: Of the activation, about its mean if the filters are centred.
        fan_in: N.
        taps: How many positions a filter sees.
        excess: Of the filters.

    Returns:
        The scatter; ``drift`` has only what was there before.
    """
    power = response.second
    if not power > 0:
        return Scatter(carried=0.0)
    slope, elasticity = response.linear / power, response.second_slope / power
    return Scatter(
        excess=excess,
        noise=1 / fan_in + slope**2 * scatter.noise / taps,
        jitter=(response.fourth / power**2 - 1) / fan_in + elasticity**2 * scatter.jitter / taps,
        carried=scatter.carried * elasticity,
        drift=scatter.drift * elasticity**2,
    )
