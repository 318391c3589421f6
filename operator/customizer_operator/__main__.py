"""Starts the operator: `python -m customizer_operator`."""

import logging
import os
import sys

from customizer_operator.main import run
from customizer_operator.settings import SettingsError, read_settings


def main() -> int:
    """Runs until told to stop; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("kopf", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 64
    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
