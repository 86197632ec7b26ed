"""Fills a store: engine x problems until each problem has its n verified completions (`sampling.fill`)."""
