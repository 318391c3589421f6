"""A version that is written in two places is the same in both."""

import pytest

from tests.cluster import builds, environments, settings

DOCKERFILES = ("operator/Dockerfile", "trainer/Dockerfile")


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_images_and_this_machine_use_the_same_uv(dockerfile: str) -> None:
    text = (settings.REPOSITORY / dockerfile).read_text()
    versions = {word.partition("==")[2] for word in text.split() if word.startswith("uv==")}
    assert versions == {environments.UV_VERSION}


def test_kubernetes_is_a_full_version() -> None:
    assert len(builds.kubernetes_version().removeprefix("v").split(".")) == 3


def test_every_program_of_the_components_image_is_built() -> None:
    built = {program.name for program in builds.UPSTREAM}
    built |= {folder.name for folder in (builds.COMPONENTS / "cmd").iterdir()}
    assert {"coredns", "pause", "training-operator", "versitygw"} <= built
