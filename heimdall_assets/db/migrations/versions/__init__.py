"""The revisions: each adds to what is there, whoever made it."""
