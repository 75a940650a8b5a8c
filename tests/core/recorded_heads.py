"""Heads that browsers and libraries sent to a server in November 2026, by their names."""

from pathlib import Path

_SECTIONS = Path(__file__).with_suffix(".txt").read_text().removeprefix("# ").split("\n\n# ")

RECORDED = {
    name: f"{lines.rstrip()}\n\n".replace("\n", "\r\n").encode()
    for name, _, lines in [section.partition("\n") for section in _SECTIONS]
}
