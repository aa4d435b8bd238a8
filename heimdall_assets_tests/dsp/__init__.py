"""Tests of heimdall_assets.dsp."""
