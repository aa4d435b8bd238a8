"""Tests of heimdall_assets.iq."""
