"""Tests of heimdall_assets.web."""
