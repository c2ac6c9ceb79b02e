"""Writes the generated files of examples/corpus: a service's log and a table of weather stations.

The random generator is seeded, so the bytes are always the same. compression.txt is handwritten.
"""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
PATHS = ("/", "/index.html", "/login", "/api/v2/orders", "/api/v2/orders/%d", "/static/app.js")
AGENTS = ("Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0", "python-requests/2.31")
RIVERS = ("Alder", "Birch", "Calder", "Dove", "Esk", "Fal", "Greta", "Hull", "Irwell", "Lune")


def log(rng: random.Random, lines: int) -> str:
    """Lines of a web server's log."""
    out = []
    moment = datetime(2025, 3, 14, 6, 0, tzinfo=UTC)
    for _ in range(lines):
        moment += timedelta(milliseconds=int(rng.expovariate(1 / 1800)))
        path = rng.choices(PATHS, (8, 5, 2, 6, 9, 4))[0]
        if "%d" in path:
            path %= rng.randrange(10_000, 12_000)
        status = rng.choices((200, 304, 404, 500), (80, 10, 8, 2))[0]
        out.append(
            f"10.0.{rng.randrange(4)}.{rng.randrange(1, 60)} - -"
            f" [{moment:%d/%b/%Y:%H:%M:%S} +0000]"
            f' "{rng.choices(("GET", "POST"), (9, 1))[0]} {path} HTTP/1.1" {status}'
            f' {rng.randrange(200, 9000)} "-" "{rng.choice(AGENTS)}"\n'
        )
    return "".join(out)


def stations(rng: random.Random, count: int) -> str:
    """A list of records as a JSON service returns it."""
    rows = [
        {
            "id": f"st-{i:04d}",
            "name": f"{rng.choice(RIVERS)} at bridge {rng.randrange(1, 40)}",
            "position": {
                "lat": round(rng.uniform(50, 58), 4),
                "lon": round(rng.uniform(-5, 1), 4),
            },
            "level_m": round(rng.gauss(2, 0.6), 2),
            "rain_mm": [round(max(0, rng.gauss(1, 2)), 1) for _ in range(6)],
            "active": rng.random() < 0.9,
        }
        for i in range(count)
    ]
    return json.dumps(rows, indent=2) + "\n"


if __name__ == "__main__":
    rng = random.Random(2025)
    (CORPUS / "access.log").write_text(log(rng, 300))
    (CORPUS / "stations.json").write_text(stations(rng, 60))
