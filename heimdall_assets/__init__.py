"""Recording sessions to measurement features: Heimdall's Dagster pipeline."""
