"""The test engine's entrypoint as a module; it lies in an image's folder, where nothing is a package."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_FILE = Path(__file__).parents[3] / "tests" / "cluster" / "images" / "engine" / "entrypoint.py"
_spec = spec_from_file_location("engine_entrypoint", _FILE)
assert _spec is not None
assert _spec.loader is not None
entrypoint = module_from_spec(_spec)
# dataclasses look their module up by name.
sys.modules[_spec.name] = entrypoint
_spec.loader.exec_module(entrypoint)
