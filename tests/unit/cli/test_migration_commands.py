"""`migrate` and `export` as a person and a script use them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import stackroom
from old_index import OldIndex
from stackroom import CancelToken, migration
from stackroom.cli.main import cli
from stackroom.errors import MigrationNeeded, StackroomError, UnknownStoreError, UsageError
from stackroom.migration.stores import detection


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return OldIndex().write(tmp_path / "index")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)


def error_of(result: Result) -> StackroomError:
    assert isinstance(result.exception, StackroomError)
    return result.exception


def test_a_dry_run_tells_what_is_there(old: Path) -> None:
    text = run("migrate", old, "--dry-run").stdout
    for told in ("LlamaIndex, 0.8 or newer", "6 passages of 2 documents", "6 of 4 dimensions", str(old / "stackroom")):
        assert told in text
    found = json.loads(run("--json", "migrate", old, "--dry-run").stdout)
    assert found["chunks"] == 6
    assert not (old / "stackroom").exists()


def test_migrating_tells_the_proof_and_what_next(old: Path) -> None:
    result = run("migrate", old)
    assert result.return_value == 0
    for told in (
        "Migrated 6 passages of 2 documents",
        "6 texts and 6 vectors",
        "old files are unchanged",
        "--roll-back",
    ):
        assert told in result.stderr
    assert "already migrated" in run("migrate", old).stderr.lower()
    hits = json.loads(run("--json", "--library", old, "search", "--mode", "text", "subject 3").stdout)["hits"]
    assert hits[0]["text"] == "Text of node-3, about subject 3."


def test_the_report_as_json(old: Path, tmp_path: Path) -> None:
    told = json.loads(run("--json", "--library", tmp_path / "new", "migrate", old).stdout)
    assert told["library"] == str(tmp_path / "new")
    assert (told["added"], told["chunks"], told["embedded"], told["reused"]) == (2, 6, 0, 6)
    assert told["proof"]["vectors"] == 6
    assert told["cancelled"] is False


def test_going_back(old: Path) -> None:
    run("migrate", old)
    assert "Taken back" in run("migrate", old, "--roll-back").stderr
    assert not (old / "stackroom").exists()


def test_discarding_wants_to_be_told_twice(old: Path) -> None:
    run("migrate", old)
    assert "--yes" in str(run("migrate", old, "--discard-old").exception)
    assert (old / "docstore.json").exists()
    result = run("migrate", old, "--discard-old", "--yes")
    assert result.return_value == 0
    assert [path.name for path in old.iterdir()] == ["stackroom"]


def test_discarding_says_what_would_be_lost(tmp_path: Path) -> None:
    made = OldIndex()
    del made.nodes["node-2"]
    old = made.write(tmp_path / "index")
    assert "Left out: 1 x a vector without text" in run("migrate", old).stderr
    found = error_of(run("migrate", old, "--discard-old", "--yes"))
    assert "1 x a vector without text" in str(found)
    assert "--even-what-was-left-out" in str(found)
    result = run("migrate", old, "--discard-old", "--even-what-was-left-out", "--yes")
    assert result.return_value == 0
    assert "gone for good: 1 x a vector without text" in result.stderr
    assert "belongs to" in str(run("migrate", old, "--even-what-was-left-out").exception)


def test_nothing_is_rolled_back_where_the_old_files_are_gone(old: Path) -> None:
    run("migrate", old)
    run("migrate", old, "--discard-old", "--yes")
    found = error_of(run("migrate", old, "--roll-back", "--yes"))
    assert found.exit_code == 2
    assert "export" in str(found)


def test_another_index_in_the_same_library_is_wrong_usage(old: Path, tmp_path: Path) -> None:
    other = OldIndex(chunks=2).write(tmp_path / "other")
    run("--library", tmp_path / "new", "migrate", old)
    found = error_of(run("--library", tmp_path / "new", "migrate", other))
    assert found.exit_code == 2
    assert f"holds the migration of {old}" in found.message


def test_a_library_elsewhere_is_neither_taken_back_nor_freed(old: Path, tmp_path: Path) -> None:
    run("--library", tmp_path / "new", "migrate", old)
    assert "delete the old files yourself" in str(
        run("--library", tmp_path / "new", "migrate", old, "--discard-old").exception
    )
    assert str(tmp_path / "new") in str(run("--library", tmp_path / "new", "migrate", old, "--roll-back").exception)
    found = error_of(run("migrate", old, "--discard-old"))
    assert "not migrated in place" in found.message
    assert "take back" not in str(found)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_the_old_program_wrote_since_is_told(old: Path, tmp_path: Path, elsewhere: bool) -> None:
    library = tmp_path / "new" if elsewhere else old
    run(*(["--library", library] if elsewhere else []), "migrate", old)
    assert "old files" not in run("--library", library, "status").stdout
    assert json.loads(run("--json", "--library", library, "status").stdout)["old_files_changed"] is None
    (old / "docstore.json").write_text("{}")
    assert "docstore.json was written after it was migrated" in run("--library", library, "status").stdout
    assert "docstore.json" in json.loads(run("--json", "--library", library, "status").stdout)["old_files_changed"]
    told = run("--library", library, "list").stderr
    assert ("Beware" in told) is not elsewhere
    assert "Warning" not in told
    assert run("--library", library, "status").output.count("was written after") == 1


def test_a_file_that_was_only_touched_has_not_changed(old: Path) -> None:
    run("migrate", old)
    (old / "docstore.json").touch()
    assert "was written after" not in run("--library", old, "status").output


def test_a_dry_run_that_is_interrupted_tells_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object, cancel: CancelToken, **more: object) -> None:
        cancel.cancel()

    monkeypatch.setattr("stackroom.migration.inventory", stopped)
    result = run("migrate", old, "--dry-run")
    assert (result.return_value, result.stdout, result.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_another_metric_claims_no_model(old: Path, arguments: list[str]) -> None:
    result = run("migrate", old, "--metric", "l2", *arguments)
    assert "none is claimed with --metric l2" in result.output


def test_what_is_no_old_index_is_not_said_to_be_one(old: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    stackroom.open(tmp_path / "library").close()
    run("migrate", old)
    for arguments in (
        (tmp_path / "empty",),
        (tmp_path / "library",),
        (old,),
        (old, "--library", tmp_path / "library"),
        (old, "--library", old),
    ):
        assert "Converting" not in run("migrate", *arguments).stderr


def test_a_conversion_is_announced_when_nothing_is_in_its_way(old: Path) -> None:
    assert "Converting" not in run("migrate", old, "--embedder", "nosuch").stderr
    assert "Converting" not in run("migrate", old, "--index-id", "nosuch").stderr
    assert "Converting" in run("migrate", old).stderr


def test_what_is_not_there_has_the_exit_code_of_other_verbs(tmp_path: Path) -> None:
    assert error_of(run("migrate", tmp_path / "nope")).exit_code == 3


def test_a_dry_run_says_what_the_next_run_would_do(old: Path) -> None:
    run("migrate", old)
    told = run("migrate", old, "--dry-run")
    assert (told.return_value, told.stdout) == (
        0,
        f"Already migrated: 6 passages in {old / 'stackroom'}. There is nothing to do.\n",
    )
    found = json.loads(run("--json", "migrate", old, "--dry-run").stdout)
    assert (found["already"], found["chunks"], found["made_by"]) == (True, 6, "LlamaIndex, 0.8 or newer")
    assert found["bytes"] > 1000
    run("migrate", old, "--discard-old", "--yes")
    assert run("migrate", old, "--dry-run").stdout == told.stdout
    assert error_of(run("migrate", old, "--dry-run", "--metric", "l2")).exit_code == 2


def test_an_index_that_is_all_there_is_is_no_line_of_the_status(old: Path, tmp_path: Path) -> None:
    run("migrate", old)
    assert "collection" not in run("--library", old, "status").stdout
    made = OldIndex()
    made.listed["the-index"] = {"node-1": "node-1"}
    run("migrate", made.write(tmp_path / "other"))
    assert "the-index: 1 passage," in run("--library", tmp_path / "other", "status").stdout


@pytest.mark.parametrize("beside", [False, True])
def test_a_missing_vector_store_is_named(old: Path, beside: bool) -> None:
    store = old / "default__vector_store.json"
    whole = store.read_text()
    store.unlink()
    if beside:
        (old / "image__vector_store.json").write_text(
            '{"embedding_dict": {}, "text_id_to_ref_doc_id": {}, "metadata_dict": {}}'
        )
    told = run("migrate", old).stderr
    assert "default__vector_store.json" in told
    assert "Model: none, as there are no vectors." in told
    assert "vector store that is missing" in error_of(run("migrate", old, "--discard-old", "--yes")).message
    store.write_text(whole)
    assert "has changed since" in error_of(run("migrate", old)).message
    assert "default__vector_store.json was written after" in run("--library", old, "status").stdout
    run("migrate", old, "--roll-back")
    assert "6 vectors" in run("migrate", old).stderr


def test_an_index_of_another_kind_is_no_choice(tmp_path: Path) -> None:
    made = OldIndex()
    old = made.write(tmp_path / "index")
    store = json.loads((old / "index_store.json").read_text())
    body = json.dumps({"index_id": "sum", "summary": None, "nodes": ["node-1"]})
    store["index_store/data"]["sum"] = {"__type__": "list", "__data__": body}
    (old / "index_store.json").write_text(json.dumps(store))
    assert "there are the-index (sum: of another kind" in error_of(run("migrate", old, "--index-id", "sum")).message


def test_suggested_commands_can_be_pasted(tmp_path: Path) -> None:
    old = OldIndex().write(tmp_path / "my index")
    told = run("migrate", old).stderr
    assert f"stackroom migrate '{old}' --roll-back" in told
    assert f"stackroom --library '{old}' search" in told


def test_losing_what_was_added_since_wants_to_be_said(old: Path) -> None:
    run("migrate", old)
    with stackroom.open(old) as index:
        chunk = stackroom.Chunk("New text.", embedding=np.ones(4, dtype=np.float32))
        index.add_documents([stackroom.Document("new", chunks=[chunk], title="New")])
    found = error_of(run("migrate", old, "--roll-back"))
    assert (found.exit_code, found.message) == (2, "1 source would be lost.")
    assert run("migrate", old, "--roll-back", "--yes").return_value == 0


def test_a_stopped_migration_can_be_removed(old: Path) -> None:
    cancel = CancelToken()
    migration.migrate(old, progress=lambda event: cancel.cancel(), cancel=cancel)
    assert "stopped migration" in run("migrate", old, "--roll-back").stderr
    assert not (old / ".stackroom.tmp").exists()


def test_a_stopped_migration_to_elsewhere_can_be_removed(old: Path, tmp_path: Path) -> None:
    cancel = CancelToken()
    migration.migrate(old, library=tmp_path / "new", progress=lambda event: cancel.cancel(), cancel=cancel)
    assert (tmp_path / ".new.stackroom.tmp").exists()
    assert "stopped migration" in run("migrate", old, "--library", tmp_path / "new", "--roll-back").stderr
    assert not (tmp_path / ".new.stackroom.tmp").exists()


def test_the_help_lists_the_formats() -> None:
    page = " ".join(run("migrate", "--help").stdout.split())
    source = Path(detection.__file__).read_text()
    for name in re.findall(r'Found\("([\w.-]+)"', source):
        assert name in page, name


def test_exporting(old: Path, tmp_path: Path) -> None:
    run("migrate", old)
    assert run("--library", old, "export", tmp_path / "out").return_value == 0
    assert (tmp_path / "out" / "docstore.json").exists()
    assert isinstance(error_of(run("--library", old, "export", tmp_path / "out")), UsageError)


def test_what_is_no_old_index(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    found = error_of(run("migrate", tmp_path))
    assert isinstance(found, UnknownStoreError)
    assert found.exit_code == 3


def test_other_verbs_point_to_migrate(old: Path) -> None:
    found = error_of(run("--library", old, "list"))
    assert isinstance(found, MigrationNeeded)
    assert "stackroom migrate" in (found.hint or "")


def test_one_thing_at_a_time(old: Path) -> None:
    assert "Choose one" in str(run("migrate", old, "--roll-back", "--discard-old").exception)
