"""`python -m builder.preview`: a contact sheet and a page that show whether a build is good."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import (
    EXIT_FAILED,
    EXIT_OK,
    Progress,
    counted,
    emit,
    emit_json,
    leave,
    run_command,
    say,
)
from builder.core.extras import needs
from builder.core.files import write_bytes
from builder.core.options import (
    add_patience,
    out_folder,
    parser,
    patience_of,
    positive,
    utf8,
    whole,
)

if TYPE_CHECKING:  # slow modules are imported in the functions that use them, so --help is fast
    from builder.previewing.counts import Counts
    from builder.previewing.reading import Config
    from builder.previewing.statistics import Statistics

PAGE = "index.html"
SHEET = "contact_sheet.jpg"
ROWS = 12
LOCAL_ROWS, REMOTE_ROWS = 20_000, 1_000  # rows for the statistics; 1,000 of a repo are 60 MB
ALL = "all"
_SHOWN = 50  # disagreements printed; --json has them all

_EXAMPLES = (
    "python -m builder.preview dist sa_000000 --out preview",
    "python -m builder.preview xhk/ASAM-Datasets sa_000000 --out preview --rows 4",
    "python -m builder.preview dist sa_000000 --out row --images sa_9.jpg",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Read, draw, write; returns 1 if counts disagree or something could not be drawn."""
    args = _parser().parse_args(argv)
    from builder.previewing.counts import compare
    from builder.previewing.findings import choose
    from builder.previewing.reading import Config

    with needs("builder.preview", "preview"):
        from builder.previewing.charts import draw_charts
        from builder.previewing.page import Contents, render
        from builder.previewing.sheet import draw_sheet
        from builder.previewing.views import view_row

    config = Config(args.where, args.config, args.revision, args.image_root, patience_of(args))
    statistics = _statistics(config, args)
    if args.images:
        chosen: dict[int, list[str]] = {number: [] for number in config.find(args.images)}
    else:
        chosen = choose(statistics.facts, len(config), args.rows)
    views = []
    with Progress(len(chosen), "row", "rows", quiet=args.quiet) as bar:
        for block, number, row in config.rows(list(chosen)):
            views.append(view_row(block, number, row, chosen[number]))
            bar.update()
    rejects = config.rejects()
    counts = compare(config, statistics, rejects)
    counts.problems.extend(
        f"{view.row['file_name']}: {problem}" for view in views for problem in view.problems
    )
    with warnings.catch_warnings():  # matplotlib warns of characters that its font does not have
        warnings.filterwarnings("ignore", "Glyph ", UserWarning)
        charts = draw_charts(statistics, config.kind)
        sheet = draw_sheet(views, config.kind, len(config)) if views else None
    page = render(Contents(config, views, statistics, charts, rejects, counts, bool(args.images)))
    # A name that was read from a tar may hold a lone surrogate, which UTF-8 can't encode.
    write_bytes(args.out / PAGE, page.encode(errors="backslashreplace"))
    if sheet:
        write_bytes(args.out / SHEET, sheet)
    _report(config, counts, statistics, args, sheet=bool(views))
    return EXIT_FAILED if counts.faults else EXIT_OK


def _parser() -> argparse.ArgumentParser:
    result = parser(
        "preview",
        f"Draw a config as a picture, {SHEET}, and as a page, {PAGE}. The page is a single file\n"
        "with rows to page through, statistics, rejects, and a comparison of the counts. The exit\n"
        "status is 1 if counts disagree, or if something could not be drawn.",
        _EXAMPLES,
    )
    add = result.add_argument
    add("where", metavar="DIST|REPO", help="a dist, a Hub repo or a URL that fsspec opens")
    add("config", metavar="CONFIG", help="such as sa_000000")
    add("--out", type=out_folder, required=True, metavar="DIR", help="where the two files go")
    which = result.add_mutually_exclusive_group()
    which.add_argument(
        "--rows",
        type=positive,
        default=ROWS,
        metavar="N",
        help="rows on the page: at most half of them are conspicuous ones, the others are evenly "
        f"spread; a row takes about 0.3 MB (default: {ROWS})",
    )
    which.add_argument(
        "--images", nargs="+", metavar="NAME", help="show these images instead, by file name"
    )
    add(
        "--statistics-rows",
        type=whole(1, word=ALL),
        default=argparse.SUPPRESS,
        metavar="N",
        help=f"count about N rows, evenly spread, or {ALL} for the statistics (default: "
        f"{LOCAL_ROWS:,} of a dist, {REMOTE_ROWS:,} of a repo)",
    )
    add(
        "--image-root",
        type=Path,
        metavar="DIR",
        help="your own images, for a config that was built without pixels",
    )
    add(
        "--revision",
        type=utf8,
        help="a branch, tag or commit of the Hub repo (default: the newest commit)",
    )
    add_patience(result)
    add("--json", action="store_true", help="print the counts as JSON")
    add("--quiet", action="store_true", help="no progress bar, no summary")
    return result


def _statistics(config: Config, args: argparse.Namespace) -> Statistics:
    from builder.previewing.statistics import gather

    default = LOCAL_ROWS if config.folder else REMOTE_ROWS
    rows = getattr(args, "statistics_rows", default)
    total = sum(block.rows for block in config.some_blocks(rows))
    with Progress(total, "row", "statistics", quiet=args.quiet) as bar:
        return gather(config, rows, bar.update)


def _report(
    config: Config, counts: Counts, statistics: Statistics, args: argparse.Namespace, *, sheet: bool
) -> None:
    files = [str(args.out / name) for name in (PAGE, *([SHEET] if sheet else []))]
    faults = counts.faults
    if args.json:
        emit_json(
            {
                "config": config.name,
                "agrees": not faults,
                "disagreements": faults,
                "counts": [asdict(count) for count in counts.counts],
                "statistics_rows": statistics.rows,
                "rows": statistics.total,
                "files": files,
            }
        )
    else:
        emit(*faults[:_SHOWN])
    if faults:
        found = counted(len(faults), "disagreement")
        say(f"{config.name}: {found}; build it again, or see builder.verify")
    elif not args.quiet:
        say(f"{config.name}: counts agree", *counts.notes)
    if not args.quiet:
        say(*files)


if __name__ == "__main__":
    leave(run_command(main))
