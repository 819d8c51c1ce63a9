"""Who may ask the page, and what a browser may do with its answers: each line of docs/page.md, "Who can use it"."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from stackroom.errors import UsageError
from stackroom.web import pages
from stackroom.web.listening import Where, address_of, check_host
from web_support import ADDRESS, ONCE, OWN, TOKEN, Asker

ROUTES = ["/", "/read", "/original/x", "/static/app.js", "/api/status", "/api/openapi.json", "/api/events", "/nothing"]
FORM = {"origin": ADDRESS.url}


def every_route(asker: Asker) -> list[tuple[str, str]]:
    """(method, path) of all there is, from the description and the pages."""
    paths = asker.get("/api/openapi.json")["paths"]
    described = [(method.upper(), re.sub(r"{\w+}", "x", path)) for path, some in paths.items() for method in some]
    return described + [("GET", path) for path in ROUTES]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1:7866",
        "localhost.evil.example:7865",
        "evil.example:7865",
        "127.0.0.1:7865.evil.example",
        "127.0.0.1:7865, evil.example",
        "user@127.0.0.1:7865",
        "[::1]:7865",
        "",
    ],
)
def test_another_host_is_refused_everywhere(asker: Asker, host: str) -> None:
    for method, path in every_route(asker):
        answer = asker.client.request(method, path, headers={**OWN, "host": host})
        assert answer.status_code == 403, (method, path)


def test_its_own_names_are_known_whatever_their_case(asker: Asker) -> None:
    for host in ("127.0.0.1:7865", "localhost:7865", "LOCALHOST:7865"):
        assert asker.client.get("/api/status", headers={**OWN, "host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        "http://127.0.0.1:7866",
        "https://127.0.0.1:7865",
        "http://localhost:7865",
        "http://127.0.0.1:7865/",
    ],
)
def test_another_origin_is_refused_everywhere(asker: Asker, origin: str) -> None:
    for method, path in every_route(asker):
        answer = asker.client.request(method, path, headers={**OWN, "origin": origin})
        assert answer.status_code == 403, (method, path)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_what_another_page_includes_is_refused(asker: Asker, site: str) -> None:
    """Another port of this machine is the same site: its pages get the cookie sent along."""
    cookie = {"cookie": f"{ADDRESS.cookie}={TOKEN}", "sec-fetch-site": site}
    for extra in (
        {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"},
        {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
        {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"},
    ):
        assert asker.client.get("/api/status", headers={**cookie, **extra}).status_code == 403
    opened = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert asker.client.get("/", headers={**cookie, **opened}).status_code == 200
    assert asker.client.post("/api/compact", headers={**cookie, **opened, **FORM}, json={}).status_code == 403


def test_nothing_is_answered_without_the_token(asker: Asker) -> None:
    for method, path in every_route(asker):
        for headers in (
            {},
            {"authorization": f"Bearer {TOKEN}x"},
            {"authorization": "Bearer"},
            {"authorization": TOKEN},
            {"cookie": f"{ADDRESS.cookie}=wrong"},
            {"cookie": f"other={TOKEN}"},
            {"authorization": f"Basic {TOKEN}"},
        ):
            answer = asker.client.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, path, headers)
            assert "logrotate" not in answer.text


def test_the_token_becomes_a_cookie_that_no_script_and_no_other_site_gets(client: TestClient) -> None:
    answer = client.get(f"/?q=old+logs&token={TOKEN}")
    assert answer.status_code == 200
    assert answer.headers["set-cookie"] == f"{ADDRESS.cookie}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    assert 'content="0;url=/?q=old+logs"' in answer.text
    assert TOKEN not in answer.text
    assert client.get("/").status_code == 200
    assert TOKEN not in client.get("/").text


def test_the_address_that_a_browser_is_started_with_serves_once(client: TestClient) -> None:
    """Other users of the machine see with what a browser is started."""
    assert client.get(f"/?token={ONCE}").status_code == 200
    client.cookies.clear()
    assert client.get(f"/?token={ONCE}").status_code == 401
    assert client.get("/api/status", headers={"authorization": f"Bearer {ONCE}"}).status_code == 401


@pytest.mark.parametrize("path", ["/?token=wrong", "/?token=", f"/read?token={TOKEN}", f"/api/status?token={TOKEN}"])
def test_a_token_in_an_address_counts_at_the_door_alone(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 401


def test_a_browser_that_changes_something_says_where_it_comes_from(client: TestClient) -> None:
    client.cookies.set(ADDRESS.cookie, TOKEN)
    assert client.post("/api/compact", json={}).status_code == 403
    assert client.post("/api/active", json={"sources": None, "active": True}, headers=FORM).status_code == 200


def test_no_other_origin_is_told_anything(asker: Asker) -> None:
    for method, path in every_route(asker):
        asked = {**OWN, "origin": "https://evil.example", "access-control-request-method": method}
        for answer in (
            asker.client.options(path, headers=asked),
            asker.client.request(method, path, headers={**OWN, "accept": "*/*"}) if path != "/api/events" else None,
        ):
            assert answer is None or not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_form_of_another_page_can_send_no_json(client: TestClient) -> None:
    client.cookies.set(ADDRESS.cookie, TOKEN)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = client.post("/api/compact", content=b"{}", headers={**FORM, "content-type": kind})
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "UsageError")


def test_every_answer_has_the_headers(filled: Asker) -> None:
    for method, path in every_route(filled):
        for headers in (OWN, {}):
            if path == "/api/events" and headers:
                continue
            found = filled.client.request(method, path, headers=headers).headers
            assert found["x-content-type-options"] == "nosniff", path
            assert found["referrer-policy"] == "no-referrer"
            assert found["x-frame-options"] in ("DENY", "SAMEORIGIN")
            assert found["cross-origin-resource-policy"] == "same-origin"
            assert found["cross-origin-opener-policy"] == "same-origin"
            assert found["cache-control"] == "no-store"
            policy = found["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe-eval" not in policy
            assert "unsafe-inline" not in policy
            assert "frame-ancestors 'none'" in policy


def test_pages_hold_no_script_no_style_and_no_other_host(filled: Asker) -> None:
    chunk = filled.search("dough")[0]["chunk_id"]
    texts = {
        "/": filled.page("/"),
        "/read": filled.page("/read", chunk=chunk, q="dough"),
        "/read, none": filled.page("/read", 404, chunk="none"),
    }
    for path in (pages.HERE / "static").iterdir():
        texts[path.name] = path.read_text(encoding="utf-8")
    for name, text in texts.items():
        others = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)) - {"http://www.w3.org"}
        assert not others, name
        assert "innerHTML" not in text, name
        if name.startswith("/"):
            assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=\"/static/)", text), name


def test_a_socket_is_closed(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/events"):
        pass


@pytest.mark.parametrize(
    "where",
    [
        Where(host="192.168.1.5"),
        Where(host="stackroom.example"),
        Where(host="8.8.8.8"),
        Where(host="2001:db8::1"),
        Where(host="0.0.0.0", without_tls=True),
        Where(host="::", without_tls=True),
        Where(host="", without_tls=True),
        Where(certificate=Path(__file__)),
        Where(host="192.168.1.5", certificate=Path("nowhere"), key=Path(__file__)),
    ],
)
def test_others_are_served_on_a_named_address_with_tls_or_on_request(where: Where) -> None:
    with pytest.raises(UsageError):
        check_host(where)


@pytest.mark.parametrize(
    ("where", "url"),
    [
        (Where(), "http://127.0.0.1:1"),
        (Where(host="::1"), "http://[::1]:1"),
        (Where(host="localhost"), "http://localhost:1"),
        (Where(host="Desk.example", without_tls=True), "http://desk.example:1"),
        (Where(host="192.168.1.5", certificate=Path(__file__), key=Path(__file__)), "https://192.168.1.5:1"),
    ],
)
def test_addresses_that_are_served(where: Where, url: str) -> None:
    check_host(where)
    assert address_of(where, 1).url == url


def test_the_program_itself_listens_here_alone_and_ends_quickly(program: Any, library: Path) -> None:
    client, address = program("--port", "0")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", address)
    assert client.get("/api/status").json()["state"] == "ready"
    assert client.get("/api/status", headers={"host": "evil.example"}).status_code == 403
    with client.stream("GET", "/api/events") as events:
        assert next(events.iter_lines()) == "event: change"
