"""Maintenance, faults and what a route changes, through the real server: asked for, seen, stored, over."""

import json

from sluice_test import App, wait_until


def status_of(server, path="/", **headers):
    return server.get(path, **headers)


def test_maintenance_from_on_to_off(make_server):
    server = make_server()
    app = App(server)
    app.deploy("1", ok=True)
    assert server.get().status == 200
    page = server.root / "page.html"
    page.write_text("<p>Umbau – bald zurück</p>\n")
    said = app.cli("maintenance", "on", "--page", str(page), "--retry-after", "5m", "--allow", "x-tester=me",
                   json_=False)
    assert said.returncode == 0 and "maintenance is on: requests get 503; let through: x-tester=me" in said.stdout, said
    answer = wait_until(lambda: (a := server.get()).status == 503 and a, 20, "the page")
    assert answer.body.decode() == page.read_text()
    assert (answer.headers["retry-after"], answer.headers["content-type"]) == ("300", "text/html; charset=utf-8")
    assert server.get(**{"X-Tester": "me"}).status == 200
    status = app.status()
    assert status["maintenance"]["page"] is True and status["maintenance"]["allow"] == ["x-tester=me"]
    assert status["maintenance"]["text"] == "requests get 503; let through: x-tester=me"
    assert "MAINTENANCE" in (shown := app.cli("status", json_=False).stdout) and "let through: x-tester=me" in shown
    # The next controller knows of it; so does the judge's reader.
    server.kill("controller")
    wait_until(lambda: app.cli("status").returncode == 0 and app.status()["maintenance"], 20, "the next controller")
    assert server.get().status == 503
    app.deploy("2", ok=True)
    events = app.documents("events")
    told = [e["text"] for e in events if e["kind"] == "maintenance"]
    assert told[0].startswith("maintenance is on") and "no request of its users" in told[1]
    assert server.get().status == 503
    assert "maintenance is off" in app.cli("maintenance", "off", json_=False).stdout
    assert "maintenance was not on" in app.cli("maintenance", "off", json_=False).stdout
    wait_until(lambda: server.get().status == 200, 20, "the end of the maintenance")
    assert app.status()["maintenance"] is None
    assert server.metric("sluice_requests_maintenance_total", app=app.name) >= 2


def test_a_fault_is_loud_and_ends(make_server):
    server = make_server()
    app = App(server)
    app.deploy("1", ok=True)
    said = app.cli("fault", "on", "--abort", "502", "--match", "x-game=1", "--for", "1h", json_=False)
    assert "100% of the requests with x-game=1 are answered with 502 for 1h" in said.stdout, said
    answer = wait_until(lambda: (a := server.get(**{"X-Game": "1"})).status == 502 and a, 20, "the fault")
    assert answer.headers["x-sluice-fault"] == "abort" and server.get().status == 200
    assert "FAULT INJECTED" in app.cli("status", json_=False).stdout
    # It ends by itself, and that is told.
    app.command("fault", "on", "--delay", "1ms", "--abort", "502", "--for", "1s")
    wait_until(lambda: app.status()["fault"] is None, 20, "its end")
    wait_until(lambda: server.get().status == 200, 20, "traffic as it was")
    assert app.documents("events")[-1]["text"] == "the time of the injected fault is up"
    assert server.metric("sluice_requests_faults_total", app=app.name) >= 1


def test_what_is_asked_for_wrongly_changes_nothing(make_server):
    server = make_server()
    app = App(server)
    app.deploy("1", ok=True)
    for words, text in (
            (("maintenance", "onn"), "expected `on` or `off`, got `onn`"),
            (("maintenance", "on", "--status", "200"), "--status: expected a status from 400 to 599"),
            (("maintenance", "on", "--allow", "10.0.0.0/33"), "`allow`: `10.0.0.0/33` is neither a network"),
            (("maintenance", "on", "--hold", "1d"), "--hold: at most 10m, got `1d`"),
            (("maintenance", "on", "--page", "/nowhere.html"), "--page /nowhere.html: No such file"),
            (("maintenance", "on", "--page", "page.exe"), "expected a .html, .txt or .json"),
            (("maintenance", "off", "--status", "503"), "`maintenance off` takes no option of `on`"),
            (("fault", "on"), "what is to happen? --delay 200ms, --abort 503, or both"),
            (("fault", "on", "--delay", "1s", "--share", "0%"), "--share: expected a share such as 5%"),
            (("fault", "on", "--delay", "2m"), "--delay: at most 1m, got `2m`"),
            (("fault", "on", "--abort", "502", "--for", "2d"), "--for: at most 1d, got `2d`")):
        run = app.cli(*words, json_=False)
        assert run.returncode == 2 and text in run.stderr, (words, run)
    answer = server.api("POST", f"/v1/apps/{app.name}/maintenance", {"on": True, "page": "x" * 65537})
    assert answer.status == 400 and "at most 65536 bytes" in json.dumps(answer.json)
    assert app.status()["maintenance"] is None and app.status()["fault"] is None and server.get().status == 200


def test_a_route_changes_fields_paths_and_places(make_server):
    server = make_server()
    app = App(server)
    app.deploy("1", ok=True, routes=[
        {"path": "/"},
        {"path": "/api", "rewrite": {"strip-prefix": "/api"},
         "headers": {"response": {"set": {"x-served-by": "blue"}}}},
        {"path": "/old", "redirect": {"to": "/new", "append": "rest", "status": 302}}])
    answer = server.get("/old/a?b")
    assert (answer.status, answer.headers["location"]) == (302, "/new/a?b")
    assert server.get("/api/ready").headers["x-served-by"] == "blue"
    assert "x-served-by" not in server.get("/ready").headers
    app.deploy("2", ok=True, routes=[{"path": "/"}])
    assert server.get("/old/a").status == 200


def test_pages_for_errors_are_of_the_release(make_server):
    server = make_server()
    app = App(server, hold={"time": "0s"}, errors={"503": "pages/503.html"})
    missing = app.deploy("1", ok=False)
    assert "errors.503: pages/503.html: No such file or directory" in missing.text
    (app.dir / "pages").mkdir()
    (app.dir / "pages" / "503.html").symlink_to("../hello")
    assert "links are not followed" in app.deploy("2", ok=False).text
    (app.dir / "pages" / "503.html").unlink()
    (app.dir / "pages" / "503.html").write_text("<h1>Gleich zurück</h1>")
    app.deploy("3", ok=True)
    assert app.command("scale", "0").status == 0
    answer = wait_until(lambda: (a := server.get()).status == 503 and a, 20, "nobody there")
    assert answer.body.decode() == "<h1>Gleich zurück</h1>" and answer.headers["retry-after"] == "1"
    server.kill("controller")
    wait_until(lambda: app.cli("status").returncode == 0, 20, "the next controller")
    app.command("maintenance", "on")
    wait_until(lambda: b"maintenance" in server.get().body, 20, "the next table")
    app.command("maintenance", "off")
    wait_until(lambda: server.get().body.decode() == "<h1>Gleich zurück</h1>", 20, "the page again")
