"""Everything is broken on purpose, again and again, while sessions arrive; then nothing may be lost or doubled."""
