"""reStructuredText, Org, LaTeX and RTF."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from reader_support import FILES, chunk_with, fails, given, read, survives, text_of
from stackroom.errors import NoTextError

REAL = FILES / "markup"


# reStructuredText


def test_real_rst_gives_its_titles_and_keeps_its_text() -> None:
    path = REAL / "README.rst"
    reading, sections = read(path)
    assert (reading.type, reading.title) == ("rst", "Example Docs")
    assert [section.headings for section in sections] == [("Example Docs",), ("Example Docs", "XBRL 10-K")]
    assert "".join(section.text for section in sections) == path.read_text()
    assert chunk_with(path, "You can get an example").place.section == ("Example Docs", "XBRL 10-K")


def test_titles_by_the_marks_that_a_document_uses(tmp_path: Path) -> None:
    text = (
        "=====\nBook\n=====\n\nintro\n\nOne\n===\n\ntext\n\nA *deep* :ref:`part <x>`\n-------------------------\n\n"
        "more\n\n----\n\nafter a rule\n\n::\n\n   No title\n   --------\n\nTwo\n===\n\nend\n"
    )
    sections = read(given(tmp_path, "a.rst", text))[1]
    assert [section.headings for section in sections] == [
        ("Book",),
        ("Book", "One"),
        ("Book", "One", "A deep part"),
        ("Book", "Two"),
    ]
    assert "".join(section.text for section in sections) == text


# Org


def test_real_org_gives_its_headlines() -> None:
    path = REAL / "README.org"
    reading, sections = read(path)
    assert (reading.type, reading.title) == ("org", "Example Docs")
    assert chunk_with(path, "You can get an example").place.section == ("Example Docs", "XBRL 10-K")
    assert "curl -O" in sections[1].text


def test_org_settings_states_tags_and_drawers(tmp_path: Path) -> None:
    text = (
        "#+TITLE: My notes\n#+AUTHOR: Ann\n# a comment\n* TODO [#A] Buy [[http://x][bread]]  :home:shop:\n"
        "SCHEDULED: <2024-01-01 Mon>\n:PROPERTIES:\n:ID: 7\n:END:\ntext\n** Deep\n| a | b |\nend\n"
    )
    reading, sections = read(given(tmp_path, "notes", text))
    assert (reading.type, reading.title, reading.metadata) == ("org", "My notes", {"author": "Ann"})
    assert [section.headings for section in sections] == [("Buy bread",), ("Buy bread", "Deep")]
    assert "".join(section.text for section in sections) == (
        "* TODO [#A] Buy bread  :home:shop:\ntext\n** Deep\n| a | b |\nend\n"
    )


# LaTeX


def test_real_latex_gives_its_sections() -> None:
    path = REAL / "libhttplib2.tex"
    reading, sections = read(path)
    assert reading.type == "latex"
    names = [section.headings[-1] for section in sections]
    assert names == [
        "httplib2 A comprehensive HTTP client library.",
        "Http Objects",
        "Cache Objects",
        "Response Objects",
        "Examples",
    ]
    assert chunk_with(path, "own caching implementation").place.section[-1] == "Cache Objects"
    text = "".join(section.text for section in sections)
    assert "\\section" not in text
    assert "client library, httplib2 supports" in text


def test_latex_commands_give_way(tmp_path: Path) -> None:
    text = r"""\documentclass{article} % a comment
\usepackage[utf8]{inputenc}
\title{The \emph{Title}}\author{Andr\'e M\"uller}
\begin{document}
\maketitle
\section[short]{Caf\'e \& Co}
Some \textbf{bold \emph{text}}~here, 50\% of it\label{x} (see \cite{knuth}). It's ``quoted'' --- $x^2_{i}$.
\begin{itemize}
\item one
\item[second] two
\end{itemize}
\begin{tabular}{l|r}
\hline Name & Size \\ \hline
A & 1 \\
B & 2 \\
\end{tabular}
\begin{verbatim}
\raw{code} % kept
\end{verbatim}
\subsection{Stra\ss{}e}
End.
\end{document} not read
"""
    reading, sections = read(given(tmp_path, "paper", text))
    assert (reading.type, reading.title, reading.metadata) == ("latex", "The Title", {"author": "André Müller"})
    assert [section.headings for section in sections] == [("Café & Co",), ("Café & Co", "Straße")]
    first = sections[0].text
    assert "Some bold text here, 50% of it (see ). It's “quoted” — $x^2_{i}$." in first
    assert "- one\n" in first
    assert "- second two" in first
    assert "Name | Size\nName: A; Size: 1\nName: B; Size: 2\n" in first
    assert "\\raw{code}" in first
    assert "not read" not in sections[1].text


# RTF


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fake-doc.rtf", "Column 1: Row 1, Cell 1; Column 2: Row 1, Cell 2\n"),
        ("testRTFVarious.rtf", "Bold italic underline superscript subscript\n"),
        ("testRTF-ms932.rtf", "こんにちは\nTest\nテスト\n"),
        ("testRTFWithCurlyBraces.rtf", "{ some text inside curly brackets }"),
    ],
)
def test_real_rtf(name: str, words: str) -> None:
    assert read(REAL / name)[0].type == "rtf"
    assert words in text_of(REAL / name)


def test_rtf_facts_in_their_code_page() -> None:
    reading, _ = read(REAL / "testRTF-ms932.rtf")
    assert reading.title == "タイトル"
    assert reading.metadata["author"] == "shinsuke"


def test_rtf_with_notes_cells_of_paragraphs_and_changes(tmp_path: Path) -> None:
    text = (
        "{\\rtf1\\ansi Before{\\super 1}{\\footnote\\pard\\plain {\\super 1} A note\\par of two lines.} and after.\\par "
        "\\trowd\\cellx1\\cellx2\\pard\\intbl Name\\cell Price\\cell\\row\\trowd\\cellx1\\cellx2\\pard\\intbl Chain\\par heavy\\cell 20\\cell\\row"
        "\\pard It is {\\deleted not \\u8364?\\'e4}{\\revised so}.\\par {\\b Next}\\par line}"
    )
    assert text_of(given(tmp_path, "a.rtf", text)) == (
        "Before1 [1 A note of two lines.] and after.\nName | Price\nName: Chain heavy; Price: 20\n\nIt is so.\nNext\nline\n"
    )


def test_rtf_is_known_by_its_content(tmp_path: Path) -> None:
    assert read(given(tmp_path, "a.doc", (REAL / "fake-doc.rtf").read_bytes()))[0].type == "rtf"
    assert read(given(tmp_path, "b.rtf", "only words"))[0].type == "text"


# Broken and hostile


@pytest.mark.parametrize("name", ["README.rst", "README.org", "libhttplib2.tex", "fake-doc.rtf", "testRTFVarious.rtf"])
def test_damaged(tmp_path: Path, name: str) -> None:
    survives((REAL / name).read_bytes(), tmp_path / name)


def test_without_text(tmp_path: Path) -> None:
    for name, text in (
        ("a.rst", "\n \n"),
        ("a.org", "#+TITLE: T\n# c\n"),
        ("a.tex", "\\documentclass{a}\\begin{document}\\end{document}"),
        ("a.rtf", "{\\rtf1 }"),
    ):
        fails(given(tmp_path, name, text), NoTextError)


def test_hostile(tmp_path: Path) -> None:
    """Braces, stars and marks without end, in times that grow with the file alone."""
    begun = time.monotonic()
    letters = "".join(random.Random(1).choices("a{}\\[]%$&~`'\"^ =-*#:_|\n", k=200_000))
    for name, text in (
        ("a.tex", "{" * 100_000), ("b.tex", "\\emph{" * 50_000), ("c.tex", "\\section{" * 20_000), ("d.tex", "$" * 100_001), ("e.tex", letters),
        ("f.tex", "\\begin{tabular}" * 5_000), ("g.tex", "\\title{" * 20_000), ("h.rst", "==\n" * 50_000), ("i.rst", letters), ("j.org", letters),
        ("k.org", "*" * 200_000 + " x"), ("l.org", ":A:\n" * 50_000), ("m.rtf", "{\\rtf1 " + "{" * 100_000 + "x"), ("n.rtf", "{\\rtf1 " + letters),
        ("q.tex", "\\( \\[ $$ x " * 10_000), ("r.tex", "\\begin{tabular}{{" * 5_000 + "\\end{tabular}"),
        ("s.tex", "\\begin{verbatim}\\verb|\\url{\\iffalse " * 5_000), ("t.tex", "\\newcommand{\\multicolumn{{ " * 5_000), ("o.rtf", "{\\rtf1\\ansicpg99999 caf\\'e9}"), ("p.rst", "`" * 50_000 + "\n" + "=" * 50_000 + "\n"),
    ):  # fmt: skip
        path = given(tmp_path, name, text)
        survives(path.read_bytes(), path)
    assert time.monotonic() - begun < 120


def test_a_chapter_of_latex_that_quotes_a_document(tmp_path: Path) -> None:
    quoted = "\\begin{verbatim}\n\\begin{document}\nquoted\n\\end{document}\n\\end{verbatim}\n"
    inline = "The command |\\begin{document}| begins it.\n"
    text = text_of(given(tmp_path, "a.tex", f"\\section{{One}}\nBefore.\n{inline}{quoted}After.\n"))
    assert [words in text for words in ("Before.", "quoted", "After.")] == [True] * 3
    whole = f"\\title{{T}} preamble\n\\begin{{document}}\nText.\n{quoted}After.\n\\end{{document}}\nscratch"
    text = text_of(given(tmp_path, "b.tex", whole))
    assert [words in text for words in ("preamble", "Text.", "quoted", "After.", "scratch")] == [
        False,
        True,
        True,
        True,
        False,
    ]


# LaTeX, where TeX reads by other rules


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("\\begin{lstlisting}[language=C]\nprintf(\"%d\", x); // \\section{no}\n\\end{lstlisting}", "printf(\"%d\", x); // \\section{no}"),
        ("\\begin{minted}{python}\nprint('%s' % x)\n\\end{minted}", "print('%s' % x)"),
        ("% \\begin{verbatim}\nread\n% \\end{verbatim}\non", "read\non"),
        ("See \\url{http://x.org/a_b%20c} and \\href{http://y.org/50%25}{the link}.", "See http://x.org/a_b%20c and the link."),
        ("The name \\verb|x_%y| and \\verb+\\section{z}+ here", "The name x_%y and \\section{z} here"),
        ("a \\verb b", "a b"),
        ("50\\% of it % not this\nand more", "50% of it and more"),
        ("line \\\\% not this\nnext", "line \nnext"),
        ("before \\iffalse never \\else always \\fi after", "before  always after"),
        ("word\\footnote{A \\emph{note}.} goes on", "word [A note.] goes on"),
        ("\\begin{tabular}{lr}\nName & Size \\\\\nA & 1 \\\\\n\\multicolumn{2}{|c|}{in \\textbf{all}} \\\\\n\\end{tabular}", "Name | Size\nName: A; Size: 1\nin all"),
        ("\\begin{tabular}{lr}\nName & Size \\\\\n\\multirow{2}{*}{A} & 1 \\\\\n\\end{tabular}", "Name: A; Size: 1"),
        ("\\textcolor{red}{warm} \\colorbox{blue}{cold} \\definecolor{x}{HTML}{FF0000}end", "warm cold end"),
        ("na\\\"\\i ve caf\\'e \\=a \\'{\\i} x", "naïve café ā í x"),
        ("a\\=\\qquad b", "a= b"),
        ("\\begin{tabbing}\nwide\\qquad\\=\\kill\nfirst \\> bar\\\\\nsecond\\=end\n\\end{tabbing}", "first   bar\n\nsecond end"),
        ("\\begin{tabbing} wide\\=\n wider\\= \\kill first \\> bar\\\\ \\killjoy second\\end{tabbing}", "S\n\nfirst   bar\n second"),
        ("\\newcommand{\\me}[1]{It is \\textbf{#1}}\\def\\you#1{by #1}text", "text"),
    ],
)  # fmt: skip
def test_latex_source(tmp_path: Path, source: str, wanted: str) -> None:
    (section,) = read(given(tmp_path, "a.tex", f"\\section{{S}}\n{source}\n"))[1]
    assert section.headings == ("S",)
    assert wanted in section.text


def test_latex_authors(tmp_path: Path) -> None:
    text = "\\author{Ada \\emph{Lovelace}\\thanks{At home.} \\and Charles Babbage}\\begin{document}x\\end{document}"
    assert read(given(tmp_path, "a.tex", text))[0].metadata["author"] == "Ada Lovelace, Charles Babbage"


def test_latex_names_the_files_that_it_inputs_and_opens_none(tmp_path: Path) -> None:
    given(tmp_path, "secret.tex", "The secret.")
    (tmp_path / "book").mkdir()
    source = (
        "\\documentclass{book}\\input{macros}\\title{Book}\\begin{document}\\chapter{One}Before. \\input{chapters/one}\n"
        "% \\input{never}\n\\include{two.tex} \\import{parts/}{three} \\input{../secret} After.\\end{document}"
    )
    (section,) = read(given(tmp_path / "book", "main.tex", source))[1]
    assert (
        " ".join(section.text.split())
        == "One Before. [chapters/one.tex] [two.tex] [parts/three.tex] [../secret.tex] After."
    )
    # What it names is a document of its own, with its own headings.
    (chapter,) = read(given(tmp_path, "one.tex", "\\section{In it}Its text.\n"))[1]
    assert (chapter.headings, chapter.text) == (("In it",), "In it\n\nIts text.\n\n")


def test_latex_that_only_inputs_says_what_to_add(tmp_path: Path) -> None:
    source = "\\documentclass{book}\\begin{document}\\maketitle" + "".join(f"\\include{{c{n}}}" for n in range(9))
    error = fails(
        given(tmp_path, "main.tex", source + "\\end{document}"),
        NoTextError,
        "c0.tex, c1.tex, c2.tex, c3.tex, c4.tex ...",
    )
    assert error.hint == "Add those."


def test_latex_that_inputs_a_picture_is_more_than_that(tmp_path: Path) -> None:
    source = "Short. \\begin{tikzpicture}\\input{figures/with-a-long-name}\\end{tikzpicture}"
    (section,) = read(given(tmp_path, "a.tex", source))[1]
    assert section.text == "Short.\n\n"
    fails(given(tmp_path, "b.tex", "\\input{\\path{a b}}"), NoTextError, "It names the files that do: a b.tex.")
