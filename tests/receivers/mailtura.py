"""Mailtura's sample for Flask, step by step, on Flask itself: the MAC of the raw body is compared as text; then the keys
that the sample reads must be there: python3 mailtura.py FOLDER_OF_PACKAGES"""

import hashlib
import hmac
import logging
import sys
import threading

sys.path.insert(0, sys.argv[1])

from flask import Flask, request
from receiver import judge, must, say
from werkzeug.serving import make_server

READS = {
    "email.delivered": "emailId",
    "email.opened": "emailId",
    "email.clicked": "url",
    "email.bounced": "reason",
}
secret = sys.stdin.buffer.readline().rstrip(b"\n")
app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True


def verify():
    signature = request.headers.get("X-Mailtura-Signature")
    must(hmac.new(secret, request.data, hashlib.sha256).hexdigest() == signature, "X-Mailtura-Signature")
    event = request.json
    event["data"][READS.get(event["type"], "emailId")]
    return event


@app.route("/webhooks", methods=["POST"])
def webhooks():
    told = judge(verify)
    say(told)
    return "", 200 if told["ok"] else 401


server = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
say({"port": server.server_port})
sys.stdin.buffer.read()
