"""Mail: a message is a document; its attachments are read by the other readers."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest

from reader_support import FILES, chunk_with, fails, given, read, survives, text_of
from stackroom.errors import EncryptedError, NoTextError
from stackroom.index import Index
from stackroom.ingest.readers import reader_for
from stackroom.ingest.readers.common import messages as held_messages
from stackroom.progress import CancelToken, ProgressEvent
from stackroom.protocols import Reading, Section
from support import WordEmbedder

REAL = FILES / "mail"


def messages(path: Path) -> list[tuple[Reading, list[Section]]]:
    documents = reader_for(path).read(path).documents
    assert documents is not None
    return [(document, list(document.sections)) for document in documents]


def test_a_real_message_with_a_pdf_attached() -> None:
    path = REAL / "pdf-attached.eml"
    reading, sections = read(path)
    assert (reading.type, reading.title) == ("eml", "test incremental updates")
    assert reading.metadata == {
        "from": "Tim Allison <tallison@apache.org>",
        "to": "tallison@apache.org",
        "date": "2023-05-04T10:06:11-04:00",
        "message_id": "<CAC1dCwWaWfGyY2x4K_L36E+_VzUtj407QJJMDt9ZwDXSQAbTOw@mail.gmail.com>",
        "attachments": ["testPDF_incrementalUpdates.pdf"],
    }
    assert sections[0].text.startswith("Subject: test incremental updates\nFrom: Tim Allison <tallison@apache.org>\n")
    place = chunk_with(path, "Testing Incremental").place
    assert (place.page, place.section) == (1, ("testPDF_incrementalUpdates.pdf",))


def test_a_real_mailbox_has_a_document_for_each_message() -> None:
    found = messages(REAL / "complex.mbox")
    assert [document.title for document, _ in found] == ["Re: question about when shuffle/sort start working"] * 3
    assert [document.part for document, _ in found] == [
        "<C649564F.1435F%jothipn@yahoo-inc.com>",
        "<592088.35091.qm@web111010.mail.gq1.yahoo.com>",
        "<C6496CF9.1437C%jothipn@yahoo-inc.com>",
    ]
    assert found[1][0].metadata["from"] == "Jianmin Woo <jianmin_woo@yahoo.com>"
    assert "Jothi Padmanabhan" in found[0][1][0].text


def test_messages_within_messages_and_several_attachments() -> None:
    sections = read(REAL / "mime-multipart-digest.eml")[1]
    assert [section.headings for section in sections][1:3] == [("First Message",), ("Second Message",)]
    assert "This is the first message in the digest." in sections[1].text
    sections = read(REAL / "testRFC822_multipart_attachments.eml")[1]
    assert [section.headings for section in sections] == [(), ("Test TxtA.txt",), ("Test TxtB.txt",)]
    assert "This is Test TXTB File for parser" in sections[2].text


def test_encodings_alternatives_and_what_is_shown_inline() -> None:
    assert "סלבה היקר" in messages(REAL / "email-no-utf8-2008-07-16.062410.eml")[0][1][0].text
    assert read(REAL / "fake-email-utf-16-le.eml")[0].title == "Test Email"
    text = text_of(REAL / "mime-different-plain-html.eml")
    assert "This is the text/plain part." in text
    assert "text/html part" not in text
    assert text_of(REAL / "email-inline-content-disposition.eml").endswith("test\n")


def test_known_by_its_content(tmp_path: Path) -> None:
    assert read(REAL / "fake-email.txt")[0].type == "eml"
    assert reader_for(given(tmp_path, "Inbox", (REAL / "complex.mbox").read_bytes())).name == "mbox"
    letter = "From Berlin we went on.\nIt was: a day's journey.\n"
    assert read(given(tmp_path, "letter.txt", letter))[0].type == "text"
    assert read(given(tmp_path, "notes.txt", "Date: today\nplace: here\n\nwords"))[0].type == "text"
    # Markdown stays what its name says, whatever it begins with.
    assert read(given(tmp_path, "a.md", (REAL / "fake-email.txt").read_bytes()))[0].type in ("eml", "markdown")


def message(subject: str, text: str, identity: str | None = None) -> EmailMessage:
    made = EmailMessage()
    made["Subject"], made["From"], made["Date"] = subject, "a@example.org", "Mon, 01 Jun 2009 10:00:00 +0000"
    if identity:
        made["Message-ID"] = identity
    made.set_content(text)
    return made


def mailbox(*held: EmailMessage) -> bytes:
    start = b"From a@example.org Mon Jun 01 10:00:00 2009\n"
    return b"".join(start + bytes(item) + b"\n" for item in held)


def test_the_word_from_within_a_message(tmp_path: Path) -> None:
    text = "one\n\nFrom here on it is the text.\n\n>From a friend at 10:00 in 2009\n"
    data = mailbox(message("a", text, "<1>"), message("b", "two", "<2>"))
    found = messages(given(tmp_path, "a.mbox", data))
    assert [document.part for document, _ in found] == ["<1>", "<2>"]
    assert "From here on" in found[0][1][0].text
    assert "\nFrom a friend" in found[0][1][0].text


def test_messages_without_an_id_and_twice_the_same(tmp_path: Path) -> None:
    twin = message("a", "one", "<1>")
    found = messages(given(tmp_path, "a.mbox", mailbox(twin, twin, message("b", "two"))))
    parts = [document.part for document, _ in found]
    assert parts[:2] == ["<1>", "<1> #2"]
    assert len(set(parts)) == 3


# In a library


def titles(index: Index) -> list[tuple[str, int]]:
    return [(source.title, source.documents) for source in index.sources()]


def test_a_mailbox_grows_and_shrinks(index: Index, tmp_path: Path, embedder: WordEmbedder) -> None:
    first, second, third = (message(f"title{n}", f"word{n} text", f"<{n}>") for n in range(3))
    path = given(tmp_path, "a.mbox", mailbox(first, second))
    report = index.add(path)
    assert (report.added, report.chunks) == (1, 2)
    assert [source.documents for source in index.sources()] == [2]
    (hit,) = index.search("word1", k=1)
    assert (hit.document.title, hit.document.metadata["message_id"]) == ("title1", "<1>")
    known = hit.document.id
    # Another message comes, and one goes: what stays keeps its id, and nothing of it is embedded again.
    path.write_bytes(mailbox(second, third))
    report = index.add(path)
    assert (report.updated, report.embedded, report.reused) == (1, 1, 1)
    assert [source.documents for source in index.sources()] == [2]
    assert index.search("word1", k=1)[0].document.id == known
    assert index.search("word0", k=5, mode="text") == []
    assert index.search("word2", k=1)[0].document.title == "title2"
    assert index.verify().ok


def test_an_interrupted_mailbox_goes_on_without_embedding_anything_twice(
    index: Index, tmp_path: Path, embedder: WordEmbedder
) -> None:
    path = given(tmp_path, "a.mbox", mailbox(*(message(f"title{n}", f"word{n} text", f"<{n}>") for n in range(400))))
    cancel = CancelToken()

    def stop(event: ProgressEvent) -> None:
        if (event.chunks or 0) >= 150:
            cancel.cancel()

    assert index.add(path, progress=stop, cancel=cancel).cancelled
    (source,) = index.sources()
    assert source.state == "partial"
    assert 0 < source.documents < 400
    kept = source.chunks
    begun = len(embedder.embedded)
    report = index.add(path)
    assert (report.reused, len(embedder.embedded) - begun) == (kept, 400 - kept)
    (source,) = index.sources()
    assert (source.state, source.documents, source.chunks) == ("indexed", 400, 400)
    assert index.verify().ok


def test_a_copy_of_a_mailbox_has_documents_of_its_own(index: Index, tmp_path: Path, embedder: WordEmbedder) -> None:
    data = mailbox(*(message(f"title{n}", f"word{n} text", f"<{n}>") for n in range(3)))
    index.add(given(tmp_path, "a.mbox", data))
    count = len(embedder.embedded)
    report = index.add(given(tmp_path, "b.mbox", data))
    assert (report.added, len(embedder.embedded)) == (1, count)
    assert [source.documents for source in index.sources()] == [3, 3]
    assert len({hit.document.id for hit in index.search("word1", k=2)}) == 2
    report = index.rebuild([str(tmp_path / "b.mbox")])
    assert [source.documents for source in index.sources()] == [3, 3]
    assert index.verify().ok


def test_a_mailbox_that_fails_half_way_leaves_what_was_there(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [message(f"title{n}", f"word{n} text", f"<{n}>") for n in range(200)]
    path = given(tmp_path, "a.mbox", mailbox(*several[:2]))
    index.add(path)
    # The last message is larger than a message may be.
    path.write_bytes(
        mailbox(*several[1:]) + mailbox(message("long", "x\n", "<9>")) + b"x" * 70 * 2**20 + b"\n" + b"y" * 200 * 2**20
    )
    report = index.add(path)
    assert report.failed == 1
    assert {hit.document.title for hit in index.search("text", k=10, mode="text")} == {"title0", "title1"}
    assert [source.documents for source in index.sources()] == [2]
    assert index.verify().ok


# Broken and hostile


def test_an_encrypted_message() -> None:
    fails(REAL / "fake-encrypted.eml", EncryptedError, "encrypted")


def test_damaged_messages(tmp_path: Path) -> None:
    for name in ("pdf-attached.eml", "testRFC822_multipart_attachments.eml"):
        survives((REAL / name).read_bytes(), tmp_path / "a.eml")
    whole = (REAL / "complex.mbox").read_bytes()
    for data in (whole[:5000], whole[:9000] + bytes(500) + whole[9500:], whole[3000:]):
        path = given(tmp_path, "b.mbox", data)
        documents = reader_for(path).read(path).documents
        assert documents is None or all(list(document.sections) for document in documents)
    fails(given(tmp_path, "c.eml", ""), NoTextError)


def test_parts_within_parts_without_end(tmp_path: Path) -> None:
    deep = "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(3000))
    path = given(
        tmp_path, "a.eml", f"From: a@example.org\nSubject: deep\nMIME-Version: 1.0\n{deep}Content-Type: text/plain\n\nx"
    )
    fails(path, words="broken message")


def test_messages_within_messages_without_end(tmp_path: Path) -> None:
    data = b"Subject: last\nFrom: a@example.org\n\nx"
    for n in range(40):
        data = (
            f"Subject: s{n}\nFrom: a@example.org\nMIME-Version: 1.0\nContent-Type: message/rfc822\n\n".encode() + data
        )
    assert len(read(given(tmp_path, "a.eml", data))[1]) < 10


def test_a_mailbox_that_begins_with_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_messages, "_PARTS", 10)
    made = message("many", "body")
    for n in range(50):
        made.add_attachment(f"attached {n}", filename=f"{n}.txt")
    assert len(read(given(tmp_path, "a.eml", bytes(made)))[1]) < 12


def test_an_attachment_that_can_not_be_read_or_is_a_bomb_costs_itself_alone(tmp_path: Path) -> None:
    from reader_support import zipped

    made = message("bomb", "body")
    bomb = zipped({"xl/workbook.xml": b" " * 50_000_000})
    made.add_attachment(bomb, maintype="application", subtype="octet-stream", filename="../../etc/a.xlsx")
    made.add_attachment(b"\x7fELF" + bytes(500), maintype="application", subtype="octet-stream", filename="b.txt")
    made.add_attachment("name,size\na,1\n", filename="c.csv")
    reading, sections = read(given(tmp_path, "a.eml", bytes(made)))
    assert reading.metadata["attachments"] == ["../../etc/a.xlsx", "b.txt", "c.csv"]
    assert [section.headings for section in sections] == [(), ("c.csv",)]
    assert (sections[1].text, sections[1].unit) == ("name | size\nname: a; size: 1\n", "row")
    assert list(tmp_path.parent.rglob("etc")) == []


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_fields_that_nobody_encoded_are_read_as_they_are_meant(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "raw.eml"
    text = """From: Jürgen =?utf-8?q?M=C3=BCller?= <j@example.org>
To: Zoë <z@example.org>
Subject: Grüße aus =?iso-8859-1?q?K=F6ln?= =?utf-8?q?_heute?=
Date: Mon, 1 Jan 2024 10:00:00 +0000
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=utf-8

Hallo
--b
Content-Type: text/plain
Content-Disposition: attachment; filename="Köln.txt"

More.
--b--
"""
    path.write_bytes(text.encode(encoding))
    found, sections = read(path)
    assert found.title == "Grüße aus Köln heute"
    assert found.metadata["from"] == "Jürgen Müller <j@example.org>"
    assert found.metadata["to"] == "Zoë <z@example.org>"
    assert found.metadata["attachments"] == ["Köln.txt"]
    assert sections[0].text.startswith("Subject: Grüße aus Köln heute\nFrom: Jürgen Müller")
