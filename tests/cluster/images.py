"""The images of the project: what each is made from, and the name that follows from that."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import builds
from tests.cluster.files import digest, make_once
from tests.cluster.oci import Recipe
from tests.cluster.settings import CACHE, HERE, REPOSITORY

_COMPONENTS = ("coredns", "pause", "training-operator", "versitygw")
_CONTRACT = "trainer/customizer_contract"
_ENGINE = "tests/cluster/images/engine"
_OPERATOR = "operator/customizer_operator"
_OPERATOR_FILE = "operator/Dockerfile"
_PINS = (".dockerignore", "pyproject.toml", "uv.lock")
_TRAINER = "trainer/customizer_trainer"
_TRAINER_FILE = "trainer/Dockerfile"


@contextmanager
def snapshot() -> Iterator[Path]:
    """Yields a copy of all that images are made from, so that an edit during a build does not end up in half of it."""
    with tempfile.TemporaryDirectory(prefix="customizer-images-") as folder:
        tree = Path(folder)
        for part in (*_PINS, _CONTRACT, _ENGINE, _OPERATOR, _OPERATOR_FILE, _TRAINER, _TRAINER_FILE):
            source, target = REPOSITORY / part, tree / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
        yield tree


def recipes(base: str, tree: Path) -> dict[str, Recipe]:
    """Returns how to build each image of a tree on a base image; `.cluster/images.json` has the same keys."""
    return {
        "operator": _operator(base, tree),
        "io": _trainer("io", base, tree),
        "automodel": _trainer("automodel", base, tree),
        "unsloth": _trainer("unsloth", base, tree),
        "engine": _engine(base, tree),
    }


def components() -> Recipe:
    """Returns how to build the image with the programs that run in the cluster from the start."""
    return _static("components", builds.build_all(), _COMPONENTS)


def kueue() -> Recipe:
    """Returns how to build Kueue's image."""
    return _static("kueue", builds.build_upstream(builds.KUEUE), (builds.KUEUE.name,))


def _static(image: str, programs: Path, names: tuple[str, ...]) -> Recipe:
    """Returns how to build an image of static programs."""
    dockerfile = HERE / "images" / "components" / "Dockerfile"
    key = digest(dockerfile, *(programs / name for name in names))

    def link(folder: Path) -> None:
        for name in names:
            (folder / name).hardlink_to(programs / name)

    context = make_once(CACHE / "images" / f"{image}-{key}", link)
    return Recipe(_name(image, key), dockerfile, context)


def _operator(base: str, tree: Path) -> Recipe:
    key = _key(base, tree, _OPERATOR_FILE, *_PINS, _CONTRACT, _OPERATOR)
    return Recipe(_name("operator", key), tree / _OPERATOR_FILE, tree, arguments={"BASE": base})


def _trainer(target: str, base: str, tree: Path) -> Recipe:
    sources = () if target == "torch" else (_CONTRACT, _TRAINER)
    key = _key(base, tree, _TRAINER_FILE, *_PINS, *sources)
    return Recipe(_name(target, key), tree / _TRAINER_FILE, tree, target, {"BASE": base})


def _engine(base: str, tree: Path) -> Recipe:
    torch = _trainer("torch", base, tree)
    folder = tree / _ENGINE
    key = _key(torch.reference, tree, _ENGINE)
    arguments = {"BASE": base, "TORCH": torch.reference}
    return Recipe(_name("engine", key), folder / "Dockerfile", folder, arguments=arguments, after=torch)


def _key(under: str, tree: Path, *inputs: str) -> str:
    return digest(under, *(tree / part for part in inputs))


def _name(image: str, key: str) -> str:
    return f"localhost/customizer-{image}:{key}"
