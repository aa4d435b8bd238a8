"""Pictures: what a recording, a comparison or a network looks like, as PNG."""
