"""Runs Flask's sample where there is room, with the `import os` that it forgot, and says where that is."""

import logging
import os
import runpy
import sys
import threading

from flask import Flask
from werkzeug.serving import make_server


def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


def run(app, **_):
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


threading.Thread(target=end_with_input, daemon=True).start()
logging.getLogger("werkzeug").disabled = True
Flask.run = run
runpy.run_path(sys.argv[1], init_globals={"os": os}, run_name="__main__")
