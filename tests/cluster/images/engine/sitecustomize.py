"""Looks for garbage less often: the thousands of modules that an engine imports leave hardly any."""

import gc

gc.set_threshold(50_000)
