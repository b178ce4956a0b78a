"""Standard Webhooks, by its specification: the key is the base64 after `whsec_`; what is signed is id, time and raw
body with full stops between them; one good `v1` signature among those listed will do."""

import base64
import hashlib
import hmac
import json
import time

from receiver import must, serve

TOLERANCE_SECS = 5 * 60


def verify(headers, body, secret):
    event, at, signatures = (headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    must("." not in event, event)
    must(abs(time.time() - int(at)) <= TOLERANCE_SECS, at)
    key = base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
    must(24 <= len(key) <= 64, f"a key of {len(key)} bytes")
    mac = hmac.new(key, f"{event}.{at}.".encode() + body, hashlib.sha256).digest()
    listed = [signature.split(",") for signature in signatures.split(" ")]
    good = (hmac.compare_digest(base64.b64decode(text), mac) for version, text in listed if version == "v1")
    must(any(good), "webhook-signature")
    return json.loads(body.decode("utf-8"))


serve(verify)
