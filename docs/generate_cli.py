"""Write docs/cli.md from the list of options, or check that it is up to date (``--check``)."""

from __future__ import annotations

import sys
from pathlib import Path

from sppkit import registry
from sppkit.config import options as config
from sppkit.config.git import GeneratorOptions, GitOptions
from sppkit.config.invariance import InvarianceConfig

PAGE = Path(__file__).with_name("cli.md")
GENERATOR = config.options(GeneratorOptions)
HEAD = """# Commands

<!-- Written by docs/generate_cli.py from sppkit/config/options.py; edit these. -->

| command | what it does |
|---|---|
| `sppkit plot` | measure a network; write table, record and picture; say what they show |
| `sppkit plot RUN.csv` | redraw a saved run |
| `sppkit check` | judge a run by policy, theory and baseline; the exit code is the verdict |
| `sppkit bless RUN.csv` | accept a run as the new baseline |
| `sppkit diff A B` | compare two saved runs, block by block |
| `sppkit report RUN.csv ...` | one interactive page of one or more saved runs |
| `sppkit predict` | the curves that theory expects, without running a network |
| `sppkit compare SPEC SPEC ...` | measure several networks, or read saved runs, and lay them over each other |
| `sppkit sweep FILE.toml` | measure every cell of a grid of options, once each, and go on after any kill |
| `sppkit suggest` | try the standard remedies and show which flattens the curve |
| `sppkit invariance` | how far a classifier's answers move under what should not matter, by class and by block |
| `sppkit inspect` | show a network's blocks, or the residual joins found in your own, and where its signal is read |
| `sppkit gain [NAME ...]` | print the variance-preserving gain of activations |
| `sppkit git train` | learn a nuisance from labelled pictures: [what it is](git.md); its options are below |
| `sppkit list [KIND]` | list every name that can be typed |

`sppkit COMMAND --help` shows the options that people use, and examples; `--help all` shows every option, by
group. `sppkit --install-completion` teaches them to your shell.
"""


def page() -> str:
    parts = [HEAD]
    for panel in ("Model", "Input", "Run", "Output"):
        parts.append(f"## {panel} options\n\n| option | default | |\n|---|---|---|")
        parts.extend(
            row(name, option) for name, option in config.options(config.RunConfig).items() if option.panel == panel
        )
        parts.append("")
    own = {
        name: option
        for name, option in config.options(InvarianceConfig).items()
        if option != config.options(config.RunConfig).get(name)
    }
    parts.append("## Options of `sppkit invariance`\n\n| option | default | |\n|---|---|---|")
    parts.extend(row(name, option, InvarianceConfig) for name, option in own.items())
    parts.append("")
    parts.append("## Options of `sppkit git train`\n\n| option | default | |\n|---|---|---|")
    for panel in ("Input", "Networks", "Training", "Output"):
        parts.extend(
            row(name, option, GitOptions)
            for name, option in config.options(GitOptions).items()
            if option.panel == panel
        )
    parts.append("")
    parts.append(
        "`--config FILE.toml` takes any of these from a file, but those of `sppkit git train`; `--quiet` and `--debug` "
        "are for the terminal only.\n"
    )
    for kind, title in (
        ("activation", "Activations"),
        ("weight parametrization", "Weights"),
        ("normalizer", "Normalizers"),
        ("nuisance", "Nuisances"),
    ):
        names = "\n".join(f"- `{name}`: {entry.summary}" for name, entry in registry.KINDS[kind].items())
        parts.append(f"## {title}\n\n{names}\n")
    return "\n".join(parts)


def row(name: str, option: config.Option, of: type = config.RunConfig) -> str:
    default = getattr(of, name)
    if default is None:
        no_default = {"depth", "stages", *config.OWN_MODEL}
        shown = "by architecture" if option.panel == "Model" and name not in no_default else ""
        shown = "by preset" if name in GENERATOR else shown
    elif isinstance(default, bool):
        shown = "on" if default else "off"
    else:
        shown = ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    flag = f"--{name.replace('_', '-')} {option.metavar}".strip()
    is_word = shown in {"", "by architecture", "by preset", "on", "off"}
    return f"| `{flag}` | {shown if is_word else f'`{shown}`'} | {option.help} |"


def main() -> int:
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write("docs/cli.md is out of date: python docs/generate_cli.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
