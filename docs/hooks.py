"""What the site takes from elsewhere in the checkout: the README, results, model cards, and links.

`docs/` has the text of the site. Tables and figures of published results stay in
`examples/results/`, model cards in `zoo/`; the site shows them where they are.
"""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[1]
COPIED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "zoo/README.md": "models/index.md",
    "zoo/*/card.md": "models/{0.parent.name}.md",
    "examples/results/*/*/figure.png": "results/{0.parent.parent.name}/{0.parent.name}.png",
}
LINK = re.compile(r"(?<=\]\()([^)\s#]+)")


def _sources():
    """The files that are copied: their paths in the checkout, and their addresses in the site."""
    return {
        path.relative_to(ROOT).as_posix(): address.format(path)
        for pattern, address in COPIED.items()
        for path in sorted(ROOT.glob(pattern))
    }


def on_files(files, config):
    """Adds the copied files."""
    for path, address in _sources().items():
        files.append(File.generated(config, address, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links to files of the checkout into links within the site, or to the repository."""
    folder = pathlib.Path(page.file.abs_src_path).parent.relative_to(ROOT).as_posix()

    def target(link):
        place = link[0].removeprefix(config.repo_url)
        if place != link[0]:
            path = place.split("/main/", 1)[-1]
        else:
            path = posixpath.normpath(posixpath.join(folder, place))
        if "://" in path or not (ROOT / path).exists():
            return link[0]
        address = path.removeprefix("docs/") if path.startswith("docs/") else _sources().get(path)
        if address is None:
            return f"{config.repo_url}/blob/main/{path}"
        return posixpath.relpath(address, posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(target, markdown)
