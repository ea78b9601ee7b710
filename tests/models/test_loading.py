"""From what follows --model to a network: names, arguments, the user's own code, optional libraries."""

from __future__ import annotations

import importlib
import os
import random
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sppkit.config.parsers import keywords
from sppkit.config.resolve import resolve_config
from sppkit.errors import DoesNotFitError, UsageError
from sppkit.measuring.choose_source import choose_source
from sppkit.models.loading import transformers as hf
from sppkit.models.loading.load import library_version, load_recipe
from sppkit.models.loading.reference import parse_reference

FILE = Path(__file__).parents[1].joinpath("networks.py")


def load(text: str, **kw: Any) -> nn.Module:
    return load_recipe(parse_reference(text), kw).make()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, out of which modules can be imported and are forgotten."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("mine", "_sppkit_file")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "library", "place", "factory", "stem"),
    [
        ("timm:resnet50.a1_in1k", "timm", "resnet50.a1_in1k", "", "timm-resnet50.a1_in1k"),
        ("torchvision:vit_b_16", "torchvision", "vit_b_16", "", "torchvision-vit_b_16"),
        ("hf:bert", "hf", "bert", "", "hf-bert"),
        ("hf:my/folder", "hf", "my/folder", "", "hf-folder"),
        ("package.nets:Small", None, "package.nets", "Small", "nets-Small"),
        ("package.nets:Small.build", None, "package.nets", "Small.build", "nets-Small.build"),
        ("a b/nets.py:make", None, "a b/nets.py", "make", "nets-make"),
        ("C:\\work\\nets.py:make", None, "C:\\work\\nets.py", "make", "nets-make"),
    ],
)
def test_references(text: str, library: str | None, place: str, factory: str, stem: str) -> None:
    reference = parse_reference(text)
    assert (reference.library, reference.place, reference.factory) == (library, place, factory)
    assert reference.stem == stem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet50", "A model of timm is given as timm:resnet50."),
        ("nf-resnet", "type --arch nf-resnet"),
        ("nets.py", "as in nets.py:build"),
        ("timm:", "names no network; give timm:NAME"),
        (":build", "names no network"),
        ("nets:", "names no network"),
        ("path/nets:build", "'path/nets' is neither a module's name nor a path that ends in .py"),
    ],
)
def test_references_without_a_network(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["depth=3"], {"depth": 3}),
        (["a=1.5", "b=true", "c=False", "d=None", "e=gelu", "f=(4, 4)"],
         {"a": 1.5, "b": True, "c": False, "d": None, "e": "gelu", "f": (4, 4)}),
        (["a='3'", "b=x=y", "c="], {"a": "3", "b": "x=y", "c": ""}),
        (["layers=[1, 2]", "map={'a': 1}"], {"layers": [1, 2], "map": {"a": 1}}),
        ({"depth": 3, "act": "gelu"}, {"depth": 3, "act": "gelu"}),
    ],
)  # fmt: skip
def test_keywords(typed: object, expected: dict[str, Any]) -> None:
    found = keywords("kw", typed)
    assert found == expected
    assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize("typed", [["depth"], ["=3"], ["a-b=3"], ["x=1e999"], ["x=b'3'"], ["x={1, 2}"], {"x": {1: 2}}])
def test_keywords_that_are_none(typed: object) -> None:
    with pytest.raises(UsageError, match="--kw must be key=value, as in --kw depth=3, not"):
        keywords("kw", typed)


def test_a_file_is_run_and_its_factory_called(folder: Path) -> None:
    network = load(f"{FILE}:build", depth=3)
    assert type(network).__name__ == "Net"
    assert len(network.blocks) == 3
    assert len(load(f"{FILE}:Net", width=4).stem.weight) == 4


def test_a_file_finds_its_neighbours_and_leaves_the_path_alone(folder: Path) -> None:
    (folder / "code").mkdir()
    shutil.copy(FILE, folder / "code/mine_layers.py")
    source = "from mine_layers import Net\n\n\ndef build():\n    import mine_late\n\n    return mine_late.make(Net)\n"
    (folder / "code/types.py").write_text(source, encoding="utf-8")
    (folder / "code/mine_late.py").write_text("make = lambda Net: Net()\n", encoding="utf-8")
    before = list(sys.path)
    assert type(load("code/types.py:build")).__name__ == "Net"
    assert sys.path == before
    assert sys.modules["types"].ModuleType is ModuleType


def test_versions_of_a_network_have_neighbours_of_their_own(folder: Path) -> None:
    for version, width in (("old", 1), ("new", 2)):
        (folder / version).mkdir()
        (folder / version / "mine_width.py").write_text(f"WIDTH = {width}\n", encoding="utf-8")
        (folder / version / "net.py").write_text(
            "from torch import nn\nfrom mine_width import WIDTH\n\n"
            "def build():\n    import mine_width\n    return nn.Linear(WIDTH, mine_width.WIDTH)\n",
            encoding="utf-8",
        )
    recipes = [load_recipe(parse_reference(f"{version}/net.py:build"), {}) for version in ("old", "new")]
    assert [tuple(recipe.make().weight.shape) for recipe in recipes] == [(1, 1), (2, 2)]


def test_a_module_is_found_in_the_current_folder(folder: Path) -> None:
    (folder / "mine").mkdir()
    shutil.copy(FILE, folder / "mine/nets.py")
    assert len(load("mine.nets:build").blocks) == 2
    assert isinstance(load("torch.nn:Identity"), nn.Identity)


def test_attributes_of_attributes(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "from torch import nn\nclass Zoo:\n    @staticmethod\n    def small(): return nn.ReLU()\n", encoding="utf-8"
    )
    assert isinstance(load("mine:Zoo.small"), nn.ReLU)
    with pytest.raises(UsageError, match=r"unknown factory in mine: 'smal'; did you mean 'small'\?\nKnown: small\."):
        load("mine:Zoo.smal")


MISTAKES = {
    "no file": ("nowhere.py:build", {}, "--model nowhere.py: there is no such file."),
    "no module": ("nowhere.nets:build", {}, "there is no module 'nowhere' to import, neither installed"),
    "no library": ("tim:resnet50", {}, "Did you mean timm:NAME?"),
    "factory": (f"{FILE}:biuld", {}, "factory in {FILE}: 'biuld'; did you mean 'build'?\nKnown: Block, "),
    "network": (f"{FILE}:made", {}, "is a network; a function that makes one is needed"),
    "number": (f"{FILE}:number", {}, ":number is of type int; a function or class is needed."),
    "unknown argument": (f"{FILE}:build", {"dept": 3}, "'dept'; did you mean 'depth'?\nKnown: depth, width."),
    "missing argument": (f"{FILE}:needs_width", {}, ":needs_width needs an argument, width: --kw width=VALUE"),
    "wrong argument": (f"{FILE}:build", {"width": "x"}, ":build failed: TypeError: "),
    "raises": (f"{FILE}:raises", {}, ":raises failed: ValueError: no such width ({FILE}, line {raise ValueError})"),
    "exits": (f"{FILE}:exits", {}, ":exits failed: SystemExit: 3 ({FILE}, line {raise SystemExit})"),
    "tuple": (f"{FILE}:returns_a_tuple", {}, "returned a tuple; it must return the network, a torch.nn.Module."),
    "class": (f"{FILE}:returns_the_class", {}, "returned the class Net itself; it must return the network"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "kw", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(text: str, kw: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(text, **kw)
    lines = FILE.read_text(encoding="utf-8").splitlines()
    for word in ("raise ValueError", "raise SystemExit"):
        number = next(number for number, line in enumerate(lines, 1) if word in line)
        message = message.replace(f"{{{word}}}", str(number))
    assert message.replace("{FILE}", str(FILE)) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import einopps", "ModuleNotFoundError: No module named 'einopps'"),
        ("x = 1\nx.y\n", "'int' object has no attribute 'y' ({file}, line 2)"),
        ("def build(:", "SyntaxError: invalid syntax"),
        ("import sys\nsys.exit('use it as a module')", "SystemExit: use it as a module ({file}, line 2)"),
    ],
)
@pytest.mark.parametrize("how", ["mine.py:build", "mine:build"])
def test_code_that_can_not_be_imported(code: str, message: str, how: str, folder: Path) -> None:
    (folder / "mine.py").write_text(code, encoding="utf-8")
    with pytest.raises(UsageError, match=r"mine.*failed when it was imported: ") as caught:
        load(how)
    assert message.replace("{file}", str(folder.resolve() / "mine.py")) in str(caught.value)
    assert "_sppkit_file_mine" not in sys.modules


def test_no_library_is_imported_before_it_is_asked_for() -> None:
    importlib.import_module("sppkit.measuring.own_network")
    assert not {"timm", "torchvision", "transformers"} & sys.modules.keys()


# The libraries themselves: what is asked of them, on stand-ins with the same functions and the same failures.


class Stump(nn.Module):
    def __init__(self, classes: int = 10, weights: object = "yes", weights_backbone: object = "yes") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.weights = (weights, weights_backbone)


def install(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = ModuleType(name)
    for key, value in {"__version__": "9.8", **content}.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    called: dict[str, Any] = {}

    def create_model(model_name: str, pretrained: bool = True, **kwargs: Any) -> Stump:
        called.update(kwargs, model_name=model_name, pretrained=pretrained)
        model = Stump(**kwargs)
        model.pretrained_cfg = {"input_size": (3, 160, 160), "first_conv": "conv1"}
        return model

    names = [f"resnet{depth}" for depth in range(50)]
    install(
        monkeypatch,
        "timm",
        create_model=create_model,
        list_models=lambda: names,
        is_model=lambda name: name.partition(".")[0] in names,
    )
    return called


def test_timm(timm: dict[str, Any]) -> None:
    load("timm:resnet18.a1", classes=5)
    assert timm == {"model_name": "resnet18.a1", "pretrained": False, "classes": 5}
    assert library_version(parse_reference("timm:resnet18")) == "timm 9.8"


@pytest.mark.parametrize(
    ("text", "kw", "message"),
    [
        ("timm:resnt18", {}, "unknown model of timm: 'resnt18'; did you mean 'resnet18'?\nKnown: 50 names."),
        ("timm:hf-hub:a/b", {}, "unknown model of timm: 'hf-hub:a/b'"),
        ("timm:resnet18", {"pretrained": True}, "--kw pretrained=True asks timm for published weights"),
        ("timm:resnet18", {"klasses": 1}, "timm:resnet18 failed: TypeError: "),
    ],
)
def test_mistakes_with_timm(text: str, kw: dict[str, Any], message: str, timm: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        load(text, **kw)
    assert message in str(caught.value)


def test_torchvision_downloads_nothing_and_tells_the_image_size(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = SimpleNamespace(DEFAULT=SimpleNamespace(transforms=SimpleNamespace(keywords={"crop_size": 299})))
    models = SimpleNamespace(
        list_models=lambda: ["inception_v3"],
        get_model_builder=lambda name: {"inception_v3": Stump}[name],
        get_model_weights=lambda name: {"inception_v3": weights}[name],
    )
    install(monkeypatch, "torchvision", models=models)
    recipe = load_recipe(parse_reference("torchvision:inception_v3"), {})
    assert recipe.image_size == 299
    assert recipe.make().weights == (None, None)
    with pytest.raises(UsageError, match="did you mean 'inception_v3'"):
        load("torchvision:inception_v4")
    with pytest.raises(UsageError, match="nothing is downloaded"):
        load("torchvision:inception_v3", weights_backbone="DEFAULT")


class Config:
    model_type = "bert"

    def __init__(self, **fields: Any) -> None:
        self.hidden_size, self.vocab_size, self.max_position_embeddings = 4, 30, 16
        for name, value in fields.items():
            setattr(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        return vars(self)


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_config(config: Config, trust_remote_code: bool = True) -> nn.Module:
        assert not trust_remote_code
        model = nn.Sequential(nn.Embedding(config.vocab_size, config.hidden_size))
        model.config, model.main_input_name = config, "input_ids"
        return model

    def for_model(name: str, **fields: Any) -> Config:
        assert name == "bert"
        return Config(**fields)

    def from_pretrained(folder: str, local_files_only: bool, trust_remote_code: bool, **fields: Any) -> Config:
        assert (Path(folder) / "config.json").is_file()
        assert (local_files_only, trust_remote_code) == (True, False)
        return Config(hidden_size=7, **fields)

    install(
        monkeypatch,
        "transformers",
        AutoConfig=SimpleNamespace(for_model=for_model, from_pretrained=from_pretrained),
        AutoModel=SimpleNamespace(from_config=from_config),
        CONFIG_MAPPING={"bert": Config, "bert-generation": Config, "gpt2": Config},
    )


def test_transformers_from_a_type_or_a_folder(transformers: None, folder: Path) -> None:
    assert load("hf:bert", hidden_size=3)[0].weight.shape == (30, 3)
    (folder / "saved").mkdir()
    (folder / "saved/config.json").write_text("{}", encoding="utf-8")
    assert load("hf:saved", vocab_size=9)[0].weight.shape == (9, 7)
    assert library_version(parse_reference("hf:bert")) == "transformers 9.8"


@pytest.mark.parametrize(
    ("text", "kw", "message"),
    [
        ("hf:google/bert-base-uncased", {}, "neither a model type of transformers nor a local folder"),
        ("hf:google/bert-base-uncased", {}, "did you mean hf:bert?"),
        ("hf:gtp2", {}, "did you mean hf:gpt2?\nNothing is downloaded"),
        ("hf:bert", {"hiden_size": 3}, "'hiden_size'; did you mean 'hidden_size'?"),
        ("hf:bert", {"hidden_size": "x"}, "hf:bert failed: TypeError"),
        ("hf:.", {}, "the folder . has no config.json"),
    ],
)
def test_mistakes_with_transformers(
    text: str, kw: dict[str, Any], message: str, transformers: None, folder: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        load(text, **kw)
    assert message in str(caught.value)


def test_what_would_not_fit_is_said_before_it_is_made(transformers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "available_bytes", lambda: 30 * 4 * 4 - 1)
    with pytest.raises(DoesNotFitError, match=r"hf:bert needs 0\.0 GiB for its weights"):
        load("hf:bert")
    monkeypatch.setattr(hf, "available_bytes", lambda: 30 * 4 * 4)
    load("hf:bert")


@pytest.mark.parametrize("library", ["timm", "torchvision", "hf"])
def test_a_library_that_is_missing(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = {"hf": "transformers"}.get(library, library)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, package)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(UsageError) as caught:
        load(f"{library}:bert")
    assert str(caught.value) == f"{library}:bert needs {package}, which is not installed: pip install {package}"


BROKEN = {
    "wrong build": (
        "raise RuntimeError('operator torchvision::nms does not exist')",
        "torch torchvision, both",
    ),
    "lacks another": ("import sppkit_no_such_package", "installed but lacks sppkit_no_such_package: pip install"),
    "hidden reason": (
        "try:\n    raise RuntimeError('operator torchvision::nms does not exist')\n"
        "except RuntimeError as error:\n    raise ModuleNotFoundError('Could not import module') from error",
        "can't be imported (operator torchvision::nms does not exist).\nA torchvision that fits this torch is needed",
    ),
    "no library": ("raise OSError('libcuda.so.1: cannot open')", "pip install --upgrade timm"),
}


def test_libraries_are_imported_without_their_downloads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "timm.py").write_text("import os\noffline = os.environ['HF_HUB_OFFLINE']\nmark()", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    for before in (None, "0"):
        if before is not None:
            monkeypatch.setenv("HF_HUB_OFFLINE", before)
        with pytest.raises(UsageError, match="name 'mark' is not defined"):  # and not KeyError
            load("timm:resnet18")
        assert os.environ.get("HF_HUB_OFFLINE") == before


@pytest.mark.parametrize(("code", "message"), BROKEN.values(), ids=BROKEN)
def test_a_library_that_is_broken(code: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "timm.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(UsageError) as caught:
        load("timm:resnet18")
    assert message in str(caught.value)
    assert str(caught.value).startswith("timm:resnet18 needs timm, which is installed but ")


# Seeds.


def weights(seed: int, **flags: Any) -> dict[str, torch.Tensor]:
    source = choose_source(resolve_config({"model": f"{FILE}:Net", "image_size": 8, **flags}))
    with source.prepared(seed, torch.device("cpu"), None) as (model, _):
        return {name: value.clone() for name, value in model.state_dict().items()}


def states() -> tuple[object, ...]:
    return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()


def test_each_seed_makes_its_own_network_and_leaves_no_trace() -> None:
    before = states()
    first, again, other = weights(0), weights(0), weights(2**63 - 1)
    assert states() == before
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.weight"], other["stem.weight"])


def test_numpy_and_python_are_seeded_too(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "import random, numpy, torch\nfrom torch import nn\n"
        "class Net(nn.Linear):\n    def __init__(self):\n        super().__init__(2, 1)\n"
        "        self.bias.data.fill_(random.random() + numpy.random.rand())\n",
        encoding="utf-8",
    )
    source = choose_source(resolve_config({"model": "mine.py:Net"}))
    found = []
    for seed in (0, 0, 1):
        with source.prepared(seed, torch.device("cpu"), None) as (model, _):
            found.append(model.bias.item())
    assert found[0] == found[1] != found[2]


def test_a_network_without_values_is_refused(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "from torch import nn\n"
        "def lazy(): return nn.LazyLinear(3)\n"
        "def meta(): return nn.Linear(3, 3, device='meta')\n",
        encoding="utf-8",
    )
    for factory, message in (("lazy", "it is lazy"), ("meta", "it is on the meta device")):
        source = choose_source(resolve_config({"model": f"mine.py:{factory}", "shape": "3"}))
        with pytest.raises(UsageError, match=message), source.prepared(0, torch.device("cpu"), None):
            pass
