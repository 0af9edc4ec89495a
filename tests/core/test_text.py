"""Text from outside: on a terminal, in Markdown, in a message, and without what grants access."""

from __future__ import annotations

import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asam_datasets import AsamDatasetsError
from asam_datasets.redaction import hide_in, redact_logs_of_the_hub, redacted
from builder.core.console import EXIT_FAILED, emit, run_command, say
from builder.core.errors import SourceError
from builder.core.text import brief, markdown, printable

SIGNED = "https://user:hunter2@cdn.example/a/b.tar?X-Amz-Signature=0badcafe&Expires=17"
HIDDEN = "https://...@cdn.example/a/b.tar?..."


@given(st.text())
def test_nothing_printed_moves_the_cursor_or_begins_a_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") for c in shown)
    if text.isprintable():
        assert shown == text


def test_a_name_can_fake_no_line_and_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    name = "x.jpg\n\rerror: all is lost\x1b[31m\x9b2J\u2028y\u202e"

    def fail(_: object) -> int:
        raise SourceError(f"{name}: not there")

    assert run_command(fail) == EXIT_FAILED
    say(name)
    emit(name)
    said = capsys.readouterr()
    shown = r"x.jpg error: all is lost\x1b[31m\x9b2J y\u202e"
    assert said.err.splitlines() == [f"error: {shown}: not there", shown]
    assert said.out.splitlines() == [shown]


def test_a_lone_surrogate_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    emit("\udfff.jpg")
    assert capsys.readouterr().out == "\\udfff.jpg\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sa_000000.tar", "sa_000000.tar"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a|b", "a/b"),
        ("a\n| row |", "a / row /"),
        ("![x](https://evil)", "!\\[x\\](https://evil)"),
        ("`code` *bold*", "\\`code\\` \\*bold\\*"),
        ("<!-- asam-datasets:end configs -->", "&lt;!-- asam-datasets:end configs --&gt;"),
    ],
)
def test_markup_in_a_card_is_read_as_it_stands(text: str, shown: str) -> None:
    assert markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SIGNED, HIDDEN),
        (f"GET {SIGNED}: 403", f"GET {HIDDEN}: 403"),
        (f"({SIGNED}).", f"({HIDDEN})."),
        (f"'{SIGNED}' and {SIGNED}", f"'{HIDDEN}' and {HIDDEN}"),
        ("s3://bucket/sa_?.tar", "s3://bucket/sa_?.tar"),
        ("hf://datasets/owner/name@main/a", "hf://datasets/owner/name@main/a"),
        (
            "https://huggingface.co/datasets/o/n#configs",
            "https://huggingface.co/datasets/o/n#configs",
        ),
        ("ftp://me@host/x", "ftp://...@host/x"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer ..."),
        ("hf_hub_download of hf_" + "a" * 30, "hf_hub_download of hf_..."),
        ("no URL? a=b", "no URL? a=b"),
    ],
)
def test_what_grants_access_is_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown
    assert str(AsamDatasetsError(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "reading https://h/a.tar?d=attachment;filename*=UTF-8''a.tar&X-Amz-Signature=5ecre7: 403",
        "'https://h/it's/a.tar?sig=5ecre7'",
        'URL("https://h/a.tar?a=1&sig=a"5ecre7")',
        "http://h/sa_000000.tar#X-Amz-Signature=5ecre7",
        "https://h/a.tar?5ecre7",
        "https://me:p'5ecre7@h/a.tar",
        "https://me:p#5ecre7@h/a.tar",
        "h/a.tar?X-Amz-Signature=5ecre7: 403",
        "GET /a.tar?se=2026&sig=5ecre7&sp=r",
        "Authorization: Basic 5ecre7==",
        "{'authorization': 'BEARER 5ecre7-5ecre7'}",
    ],
)
def test_no_quoting_brings_a_secret_out(text: str) -> None:
    assert "5ecre7" not in redacted(text)


@pytest.mark.parametrize(
    "url",
    ["s3://b/a.tar?sv=1 b&sig=5ecre7 %2f", "ftp://me:5 ecre7@h/a", "hf://a/b?x=1#5ecre7 and on"],
)
def test_what_a_person_gave_is_hidden_however_it_is_split(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: object) -> int:
        raise SourceError(f"{url!r}: not there; {' '.join(url.split('?')[-1:])}")

    assert run_command(fail, ["--out", "x", url]) == EXIT_FAILED
    assert "ecre7" not in capsys.readouterr().err


def test_the_causes_of_an_error_hide_it_too() -> None:
    error = ValueError(SIGNED, 7)
    error.__cause__ = OSError(f"reading {SIGNED}")
    hide_in(error)
    assert error.args == (HIDDEN, 7)
    assert str(error.__cause__) == f"reading {HIDDEN}"


def test_the_log_lines_of_the_hub_hide_it(caplog: pytest.LogCaptureFixture) -> None:
    redact_logs_of_the_hub()
    log = logging.getLogger("huggingface_hub.utils._http")
    with caplog.at_level(logging.WARNING, log.name):
        log.addHandler(caplog.handler)
        try:
            log.warning("%s thrown while requesting GET %s", "503", SIGNED)
        finally:
            log.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {
        f"503 thrown while requesting GET {HIDDEN}"
    }


@given(
    st.recursive(
        st.integers() | st.text() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_value_in_a_message_is_short(value: object) -> None:
    assert len(brief(value)) <= 80


def test_a_value_in_a_message_may_be_nested_to_any_depth() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    assert brief({"a": value}) == "{'a': [[[[...]]]]}"
