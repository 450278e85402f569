"""The code blocks of README.md and CONTRIBUTING.md, for the tools that run them.

A block is what stands between two lines of ```. The first one names its
language and, after `file=`, the file that a user would put it in.
"""

import collections
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAPERS = ("README.md", "CONTRIBUTING.md")

Block = collections.namedtuple("Block", "paper line language file text")
Command = collections.namedtuple("Command", "paper line text")

FENCE = re.compile(r"^```(?P<language>[\w-]*)(?: file=(?P<file>\S+))?$")
REMARK = re.compile(r"\s+# .*$")  # After a command.


def blocks(paper):
    """All code blocks of one paper, in order."""
    found, opened = [], None
    for number, line in enumerate((ROOT / paper).read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if fence and opened is None:
            opened, first, lines = fence, number + 1, []
        elif fence:
            text = "".join(f"{line}\n" for line in lines)
            found.append(Block(paper, first, opened["language"], opened["file"], text))
            opened = None
        elif opened:
            lines.append(line)
    return found


def commands():
    """Each line of each block of shell commands, without its remark."""
    found = []
    for block in (block for paper in PAPERS for block in blocks(paper)):
        if block.language != "sh":
            continue
        for number, line in enumerate(block.text.splitlines(), block.line):
            found.append(Command(block.paper, number, REMARK.sub("", line)))
    return found


def snippet(file):
    """The text of the blocks that a user would put in `file`."""
    texts = [b.text for p in PAPERS for b in blocks(p) if b.file == file]
    if not texts:
        raise LookupError(f"no paper has a block with file={file}")
    return "".join(texts)
