"""What holds for tests of every level."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says in a line why a test was run again: where a log is cut short, its last lines are what is left of it."""
    for report in terminalreporter.stats.get("rerun", []):
        crash = getattr(report.longrepr, "reprcrash", None)
        where = f"{crash.path}:{crash.lineno}: {crash.message}" if crash else str(report.longrepr)
        terminalreporter.write_line(f"FIRST TRY {report.nodeid} - {where}"[:1000].replace("\n", " "))
