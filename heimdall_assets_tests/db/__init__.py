"""Tests of heimdall_assets.db."""
