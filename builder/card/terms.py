"""The terms under which a config's images may be published, and what to cite."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from asam_datasets.index import Index
from builder.sources.evaluation import table

# The Creative Commons identifiers of https://huggingface.co/docs/hub/repositories-licenses.
_HUB_LICENSES = frozenset(
    {
        *("cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0"),
        *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
        *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
        *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    }
)


@dataclass(frozen=True, slots=True)
class Terms:
    """A source's terms.

    Parameters
    ----------
    title
        The source's name.
    label
        Its licence in words.
    license, name
        An identifier of the Hub's list and None. If the list has no identifier, "other" and a name.
    link
        The address of the terms.
    summary
        What they require, in one line.
    redistribution
        Whether the images may be published.
    citation
        BibTeX entries.
    """

    title: str
    label: str
    license: str
    name: str | None
    link: str
    summary: str
    redistribution: Literal["allowed", "forbidden", "unclear"]
    citation: str

    @property
    def cell(self) -> str:
        """The licence as a cell of the card's table."""
        return f"[{self.label.replace('|', '/')}]({self.link})"


SA_1B = Terms(
    title="SA-1B",
    label="SA-1B Dataset Research License",
    license="other",
    name="sa-1b-dataset-research-license",
    link="https://ai.meta.com/datasets/segment-anything-downloads/",
    summary="research only, to be accepted by each user",
    redistribution="unclear",
    citation="""@inproceedings{kirillov2023segment,
  title     = {Segment Anything},
  author    = {Kirillov, Alexander and Mintun, Eric and Ravi, Nikhila and Mao, Hanzi and Rolland,
               Chloe and Gustafson, Laura and Xiao, Tete and Whitehead, Spencer and Berg, Alexander
               C. and Lo, Wan-Yen and Doll{\\'a}r, Piotr and Girshick, Ross},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2023}
}""",
)

SAMPLE = Terms(
    title="sample made by code",
    label="Apache 2.0",
    license="apache-2.0",
    name=None,
    link="https://www.apache.org/licenses/LICENSE-2.0",
    summary="made by this project's code, free to publish",
    redistribution="allowed",
    citation="",
)

ASAM_CITATION = """@inproceedings{li2024asam,
  title     = {{ASAM}: Boosting Segment Anything Model with Adversarial Tuning},
  author    = {Li, Bo and Xiao, Haoke and Tang, Lv},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2024}
}"""


def terms_of(index: Index) -> Terms:
    """The terms of a config's source, by its index."""
    if index.sample:
        return SAMPLE
    if index.kind == "train":
        return SA_1B
    return _of_row(table.row(index.config))


@cache
def all_terms() -> tuple[Terms, ...]:
    """The terms of every source that can be built."""
    return (SA_1B, SAMPLE, *map(_of_row, table.rows()))


def _of_row(row: table.Row) -> Terms:
    identifier = row.licence.lower().replace(" ", "-")
    known = identifier in _HUB_LICENSES
    return Terms(
        title=row.title,
        label=row.licence,
        license=identifier if known else "other",
        name=None if known else f"{row.name}-terms",
        link=row.licence_url,
        summary=row.terms,
        redistribution=row.redistribution,
        citation=row.bibtex,
    )
