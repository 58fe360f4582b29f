"""Files that are damaged, locked, empty or malicious: each gets an error that names why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.adapters.parsers.dispatch import parse_file
from backend.adapters.parsers.limits import ParserLimits
from backend.core.errors import InvalidRequest, TooLarge, UnreadableDocument, UnsupportedDocument
from tests.unit import parser_files as make

LIMITS = ParserLimits()
EVIL_XML = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><a>&y;</a>'
)


def reason(path: Path, name: str | None = None, limits: ParserLimits = LIMITS) -> str:
    with pytest.raises(UnreadableDocument) as caught:
        parse_file(path, name or path.name, limits)
    return caught.value.reason


def setting(path: Path, limits: ParserLimits) -> tuple[str, int]:
    with pytest.raises(TooLarge) as caught:
        parse_file(path, path.name, limits)
    return caught.value.setting, caught.value.limit


@pytest.mark.parametrize("name", ["a.txt", "a.pdf", "a.docx", "a.html", "a.csv", "a.xlsx"])
@pytest.mark.parametrize("content", [b"", b" \r\n\t "])
def test_an_empty_file_is_refused_as_empty(tmp_path: Path, name: str, content: bytes) -> None:
    assert reason(make.write(tmp_path / name, content)) == "empty"


def test_a_page_without_words_is_empty(tmp_path: Path) -> None:
    assert reason(make.write(tmp_path / "a.html", "<html><p> </p></html>")) == "empty"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_pdf_is_corrupt(tmp_path: Path, share: float) -> None:
    path = make.pdf(tmp_path / "a.pdf", [["Page of text."] * 20] * 3)
    data = path.read_bytes()

    assert reason(make.write(path, data[: int(len(data) * share)])) == "corrupt"


def test_a_pdf_with_rubbish_after_its_end_is_read(tmp_path: Path) -> None:
    path = make.pdf(tmp_path / "a.pdf", [["Whole."]])
    make.write(path, path.read_bytes() + b"\n\x00rubbish" * 500)

    assert parse_file(path, path.name, LIMITS).text == "Whole."


def test_a_pdf_with_a_password_is_encrypted(tmp_path: Path) -> None:
    path = make.pdf(tmp_path / "a.pdf", [["Secret."]], user_password="secret")  # noqa: S106 (of a test file)

    assert reason(path) == "encrypted"


def test_a_scan_and_an_unreadable_text_layer_have_no_text(tmp_path: Path) -> None:
    scan = make.pdf(tmp_path / "scan.pdf", [["Page 1"], []], scanned_pages=[0, 1])
    mojibake = "Требования о защите информации".encode("cp1251").decode("latin-1")
    garbled = make.pdf(tmp_path / "garbled.pdf", [[mojibake]])
    shifted = make.pdf(tmp_path / "shifted.pdf", [["ML<J@>?GU ijbdZahf NKLWD Jhkkbb hl n_\\jZey"]])

    assert [reason(path) for path in (scan, garbled, shifted)] == ["no_text"] * 3


def test_a_pdf_over_the_page_limit_names_the_setting(tmp_path: Path) -> None:
    path = make.pdf(tmp_path / "a.pdf", [["Text."]] * 3)

    assert setting(path, ParserLimits(max_pages=2)) == ("INGEST_MAX_PAGES", 2)


def test_office_files_with_a_password_and_of_old_formats_are_told_apart(tmp_path: Path) -> None:
    name = "EncryptedPackage".encode("utf-16-le")
    locked = make.write(tmp_path / "a.docx", make.OLE_MAGIC + bytes(1000) + name)
    old = make.write(tmp_path / "a.doc", make.OLE_MAGIC + bytes(1000))

    assert reason(locked) == "encrypted"
    with pytest.raises(UnsupportedDocument, match=r"97–2003.*save it as DOCX"):
        parse_file(old, old.name, LIMITS)


@pytest.mark.parametrize("folder", ["word/document.xml", "xl/worksheets/sheet1.xml"])
def test_a_zip_bomb_is_unsafe(tmp_path: Path, folder: str) -> None:
    entries = {make.CONTENT_TYPES: b"<Types/>", folder: bytes(20_000_000)}

    assert reason(make.archive(tmp_path / "a.docx", entries)) == "unsafe"


def test_many_small_bombs_are_one_bomb(tmp_path: Path) -> None:
    entries = {f"word/part{number}.xml": bytes(4_900_000) for number in range(12)}

    assert reason(make.archive(tmp_path / "a.docx", {make.CONTENT_TYPES: b"", **entries})) == (
        "unsafe"
    )


def test_an_archive_that_unpacks_to_too_much_names_the_setting(tmp_path: Path) -> None:
    path = make.docx(tmp_path / "a.docx", lambda document: None)

    assert setting(path, ParserLimits(max_unpacked_bytes=1000)) == (
        "INGEST_MAX_UNPACKED_BYTES",
        1000,
    )


def test_xml_entities_are_unsafe(tmp_path: Path) -> None:
    path = make.docx(tmp_path / "a.docx", lambda document: document.add_paragraph("x"))
    make.with_part(path, "word/document.xml", lambda _: EVIL_XML)
    book = make.xlsx(tmp_path / "a.xlsx", {"s": [["x"]]})
    make.with_part(book, "xl/worksheets/sheet1.xml", lambda _: EVIL_XML)

    assert [reason(path), reason(book)] == ["unsafe", "unsafe"]


@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_a_truncated_office_file_is_corrupt(tmp_path: Path, share: float) -> None:
    path = make.docx(tmp_path / "a.docx", lambda document: document.add_paragraph("x"))
    data = path.read_bytes()

    assert reason(make.write(path, data[: int(len(data) * share)])) == "corrupt"


def test_an_office_file_with_broken_xml_is_corrupt(tmp_path: Path) -> None:
    path = make.docx(tmp_path / "a.docx", lambda document: document.add_paragraph("x"))
    make.with_part(path, "word/document.xml", lambda xml: xml[:-100])

    assert reason(path) == "corrupt"


def test_one_endless_line_is_refused_by_its_size_or_read(tmp_path: Path) -> None:
    limits = ParserLimits(max_text_chars=1_000_000)
    long = make.write(tmp_path / "long.txt", b"x" * 5_000_000)
    within = make.write(tmp_path / "within.txt", b"x" * 900_000)

    assert setting(long, limits) == ("INGEST_MAX_TEXT_CHARS", 1_000_000)
    assert len(parse_file(within, within.name, limits).text) == 900_000


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv", "a.html", "a.bin", ""])
def test_nul_bytes_are_binary_data(tmp_path: Path, name: str) -> None:
    for content in (b"text\x00text", b"text " * 4000 + b"\x00"):
        path = make.write(tmp_path / "stored", content)
        with pytest.raises(UnsupportedDocument, match=r"binary|NUL"):
            parse_file(path, name, LIMITS)


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.xlsx"])
def test_text_under_the_name_of_a_binary_format_is_corrupt(tmp_path: Path, name: str) -> None:
    assert reason(make.write(tmp_path / name, b"this is not what it says")) == "corrupt"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdf", b"\x89PNG\r\n\x1a\n" + bytes(100)),
        ("a.txt", b"{\\rtf1 text}"),
        ("a.eml", b"From: a@b\n\ntext"),
        ("a.txt", b"PK\x05\x06" + bytes(18)),
        ("a.exe", b"MZ\x90\x00" + bytes(100)),
    ],
)
def test_other_kinds_of_files_are_refused_with_the_supported_ones_named(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = make.write(tmp_path / name, content)

    with pytest.raises(UnsupportedDocument, match="Supported: txt, md, pdf, docx, html, csv, xlsx"):
        parse_file(path, name, LIMITS)


def test_html_nested_ten_thousand_deep_is_read(tmp_path: Path) -> None:
    path = make.write(tmp_path / "a.html", "<html>" + "<div>" * 10_000 + "deep")

    assert parse_file(path, path.name, LIMITS).text == "deep"


def test_a_sheet_with_one_far_cell_is_read_and_too_many_cells_are_refused(tmp_path: Path) -> None:
    path = make.xlsx(tmp_path / "a.xlsx", {"s": [["near", "b", "c"]]})
    assert setting(path, ParserLimits(max_cells=2)) == ("INGEST_MAX_CELLS", 2)
    far = b'<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>far</t></is></c></row>'
    make.with_part(
        path,
        "xl/worksheets/sheet1.xml",
        lambda xml: xml.replace(b"</sheetData>", far + b"</sheetData>"),
    )

    assert parse_file(path, path.name, LIMITS).text.endswith("far")


@pytest.mark.data
def test_real_files_give_text_or_the_right_error(data_folder: Path) -> None:
    """The manifest of the evaluation data says what each file is."""
    allowed = {
        "text": {"ok", "UnsupportedDocument"},
        "text-or-ocr": {"ok", "no_text"},
        "ocr": {"no_text", "UnsupportedDocument"},
        # A page that draws itself for ever is cut off by PDFium, and its text is read.
        "broken": {"corrupt", "empty", "no_text", "ok"},
        "password": {"encrypted"},
        "empty": {"empty"},
    }
    files = data_folder / "files"
    for line in (files / "MANIFEST.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        try:
            parse_file(files / entry["file"], entry["file"], LIMITS)
            outcome = "ok"
        except InvalidRequest as error:
            outcome = getattr(error, "reason", type(error).__name__)
        assert outcome in allowed[entry["expect"]], entry["file"]
