"""Tests of the command line, file for file."""
