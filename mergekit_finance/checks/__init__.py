"""Checks that run before hours are spent. They work on plain facts that their callers read."""
