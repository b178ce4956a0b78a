"""What the Python receivers share. The first line of standard input is the secret, and its end is theirs, so that none
outlives the test. They print one JSON line that says where they listen, then one for each request."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve(verify):
    """Answers 200 to what `verify(headers, body, secret)` returns a payload for, and 401 to what it raises at."""
    secret = sys.stdin.buffer.readline().rstrip(b"\n")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told = judge(lambda: verify(self.headers, body, secret))
            say(told)
            self.send_response(200 if told["ok"] else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say({"port": server.server_port})
    sys.stdin.buffer.read()


def judge(verify):
    try:
        return {"ok": True, "why": "", **about(verify())}
    except Exception as fault:
        return {"ok": False, "why": f"{type(fault).__name__}: {fault}", "event": "", "recipient": ""}


def say(told):
    # One write, since requests are answered side by side.
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def about(payload):
    """What a payload of either family tells, and of whom."""
    if "type" in payload:
        return {"event": payload["type"], "recipient": payload["data"]["recipient"]}
    to = payload["event_message"][0]["email_info"]["to"]
    return {"event": payload["event_name"][0], "recipient": to[0]["email_address"]["address"]}


def must(holds, why):
    if not holds:
        raise ValueError(why)
