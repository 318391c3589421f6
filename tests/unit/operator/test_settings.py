"""The environment, read once."""

import pytest

from customizer_operator.settings import SettingsError, read_settings

IMAGES = {
    "CUSTOMIZER_IO_IMAGE": "io:1",
    "CUSTOMIZER_AUTOMODEL_IMAGE": "automodel:1",
    "CUSTOMIZER_UNSLOTH_IMAGE": "unsloth:1",
}


def test_images_are_enough() -> None:
    settings = read_settings(IMAGES)
    assert settings.images.io == "io:1"
    assert settings.namespaces == ()


def test_namespaces_are_a_list() -> None:
    assert read_settings({**IMAGES, "CUSTOMIZER_NAMESPACES": "a, b,"}).namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"CUSTOMIZER_IO_IMAGE": ""}, "CUSTOMIZER_IO_IMAGE is not set"),
        ({"CUSTOMIZER_RESYNC_SECONDS": "often"}, "CUSTOMIZER_RESYNC_SECONDS is not a number: often"),
    ],
)
def test_what_is_missing_or_wrong_is_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_settings({**IMAGES, **change})
