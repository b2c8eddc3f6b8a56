"""Benchmark data: which datasets exist, where their files are, and how files become rows.

registry.py (datasets and their sources) -> pull.py, sources.py, download.py (files from the Hub or a URL)
    and adopt.py (files from the user's disk) -> mirror.py (checked files with a manifest)
    -> records.py, adapters/ (raw records to rows), rows.py -> loader.py (what the tasks' YAML files call)

contents.py, status.py say what a mirror has, and pull_errors.py why a file could not be fetched.
"""
