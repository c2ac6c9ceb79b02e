"""Golden frames (see golden/README.md): what was released decodes, and encodes, forever."""

import csv
import hashlib
from pathlib import Path

import pytest

import nzip
from nzip import models

GOLDEN = Path(__file__).parent / "golden"
CORPUS = GOLDEN.parents[1] / "examples" / "corpus"
ROWS = list(csv.DictReader((GOLDEN / "frames.csv").open()))


def named_prior(options: str) -> nzip.Prior | None:
    names = [o.removeprefix("prior=") for o in options.split() if o.startswith("prior=")]
    return nzip.Prior(CORPUS / names[0]) if names else None


def decompressed(data: bytes, row: dict[str, str]) -> bytes:
    prior = named_prior(row["options"])
    text = nzip.decompress(data)
    del prior  # referenced until here
    return text


@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_golden_frame(row):
    data = (GOLDEN / row["file"]).read_bytes()
    kind = row["file"].split("-")[0]
    if kind == "good":
        text = decompressed(data, row)
        assert len(text) == int(row["size"])
        assert hashlib.sha256(text).hexdigest() == row["sha256"]
    else:
        expected = {"bad": nzip.FormatError, "unsupported": nzip.UnsupportedError}[kind]
        with pytest.raises(expected):
            nzip.decompress(data)


@pytest.mark.parametrize(
    "row", [r for r in ROWS if r["options"]], ids=[r["file"] for r in ROWS if r["options"]]
)
def test_golden_frame_is_still_what_the_encoder_writes(row):
    data = (GOLDEN / row["file"]).read_bytes()
    options: dict[str, object] = {}
    for option in row["options"].split():
        name, _, value = option.partition("=")
        options[name] = int(value) if value.isdigit() else value
    if options.get("adapt") == "no":
        options["adapt"] = False
    if prior := named_prior(row["options"]):
        options["prior"] = prior
    assert nzip.compress(decompressed(data, row), **options) == data


def test_every_golden_file_is_listed():
    assert {row["file"] for row in ROWS} == {p.name for p in GOLDEN.glob("*.nz")}


def test_released_models_keep_their_hashes():
    for name, digest in models.RELEASED.items():
        path = models.SHIPPED / (name + models.SUFFIX)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
