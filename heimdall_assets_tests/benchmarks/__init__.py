"""Benchmarks, each a program: python -m heimdall_assets_tests.benchmarks.NAME [--json]."""
