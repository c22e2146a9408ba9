"""Medians, ratios to nginx, a table for people and a file for the record."""
from __future__ import annotations

import datetime
import json
import statistics
from pathlib import Path

RUNS = Path(__file__).resolve().parent.parent / "runs"


def medians(rounds: list[dict]) -> dict:
    """Of every figure, its median; rounds that failed have no figures."""
    good = [figures for figures in rounds if "error" not in figures]
    if not good:
        return {}
    return {name: statistics.median(figures[name] for figures in good) for name in good[0]}


def table(name: str, about: str, key: str, rows: dict[str, list[dict]]) -> str:
    base = medians(rows.get("nginx", [])).get(key)
    lines = [f"\n{name}: {about}"]
    for peer, rounds in rows.items():
        figures = medians(rounds)
        text = "  ".join(f"{label} {short(value)}" for label, value in figures.items())
        ratio = f"{figures[key] / base:.3f} × nginx  " if base and key in figures and peer != "nginx" else ""
        errors = "".join(f"\n    failed: {r['error']}" for r in rounds if "error" in r)
        lines.append(f"  {peer:<12}{ratio}{text}{errors}")
    return "\n".join(lines)


def short(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


def save(name: str, machine: dict, options: dict, works: dict) -> Path:
    RUNS.mkdir(exist_ok=True)
    file = RUNS / f"{datetime.date.today().isoformat()}-{name}.json"
    result = {"machine": machine, "options": options, "works": {
        work: {peer: {"median": medians(rounds), "rounds": rounds} for peer, rounds in rows.items()}
        for work, rows in works.items()}}
    file.write_text(json.dumps(result, indent=1) + "\n")
    return file
