"""Runs Flask's sample where it is told to listen, with the `import os` that it forgot."""

import logging
import os
import runpy
import sys
import threading

from flask import Flask
from werkzeug.serving import run_simple


def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


threading.Thread(target=end_with_input, daemon=True).start()
logging.getLogger("werkzeug").disabled = True
Flask.run = lambda app, **_: run_simple("127.0.0.1", int(os.environ["PORT"]), app, threaded=True)
runpy.run_path(sys.argv[1], init_globals={"os": os}, run_name="__main__")
