"""What a convolution after a normalizer and an activation sees: the activation's variance under N(0,1)."""

from __future__ import annotations

# Var f(z), z ~ N(0,1): what a convolution after a normalizer and f sees. A table, so that judging needs no torch;
# a test holds it against the quadrature.
HEALTHY_VARIANCE: dict[str, float] = {
    "celu": 0.619179,
    "elu": 0.619179,
    "gelu": 0.345644,
    "gelu-tanh": 0.345648,
    "hardshrink": 0.969140,
    "hardsigmoid": 0.0276391,
    "hardswish": 0.303939,
    "hardtanh": 0.516059,
    "identity": 1.0,
    "leaky_relu": 0.344062,
    "log-sigmoid": 0.271515,
    "mish": 0.394548,
    "relu": 0.340845,
    "relu6": 0.340845,
    "selu": 1.0,
    "sigmoid": 0.0433790,
    "silu": 0.313083,
    "softplus": 0.271515,
    "softshrink": 0.419279,
    "softsign": 0.183014,
    "swish": 0.313083,
    "tanh": 0.394294,
    "tanhshrink": 0.182883,
}
