"""Dagster's side: partitions, assets, jobs, sensor, schedule, and the instance's storage."""
