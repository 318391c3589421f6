"""`customizer`, `kubectl customizer`, `python -m customizer_operator.cli`. Exits 0 if fine, 1 if refused, else 2."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    try:
        from customizer_operator.cli.commands import run
    except ModuleNotFoundError as error:
        print(f"{error.name} is missing: pip install 'customizer[cli]'", file=sys.stderr)
        return 2
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
