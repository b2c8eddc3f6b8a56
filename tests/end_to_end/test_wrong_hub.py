"""Models by Hub id, where the Hub's address answers with something else: one line, and nothing is written."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers import commands, inputs, study
from helpers.local_server import slow_server

RESPONSES = {
    "not found": (404, "application/json", b'{"error": "Repository not found"}'),
    "an error": (500, "text/plain", b"Internal Server Error"),
    "a page": (200, "text/html", b"<html><body>Sign in to the network</body></html>"),
    "garbage": (200, "application/json", b'{"model_type": '),
}
# Waits between attempts are added up and left out.
CODE = """
import json, time
from click.testing import CliRunner
from mergekit_finance.cli import main
sleep, waits, outputs = time.sleep, [], []
time.sleep = lambda seconds: [waits.append(seconds), sleep(min(seconds, 0.01))]
for arguments in (
    ["check", "study.yml"], ["check", "recipe.yml"], ["study", "plan", "study.yml", "--no-sample"],
    ["study", "study.yml", "--quiet", "-o", "out"],
    ["run", "recipe.yml", "--source", "sample", "--limit", "2", "-o", "out"],
):
    waits.clear()
    result = CliRunner().invoke(main, arguments)
    outputs.append((result.exit_code, result.output, sum(waits)))
print(json.dumps(outputs))
"""
CLOSED = "http://127.0.0.1:9"
SLOW = ("nothing", "a byte now and then")


@pytest.fixture(params=[*RESPONSES, *SLOW, "a closed port"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param in SLOW:
        with slow_server(drips=request.param != SLOW[0]) as address:
            yield address
        return
    if request.param not in RESPONSES:
        yield CLOSED
        return
    status, kind, body = RESPONSES[request.param]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": len(body), "ETag": '"1"'}.items():
                self.send_header(name, str(value))
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_every_command_ends_in_one_line_or_says_what_it_did_not_see(
    endpoint: str, tiny: Path, tmp_path: Path
) -> None:
    content = {"experts": {"finance": {"model": "nobody/finance"}, "math": {"model": f"{tiny}/math"}}}
    study.write(tmp_path / "study.yml", tiny, **content, source="sample", tasks=["finance_bench_fpb"])
    recipe = inputs.merge_recipe(tiny, models=[{"model": "nobody/finance"}, {"model": f"{tiny}/math"}])
    inputs.write_recipe(tmp_path / "recipe.yml", recipe)
    environment = {
        "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hub"), "HF_TOKEN": "",
        "HF_HUB_ETAG_TIMEOUT": "2", "HF_HUB_DOWNLOAD_TIMEOUT": "2",
    }  # fmt: skip

    done = commands.run("python", "-c", CODE, cwd=tmp_path, env=environment)
    assert "Traceback" not in done.stdout + done.stderr
    outputs = json.loads(done.stdout.splitlines()[-1])
    for code, text, _ in outputs[:3]:
        assert code == 0 and "nobody/finance is not on this machine" in text, text
    for code, text, waited in outputs[
        3:
    ]:  # a page or garbage is in the Hub's cache from the first of the two on
        (line,) = [line for line in text.splitlines() if line.startswith("Error: ")]
        assert code == 1 and "finance" in line and "[model." in line, text
        assert waited <= 5 and "thrown while requesting" not in text
    assert not (tmp_path / "out").exists()
