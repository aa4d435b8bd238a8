"""Tests of heimdall_assets.extraction."""
