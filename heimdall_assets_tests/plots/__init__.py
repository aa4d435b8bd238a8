"""Tests of heimdall_assets.plots."""
