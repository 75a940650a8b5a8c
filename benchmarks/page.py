"""Write the pages from the published results: python -m benchmarks.page

A section stands in a page between two comments, `<!-- generated: NAME -->` and `<!-- end -->`.
People write the text around it, and give no figure of a run there.
"""

import re
from pathlib import Path

from .contestants import ROOT
from .instructions import Instructions
from .overview import Overview
from .profile import SAVED, Profile
from .summary import PUBLISHED, Summary
from .tables import Tables

PAGES = (
    "docs/performance.md",
    "benchmarks/results.md",
    "benchmarks/instructions.md",
    "benchmarks/targets.md",
)
# Where the plots of the first page are, and those of the others.
OVERVIEW_PLOTS = "docs/performance"
PLOTS = "benchmarks/plots"

SECTION = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated(summary: Summary, profile: Profile) -> dict[str, str]:
    """Every page and plot: the content of each file, by its path in the repository."""
    tables, overview = Tables(summary), Overview(summary, profile)
    sections = tables.sections() | overview.sections() | Instructions(profile).sections()

    def section(found: re.Match[str]) -> str:
        return found[1] + "".join(f"{line}\n" for line in sections[found[2]]()) + found[3]

    pages = {page: SECTION.sub(section, (ROOT / page).read_text()) for page in PAGES}
    plots = {f"{OVERVIEW_PLOTS}/{name}.svg": svg for name, svg in overview.plots().items()}
    return pages | plots | {f"{PLOTS}/{name}.svg": svg for name, svg in tables.plots.items()}


def write(summary: Summary, root: Path) -> None:
    """Write the pages and the plots below `root`."""
    for path, content in generated(summary, Profile.load(SAVED)).items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


if __name__ == "__main__":
    write(Summary.load(PUBLISHED), ROOT)
