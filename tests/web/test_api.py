"""The verbs over HTTP: the same answers as the command line's, and errors with a status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

import stackroom
from reader_support import FILES as REAL_FILES
from stackroom.cli.main import cli
from stackroom.web.app import ENDPOINTS
from stackroom.web.library import Library
from stackroom.web.workspace import Workspace
from support import WordEmbedder, write_files
from web_support import FILES, OWN, Asker


def test_search_answers_as_the_command_line_does_with_marks(filled: Asker) -> None:
    told = filled.get("/api/search", q="old log files", k=2, explain="true")
    assert set(told) == {"query", "mode", "took_ms", "hits", "reason"}
    assert (told["query"], told["mode"], told["reason"], len(told["hits"])) == ("old log files", "hybrid", None, 2)
    hit = told["hits"][0]
    assert hit["document"]["title"] == "Logs"
    assert hit["document"]["type"] == "markdown"
    assert hit["place"]["section"] == ["Logs", "Rotation"]
    assert [hit["text"][start:end] for start, end in hit["marks"]][-3:] == ["old", "log", "files"]
    assert hit["explain"]["text"]["rank"] == 1


def test_marks_are_code_points(asker: Asker, folder: Path) -> None:
    write_files(folder, {"a.txt": "😀😀 a cat 😀 purrs"})
    asker.added(folder)
    (hit,) = asker.search("purrs", mode="text")
    assert hit["marks"] == [[11, 16]]


def test_search_by_meaning_marks_nothing(filled: Asker) -> None:
    assert filled.search("purrs", mode="vector")[0]["marks"] == []


def test_filters_of_a_search(filled: Asker, documents: Path) -> None:
    everything = {hit["document"]["title"] for hit in filled.search("the", k=50)}
    assert len(everything) == 4

    def titles(**query: Any) -> set[str]:
        return {hit["document"]["title"] for hit in filled.search("the", k=50, **query)}

    assert titles(where="type == html") == {"Bread"}
    assert titles(where=["type != html", "file_name != logs.md"]) == {"cats.txt", "mars.txt"}
    assert titles(**{"in": str(documents / "cats.txt")}) == {"cats.txt"}
    assert titles(**{"in": ["cats.txt", "Logs"]}) == {"cats.txt", "Logs"}
    assert titles(since="2000-01-01", until="2100-01-01") == everything
    assert titles(until="2000-01-01") == set()
    assert titles(since="2000-01-01", **{"in": "*.txt"}) == {"cats.txt", "mars.txt"}
    filled.post("/api/active", {"sources": ["mars.txt"], "active": False})
    assert titles(active="true") == everything - {"mars.txt"}


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ({}, 400, "UsageError"),
        ({"q": " "}, 400, "UsageError"),
        ({"q": "a", "k": "0"}, 400, "UsageError"),
        ({"q": "a", "k": "1.5"}, 400, "UsageError"),
        ({"q": "a", "k": "99999999999999999999"}, 400, "UsageError"),
        ({"q": "a", "mode": "loud"}, 400, "UsageError"),
        ({"q": "a", "active": "yes"}, 400, "UsageError"),
        ({"q": "a", "nonsense": "1"}, 400, "UsageError"),
        ({"q": ["a", "b"]}, 400, "UsageError"),
        ({"q": "a", "where": "nonsense"}, 400, "InvalidFilterError"),
        ({"q": "a", "since": "yesterday"}, 400, "UsageError"),
        ({"q": "a", "since": "20260101"}, 400, "UsageError"),
        ({"q": "a", "in": "nobody"}, 404, "NotFoundError"),
        ({"q": "a", "collection": "nothing"}, 404, "NotFoundError"),
    ],
)
def test_a_search_that_means_nothing(filled: Asker, query: dict[str, Any], status: int, kind: str) -> None:
    error = filled.get("/api/search", status, **query)["error"]
    assert error["type"] == kind
    assert error["message"]
    assert set(error) == {"type", "message", "hint"}


def test_words_alone_where_the_model_is_not_at_hand(library: Path, folder: Path) -> None:
    from starlette.testclient import TestClient

    from stackroom.web.app import application
    from web_support import ADDRESS, TOKEN

    write_files(folder, FILES)
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add(folder)
    workspace = Workspace(Library(str(library)))
    asker = Asker(TestClient(application(workspace, ADDRESS, TOKEN), base_url=ADDRESS.url), workspace)
    told = asker.get("/api/search", q="purrs")
    assert told["mode"] == "text"
    assert "application's own" in told["reason"]
    assert told["hits"][0]["document"]["title"] == "cats.txt"
    assert asker.get("/api/search", 400, q="purrs", mode="vector")["error"]["type"] == "UsageError"
    failed = asker.added(folder / "new.txt") if (folder / "new.txt").write_text("New.") else None
    assert failed["state"] == "failed"
    assert failed["error"]["type"] == "EmbedderMismatchError"
    workspace.close()


def test_sources_are_sorted_filtered_and_given_in_parts(filled: Asker) -> None:
    told = filled.get("/api/sources")
    assert (told["total"], told["library_total"]) == (4, 4)
    assert filled.titles(sort="title") == ["Bread", "cats.txt", "Logs", "mars.txt"]
    assert filled.titles(sort="title", descending="true", limit=2) == ["mars.txt", "Logs"]
    assert filled.titles(sort="title", offset=1, limit=2) == ["cats.txt", "Logs"]
    assert filled.titles(filter="CATS txt") == ["cats.txt"]
    assert filled.titles(type="html") == ["Bread"]
    assert filled.titles(source="*.txt") == ["cats.txt", "mars.txt"]
    assert filled.titles(state="failed") == []
    filled.post("/api/active", {"sources": ["Logs"], "active": False})
    assert filled.titles(state="inactive") == ["Logs"]
    assert len(filled.titles(state="active")) == 3
    assert filled.source("Bread")["modified_at"][:2] == "20"


def test_one_source_and_one_passage_with_what_is_around_it(filled: Asker) -> None:
    found = filled.source("Logs")
    told = filled.get(f"/api/sources/{found['id']}")
    assert told["source"] == found
    assert told["total"] == len(told["passages"]) == found["chunks"]
    chunk = told["passages"][-1]["chunk_id"]
    around = filled.get(f"/api/passages/{chunk}", context=5)
    assert around["passage"] == told["passages"][-1]
    assert around["before"] == told["passages"][:-1]
    assert around["after"] == []
    assert around["document"]["source_id"] == found["id"]
    filled.get("/api/sources/nobody", 404)
    filled.get("/api/sources/Logs", 404)  # by id alone: a title may be another's
    filled.get("/api/passages/nothing", 404)


def test_ids_may_be_any_text(asker: Asker) -> None:
    odd = "a/b c?d#e"
    asker.workspace.library.index().add_documents(
        [stackroom.Document(odd, source=odd, chunks=[stackroom.Chunk("A cat purrs.", odd)])]
    )
    from urllib.parse import quote

    assert asker.get(f"/api/passages/{quote(odd, safe='')}")["passage"]["chunk_id"] == odd
    assert asker.get("/api/sources")["sources"][0]["path"] == odd


def test_active_switches(filled: Asker) -> None:
    assert filled.post("/api/active", {"sources": None, "active": False}) == {
        "changed": 4,
        "active_sources": 0,
        "sources": 4,
    }
    assert filled.post("/api/active", {"sources": ["*.txt"], "active": True})["active_sources"] == 2
    filled.post("/api/active", {"sources": ["nobody"], "active": True}, 404)
    filled.post("/api/active", {"sources": [], "active": True}, 400)
    filled.post("/api/active", {"active": True}, 400)
    filled.post("/api/active", {"sources": None, "active": 1}, 400)


def test_sets_are_saved_searched_and_forgotten(filled: Asker) -> None:
    assert filled.get("/api/sets") == {"sets": []}
    assert filled.post("/api/sets", {"name": "sky & sea", "sources": ["mars.txt"]}) == {"sources": 1}
    assert filled.post("/api/sets", {"name": "sky & sea", "sources": ["cats.txt"], "join": True}) == {"sources": 2}
    assert filled.get("/api/sets") == {"sets": [{"name": "sky & sea", "sources": 2}]}
    assert filled.get("/api/status")["sets"] == ["sky & sea"]
    assert sorted(filled.titles(set="sky & sea")) == ["cats.txt", "mars.txt"]
    assert filled.titles(set="sky & sea", filter="mars") == ["mars.txt"]
    everywhere = {hit["document"]["title"] for hit in filled.search("a the and")}
    within = {hit["document"]["title"] for hit in filled.search("a the and", set="sky & sea")}
    assert within == everywhere & {"cats.txt", "mars.txt"} != everywhere
    assert {hit["document"]["title"] for hit in filled.search("planet", set="active")} == everywhere
    assert filled.post("/api/sets/delete", {"sets": ["sky & sea"]}) == {"deleted": 1}
    for path in ("/api/search?q=a&set=sky", "/api/sources?set=sky"):
        assert filled.get(path, 404)["error"]["type"] == "NotFoundError"
    filled.post("/api/sets/delete", {"sets": ["sky & sea"]}, 404)
    filled.post("/api/sets", {"name": "active", "sources": ["mars.txt"]}, 400)
    filled.post("/api/sets", {"name": "new", "sources": ["nobody"]}, 404)


def test_removed_at_once(filled: Asker) -> None:
    assert filled.post("/api/remove", {"sources": ["cats.txt"]}) == {"removed": 1, "chunks": 1, "removal": None}
    assert "cats.txt" not in filled.titles()
    assert filled.workspace.library.index().stats().sources == 3
    filled.post("/api/remove", {"sources": ["cats.txt"]}, 404)


def test_removed_with_a_way_back(filled: Asker) -> None:
    index = filled.workspace.library.index()
    told = filled.post("/api/remove", {"sources": ["cats.txt", "Logs"], "undo_seconds": 3600})
    assert told["removed"] == 2
    assert filled.titles(sort="title") == ["Bread", "mars.txt"]
    assert {hit["document"]["title"] for hit in filled.search("the", k=50)} == {"Bread", "mars.txt"}
    assert [hit["rank"] for hit in filled.search("the", k=50)] == [1, 2]
    assert filled.post("/api/undo", {"removal": told["removal"]}) == {"restored": 2}
    assert len(filled.titles()) == index.stats().sources == 4
    filled.post("/api/undo", {"removal": told["removal"]}, 404)
    filled.post("/api/remove", {"sources": ["cats.txt"], "undo_seconds": 5, "purge": True}, 400)


def test_what_waits_to_be_removed_is_removed_when_the_page_ends(filled: Asker, library: Path) -> None:
    filled.post("/api/remove", {"sources": ["cats.txt"], "undo_seconds": 3600})
    filled.workspace.close()
    with stackroom.open(library, mode="r") as index:
        assert len(index.sources()) == 3


def test_a_removal_is_done_after_its_time(filled: Asker) -> None:
    removals = filled.workspace.removals
    removal = removals.schedule([filled.source("cats.txt")["id"]], 0.01)
    removal.timer.join(30)
    assert removals.hidden() == frozenset()
    assert filled.workspace.library.index().stats().sources == 3


def test_adding_tells_failures_and_tries_again(asker: Asker, folder: Path) -> None:
    write_files(folder, {"good.txt": "A cat purrs.", "bad.pdf": "%PDF-1.4 nothing"})
    done = asker.added(folder)
    assert (done["state"], done["result"]["added"], done["result"]["failed"]) == ("done", 1, 1)
    assert done["result"]["failures"][0]["path"].endswith("bad.pdf")
    assert asker.titles(state="failed") == ["bad.pdf"]
    (folder / "bad.pdf").write_text("It is a text now, about dogs.")
    again = asker.ended(asker.post("/api/retry", code=202))
    assert again["result"]["failed"] == 0
    asker.post("/api/retry", code=400)


def test_adding_tells_what_was_read_in_part_but_not_without_end(
    asker: Asker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stackroom.web.jobs._SHOWN", 2)
    write_files(folder, {f"{n}.md": "text" for n in range(2)})
    whole = (REAL_FILES / "pdf/spanning-cells.pdf").read_bytes()
    for n in range(3):
        (folder / f"{n}.pdf").write_bytes(whole[: len(whole) // 2 + n])
    done = asker.added(folder)
    assert done["result"]["added"] == 5
    assert [(Path(note["path"]).name, note["kind"]) for note in done["result"]["notes"]] == [
        ("0.pdf", "incomplete"),
        ("1.pdf", "incomplete"),
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"paths": []}, 400),
        ({"paths": "x"}, 400),
        ({"paths": ["relative/path"]}, 400),
        ({"paths": ["/a\x00b"]}, 400),
        ({"paths": [1]}, 400),
        ({"paths": ["/a"], "also": ["everything"]}, 400),
        ({"paths": ["/a"], "more": 1}, 400),
        ([], 400),
        (None, 400),
    ],
)
def test_paths_that_can_not_be_meant(asker: Asker, body: Any, status: int) -> None:
    answer = asker.client.post(
        "/api/add", content=json.dumps(body), headers={**OWN, "content-type": "application/json"}
    )
    assert answer.status_code == status


def test_a_path_that_is_not_there_fails_its_job(asker: Asker, tmp_path: Path) -> None:
    done = asker.added(tmp_path / "nothing")
    assert (done["state"], done["error"]["type"]) == ("failed", "NotFoundError")


def test_verify_and_compact_are_jobs(filled: Asker) -> None:
    checked = filled.ended(filled.post("/api/verify", code=202))
    assert (checked["state"], checked["result"]["ok"], checked["result"]["damage"]) == ("done", True, [])
    assert checked["result"]["incomplete"] == []
    assert set(filled.ended(filled.post("/api/compact", code=202))["result"]) == {
        "bytes_before",
        "bytes_after",
        "rows_dropped",
    }
    kinds = [job["kind"] for job in filled.get("/api/jobs")["jobs"]]
    assert kinds == ["compact", "verify"]


def test_repair_says_what_it_did_and_brings_a_library_back_that_does_not_open(filled: Asker, library: Path) -> None:
    done = filled.ended(filled.post("/api/repair", {"dry_run": True}, 202))
    assert (done["state"], done["result"]["ok"], done["result"]["dry_run"]) == ("done", True, True)
    filled.workspace.library.close()
    catalogue = library / "catalogue.db"
    catalogue.write_bytes(b"\xff" * 100 + catalogue.read_bytes()[100:])
    told = filled.get("/api/status")
    assert (told["state"], told["error"]["type"]) == ("failed", "DamagedError")
    done = filled.ended(filled.post("/api/repair", code=202))
    assert (done["state"], done["result"]["ok"]) == ("done", True), done
    assert filled.get("/api/status")["state"] == "ready"
    assert filled.search("purrs", mode="text")


def test_files_are_read_again_where_they_changed_and_on_request(filled: Asker, folder: Path, documents: Path) -> None:
    filled.post("/api/remove", {"sources": [str(documents)]})
    error = filled.post("/api/refresh", code=400)["error"]
    assert error["message"] == "No file of the library is there to be read again."
    write_files(folder, {"a.txt": "A cat.", "b.txt": "A dog.", "c.txt": "A fox."})
    filled.added(folder)
    (folder / "a.txt").write_text("A cow.")
    (folder / "b.txt").unlink()
    done = filled.ended(filled.post("/api/refresh", code=202))
    assert (done["kind"], done["result"]["updated"], done["result"]["unchanged"]) == ("add", 1, 1)
    assert filled.titles() == ["a.txt", "b.txt", "c.txt"]
    done = filled.ended(filled.post("/api/rebuild", {"sources": ["a.txt"]}, 202))
    assert (done["kind"], done["result"]["updated"]) == ("rebuild", 1)
    filled.post("/api/rebuild", {"sources": ["nobody"]}, 404)
    assert "one each" in filled.post("/api/rebuild", {"embedder": "minilm", "back": True}, 400)["error"]["message"]


def test_another_model_is_switched_to_and_back(filled: Asker) -> None:
    done = filled.ended(filled.post("/api/rebuild", {"embedder": "minilm", "even_if_worse": True}, 202))
    assert (done["state"], done["result"]["switched"]) == ("done", True), done
    assert filled.get("/api/status")["status"]["former"]["name"] == "words"
    done = filled.ended(filled.post("/api/rebuild", {"back": True, "even_if_worse": True}, 202))
    assert (done["state"], done["result"]["switched"]) == ("done", True), done


def test_copies_of_the_library_and_measurements(filled: Asker, tmp_path: Path) -> None:
    done = filled.ended(filled.post("/api/backup", {"folder": str(tmp_path / "copy")}, 202))
    assert done["result"] == {"folder": str(tmp_path / "copy"), "copied": True}
    again = filled.ended(filled.post("/api/backup", {"folder": str(tmp_path / "copy")}, 202))
    assert again["result"] == {"folder": str(tmp_path / "copy"), "copied": False}
    with stackroom.open(tmp_path / "copy", mode="r", embedder=WordEmbedder()) as copy:
        assert len(copy.sources()) == len(FILES)
    write_files(tmp_path / "taken", {"mine.txt": "Mine."})
    refused = filled.ended(filled.post("/api/backup", {"folder": str(tmp_path / "taken")}, 202))
    assert (refused["state"], refused["error"]["type"]) == ("failed", "UsageError")
    done = filled.ended(filled.post("/api/export", {"folder": str(tmp_path / "old")}, 202))
    assert done["result"]["chunks"] == len(FILES)
    assert (tmp_path / "old" / "docstore.json").exists()
    assert "no whole path" in filled.post("/api/export", {"folder": "here"}, 400)["error"]["message"]
    done = filled.ended(filled.post("/api/measure", {"questions": 2}, 202))
    assert (done["state"], done["result"]["questions"]) == ("done", 2)


def test_an_engine_that_is_not_there_is_said(filled: Asker) -> None:
    for verb in ("push", "pull"):
        failed = filled.ended(filled.post(f"/api/{verb}", {"url": "nonsense://nowhere/at-all"}, 202))
        assert (failed["kind"], failed["state"], failed["error"]["type"]) == (verb, "failed", "UsageError")


def test_every_verb_of_the_terminal_that_is_no_face_is_asked_for_here(asker: Asker) -> None:
    others = {"list": "sources", "show": "sources/{source_id}", "set": "sets"}
    described = set(asker.get("/api/openapi.json")["paths"])
    assert {f"/api/{others.get(verb, verb)}" for verb in set(cli.commands) - {"ui", "mcp", "chat"}} <= described


def test_status_of_a_library_in_use(filled: Asker, library: Path, documents: Path) -> None:
    told = filled.get("/api/status")
    assert (told["state"], told["path"], told["error"]) == ("ready", str(library), None)
    assert told["status"]["sources"] == 4
    assert told["facets"]["types"][0] == {"name": "text", "sources": 2}
    assert told["facets"]["folders"] == [{"path": str(documents), "sources": 4}]
    assert told["facets"]["states"] == {"active": 4, "failed": 0, "without_text": 0, "recognised": 0}


def test_folders_to_choose_from(asker: Asker, tmp_path: Path) -> None:
    for name in ("b", "A", ".hidden"):
        (tmp_path / "here" / name).mkdir(parents=True)
    (tmp_path / "here" / "file.txt").write_text("x")
    told = asker.get("/api/folders", path=str(tmp_path / "here"))
    assert told == {"path": str(tmp_path / "here"), "parent": str(tmp_path), "folders": ["A", "b"], "files": 1}
    asker.get("/api/folders", 404, path=str(tmp_path / "here" / "file.txt"))
    asker.get("/api/folders", 404, path="relative")
    asker.get("/api/folders", 404, path="/a\x00b")
    assert asker.get("/api/folders")["path"] == str(Path.home())


def test_what_is_not_there_is_said_in_json(asker: Asker) -> None:
    assert asker.get("/api/nothing", 404)["error"]["type"] == "NotFoundError"
    answer = asker.client.put("/api/active", headers=OWN)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["error"]["type"] == "UsageError"


def test_a_fault_of_ours_is_said_in_json(
    asker: Asker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(asker.workspace.library, "state", lambda: 1 / 0)
    error = asker.get("/api/status", 500)["error"]
    assert error == {"type": "InternalError", "message": "ZeroDivisionError: division by zero", "hint": None}
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_damaged_library_is_said(asker: Asker, library: Path) -> None:
    library.mkdir()
    (library / "catalogue.db").write_bytes(b"nothing of the sort" * 1000)
    told = asker.get("/api/status")
    assert told["state"] == "failed"
    assert told["error"]["type"] == "DamagedError"
    assert asker.get("/api/search", 409, q="cat")["error"] == told["error"]


def test_the_description_names_every_route_and_no_other(asker: Asker) -> None:
    described = asker.get("/api/openapi.json")["paths"]
    inside: Any = asker.client.app
    served = {
        (route.path.replace(":path", ""), method)
        for route in inside._app.routes
        if isinstance(route, Route) and route.path.startswith("/api/")
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert served == {(path, method.upper()) for path, some in described.items() for method in some}
    names = [operation["operationId"] for some in described.values() for operation in some.values()]
    assert len(names) == len(set(names)) == len(ENDPOINTS) + 4


def test_answers_are_what_the_description_says(filled: Asker) -> None:
    """By the same schemas; schemathesis asks more (make test-api)."""
    shapes = filled.get("/api/openapi.json")["components"]["schemas"]

    def fits(value: Any, schema: dict[str, Any], at: str) -> None:
        if "$ref" in schema:
            schema = shapes[schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            if value is None:
                return
            fits(value, schema["anyOf"][0], at)
            return
        kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
        assert isinstance(value, kinds[schema["type"]]), at
        if "enum" in schema:
            assert value in schema["enum"], at
        if schema["type"] == "array":
            for item in value:
                fits(item, schema["items"], at)
        if schema["type"] == "object":
            assert set(schema.get("required", ())) <= set(value), at
            extra = set(value) - set(schema.get("properties", {}))
            assert not extra or schema.get("additionalProperties"), (at, extra)
            for name, item in value.items():
                if name in schema.get("properties", {}):
                    fits(item, schema["properties"][name], f"{at}.{name}")

    chunk = filled.search("cat")[0]["chunk_id"]
    returns = {endpoint.name: endpoint.returns for endpoint in ENDPOINTS}
    for name, told in {
        "search": filled.get("/api/search", q="cat", context=1, explain="true"),
        "list": filled.get("/api/sources"),
        "show": filled.get(f"/api/sources/{filled.source('Logs')['id']}"),
        "passage": filled.get(f"/api/passages/{chunk}"),
        "status": filled.get("/api/status"),
        "folders": filled.get("/api/folders", path="/"),
        "jobs": filled.get("/api/jobs"),
        "job": filled.post("/api/verify", code=202),
        "setActive": filled.post("/api/active", {"sources": None, "active": True}),
        "remove": filled.post("/api/remove", {"sources": ["Logs"]}),
    }.items():
        fits(told, returns[name], name)
