"""What a build says of a config that it made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from builder.core.console import counted, say, sized
from builder.core.records import Json
from builder.shards.built import Built, BuiltPart

_SHOWN = 10  # undocumented keys printed; the index has them
_REFUSED = (
    "  No index was written, so the config can't be loaded, verified or pushed. Its rejects.jsonl "
    "has them all. Build from a source that is whole and of this form, or accept it as it is by "
    "the same command with --max-rejects 1."
)


def tell(dist: Path, built: Built, *, quiet: bool) -> Json:
    """Print what a build made of a source, what it left out, and why it was refused, if it was.

    Parameters
    ----------
    dist
        The dist's folder.
    built
        The result of the build.
    quiet
        Leave out how to load the config.

    Returns
    -------
    dict
        The same for `--json`.
    """
    index, counts = built.index, built.index.counts
    rejected = sum(counts.rejects.values())
    missing = counted(counts.captions_missing, "caption")
    for note in built.listing.notes:
        say(f"note: {note}")
    warnings = [*built.listing.warnings, *_other_masks(built)]
    for warning in warnings:
        say(f"warning: {index.config}: {warning}")
    say(
        f"{index.config}: {counted(counts.images, 'image')}, {counted(counts.masks, 'mask')}, "
        f"{counted(rejected, 'reject')}"
        + (f", {missing} missing" if index.kind == "train" else ""),
        f"  {counted(len(index.shards), 'shard')} ({built.reused:,} done before), "
        f"{sized(index.num_bytes)}, "
        f"{built.seconds:,.1f} s, in {dist / 'data' / index.config}",
    )
    if counts.orientation_reset:
        images = counted(counts.orientation_reset, "image")
        say(f"  EXIF orientation set to 1, pixels unchanged, since the masks need it: {images}")
    for reason, count in counts.rejects.items():
        say(f"  rejected {count:,} x {reason} (see rejects.jsonl)")
    for key, count in list(counts.unknown_keys.items())[:_SHOWN]:
        say(f"  {count:,} x undocumented key {key}: left out of the rows")
    if (more := len(counts.unknown_keys) - _SHOWN) > 0:
        say(f"  and {more:,} more undocumented keys, which its index.json counts")
    if not quiet and not built.refused:
        say(f'  load_dataset("{dist}", "{index.config}")')
    head = f"error: {index.config}: "
    say(*(line if line[:1] == " " else head + line for line in built.refused))
    if built.refused:
        say(_REFUSED)
    return {
        "config": index.config,
        "counts": counts.to_json(),
        "shards": len(index.shards),
        "shards_reused": built.reused,
        "bytes": index.num_bytes,
        "seconds": round(built.seconds, 3),
        "notes": [*built.listing.notes, *warnings],
        "refused": list(built.refused),
    }


def tell_part(config: str, built: BuiltPart) -> Json:
    """Print what was built of a config's shards; returns the same for `--json`."""
    say(
        f"{config}: {counted(built.shards, 'shard')} of {built.total:,} in this part "
        f"({built.reused:,} done before), {counted(built.images, 'image')}, "
        f"{counted(built.masks, 'mask')}, {counted(built.rejects, 'reject')}, "
        f"{built.seconds:,.1f} s"
    )
    return {"config": config, **asdict(built), "seconds": round(built.seconds, 3)}


def tell_all(documents: Sequence[Json]) -> None:
    """Print what a run made of all its configs together."""
    totals: Counter[str] = Counter()
    for document in documents:
        counts = document["counts"]
        totals.update(images=counts["images"], masks=counts["masks"], bytes=document["bytes"])
        totals.update(shards=document["shards"], rejects=sum(counts["rejects"].values()))
    nouns = ("image", "mask", "reject", "shard")
    said = ", ".join(counted(totals[f"{noun}s"], noun) for noun in nouns)
    say(f"{counted(len(documents), 'config')}: {said}, {sized(totals['bytes'])}")


def _other_masks(built: Built) -> Iterator[str]:
    """A warning if the number of masks differs from the published one."""
    known, found = built.listing.masks, built.index.counts.masks
    if known not in (None, found):
        yield f"{counted(found, 'mask')}; {known:,} were published"
