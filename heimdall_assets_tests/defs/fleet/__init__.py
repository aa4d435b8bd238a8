"""Tests of heimdall_assets.defs.fleet."""
