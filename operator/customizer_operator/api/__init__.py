"""The two kinds as the apiserver stores them: spec, status, conditions, reasons. Types only."""
