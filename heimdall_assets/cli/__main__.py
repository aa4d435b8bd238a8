"""``python -m heimdall_assets.cli``: the command where its script is not on the path."""

from heimdall_assets.cli import main

main()
