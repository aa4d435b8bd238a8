"""Tests of heimdall_assets.diagnosis."""
