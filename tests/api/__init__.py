"""The operator against a real apiserver; nothing else of Kubernetes runs, the tests play its part."""
