"""Mailtura's sample for Flask, step by step: the MAC of the raw body is compared as text; then the keys that the sample
reads must be there."""

import hashlib
import hmac
import json

from receiver import must, serve

READS = {
    "email.delivered": "emailId",
    "email.opened": "emailId",
    "email.clicked": "url",
    "email.bounced": "reason",
}


def verify(headers, body, secret):
    signature = headers.get("X-Mailtura-Signature")
    must(hmac.new(secret, body, hashlib.sha256).hexdigest() == signature, "X-Mailtura-Signature")
    must(headers.get_content_type() == "application/json", headers.get_content_type())
    event = json.loads(body)
    event["data"][READS.get(event["type"], "emailId")]
    return event


serve(verify)
