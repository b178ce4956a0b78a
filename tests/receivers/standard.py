"""Standard Webhooks, by the official package for Python: python3 standard.py FOLDER_OF_PACKAGES"""

import sys

sys.path.insert(0, sys.argv[1])

from receiver import must, serve
from standardwebhooks import Webhook


def verify(headers, body, secret):
    must("." not in headers["webhook-id"], headers["webhook-id"])
    return Webhook(secret.decode()).verify(body, dict(headers.items()))


serve(verify)
