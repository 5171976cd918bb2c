"""Files of the page: what is not ours is as it was published, and all of it is small."""

from __future__ import annotations

import gzip
import hashlib
import tomllib

from aiotask.contrib.web.render import assets

from ..workers import ROOT

STATIC = ROOT / "aiotask" / "contrib" / "web" / "static"


def test_files_of_others_are_as_they_were_published() -> None:
    told = tomllib.loads((STATIC / "vendor" / "vendor.toml").read_text())["file"]

    for file in told:
        content = (STATIC / "vendor" / file["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"], file["name"]
        assert (STATIC / "vendor" / file["licence_file"]).read_text().strip()
    there = {path.name for path in (STATIC / "vendor").iterdir()} - {"vendor.toml"}
    assert there == {file["name"] for file in told} | {file["licence_file"] for file in told}


def test_all_files_are_small_and_the_module_is_one_page() -> None:
    found = assets()
    assert sum(len(asset.content) for asset in found.values()) <= 150_000
    first = ("app.js", "style.css", "icon.svg", "vendor/idiomorph.min.js")
    assert sum(len(found[name].zipped) for name in first) <= 40_000
    assert len((STATIC / "app.js").read_text().splitlines()) <= 400
    assert all(gzip.decompress(asset.zipped) == asset.content for asset in found.values())


def test_no_file_asks_another_server() -> None:
    for name in ("app.js", "style.css"):
        text = (STATIC / name).read_text()
        assert "http://" not in text and "https://" not in text and "@import" not in text, name
