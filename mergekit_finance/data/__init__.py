"""Benchmark data: what exists (registry), where its bytes are (mirror, sources), its rows (loader)."""
