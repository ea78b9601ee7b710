"""Every activation, and what is known of it without torch."""

from __future__ import annotations

from sppkit.registry.entries import ActivationEntry

_HOME = "sppkit.models.activations"

# Variances and slopes are those of torch's defaults, as leaky ReLU's 0.01.
ACTIVATIONS: dict[str, ActivationEntry] = {
    "celu": ActivationEntry(f"{_HOME}:celu", "continuously differentiable ELU, alpha 1", 0.619179, module="CELU"),
    "elu": ActivationEntry(f"{_HOME}:elu", "exponential linear unit, alpha 1", 0.619179, module="ELU"),
    "gelu": ActivationEntry(f"{_HOME}:gelu", "x times the normal distribution function", 0.345644, module="GELU"),
    "gelu-tanh": ActivationEntry(f"{_HOME}:gelu_tanh", "GELU in its tanh approximation", 0.345648),
    "hardshrink": ActivationEntry(f"{_HOME}:hardshrink", "x where |x| > 0.5, else 0", 0.969140),
    "hardsigmoid": ActivationEntry(
        f"{_HOME}:hardsigmoid", "piecewise linear sigmoid", 0.0276391, module="Hardsigmoid", gate=True
    ),
    "hardswish": ActivationEntry(f"{_HOME}:hardswish", "x times hardsigmoid", 0.303939, module="Hardswish"),
    "hardtanh": ActivationEntry(f"{_HOME}:hardtanh", "clamped to [-1, 1]", 0.516059, module="Hardtanh"),
    "identity": ActivationEntry(
        f"{_HOME}:identity", "no activation: the linear network of the paper's ablation", 1.0, slopes=(1.0, 1.0)
    ),
    "leaky_relu": ActivationEntry(
        f"{_HOME}:leaky_relu", "ReLU with slope 0.01 below zero", 0.344062, slopes=(1.0, 0.01), module="LeakyReLU"
    ),
    "log-sigmoid": ActivationEntry(
        f"{_HOME}:log_sigmoid", "logarithm of the sigmoid", 0.271515, module="LogSigmoid", gate=True
    ),
    "mish": ActivationEntry(f"{_HOME}:mish", "x tanh(softplus(x))", 0.394548, module="Mish"),
    "relu": ActivationEntry(f"{_HOME}:relu", "max(x, 0)", 0.340845, slopes=(1.0, 0.0), module="ReLU"),
    "relu6": ActivationEntry(f"{_HOME}:relu6", "ReLU clamped at 6", 0.340845, module="ReLU6"),
    "selu": ActivationEntry(f"{_HOME}:selu", "scaled ELU of self-normalizing networks", 1.0, module="SELU"),
    "sigmoid": ActivationEntry(f"{_HOME}:sigmoid", "logistic function", 0.0433790, module="Sigmoid", gate=True),
    "silu": ActivationEntry(f"{_HOME}:silu", "x sigmoid(x), also called swish", 0.313083, module="SiLU"),
    "softplus": ActivationEntry(f"{_HOME}:softplus", "log(1 + exp(x))", 0.271515, module="Softplus"),
    "softshrink": ActivationEntry(f"{_HOME}:softshrink", "x moved towards 0 by 0.5, else 0", 0.419279),
    "softsign": ActivationEntry(f"{_HOME}:softsign", "x / (1 + |x|)", 0.183014, module="Softsign"),
    "swish": ActivationEntry(f"{_HOME}:silu", "another name of silu", 0.313083),
    "tanh": ActivationEntry(f"{_HOME}:tanh", "hyperbolic tangent", 0.394294, module="Tanh"),
    "tanhshrink": ActivationEntry(
        f"{_HOME}:tanhshrink", "x - tanh(x)", 0.182883, module="Tanhshrink", far_from_gaussian=True
    ),
}
