"""What pyproject.toml can't say: the part that is compiled, if there is a compiler that can."""

import os
import sysconfig

from setuptools import Extension, setup

# GCC's and Clang's; another compiler does not know the vectors that the source is written in.
arguments = ["-O3", "-Wno-psabi"] if os.name == "posix" else []
# One file for all versions of Python; those without a global lock have no such thing yet.
stable = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    ext_modules=[
        Extension(
            "sppkit.stats.native_moments",
            ["sppkit/stats/native_moments.c"],
            extra_compile_args=arguments,
            py_limited_api=stable,
            optional=True,  # without it, torch and NumPy do the same in about twice the time
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if stable else {},
)
