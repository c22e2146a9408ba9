"""Tidegate's metrics, as far as a measurement needs them."""
from __future__ import annotations

import re

SAMPLE = re.compile(r'^(\w+)(?:\{(.*)\})? (\S+)$', re.M)
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Page:
    """One scrape."""

    def __init__(self, text: str):
        self._samples: dict[str, list[tuple[dict, float]]] = {}
        for name, labels, value in SAMPLE.findall(text):
            self._samples.setdefault(name, []).append((dict(LABEL.findall(labels)), float(value)))

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples with these labels."""
        return sum(value for has, value in self._samples.get(name, []) if labels.items() <= has.items())

    def state(self, server: str) -> str:
        """What a server is in; the same address in two pools is not told apart."""
        states = self._samples.get("tidegate_server_state", [])
        return next((has["state"] for has, _ in states if has["server"] == server), "unknown")
