"""Tags of runs: what planner, queue, launchers and logs tell one another."""

BATCH_TAG = "heimdall/batch"
ORIGIN_TAG = "heimdall/origin"
LANE_TAG = "heimdall/lane"
SLOT_TAG = "heimdall/slot"
SHARED = "shared"
"""Slot of runs that can wait: all together they leave one slot of the queue to fresh sessions."""
