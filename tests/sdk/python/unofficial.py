"""PyPI's zeptomail against the true program: BASE TOKEN."""

import sys

from zeptomail import Config, Email, MimeType
from zeptomail.exceptions import ZeptoMailAPIError
from zeptomail.utils import bytes_to_base64

base, token = sys.argv[1:]
mail = {"from_": "billing@acme.example", "from_name": "Acme", "to": ["python@example.com"], "subject": "Sent by Python"}
email = Email(Config(token, url=f"{base}/v1.1/email"), bounce_address="bounce@acme.example")
told = email.send(
    **mail,
    text_body="text",
    html_body="<b>html</b>",
    reply_to=[("help@acme.example", "Help")],
    attachments=[(bytes_to_base64(b"hello"), MimeType("text", "plain"), "hello.txt")],
    client_reference="python-2",
)
assert told["object"] == "email", told
try:
    Email(Config("nobody", url=f"{base}/v1.1/email")).send(**mail, text_body="text")
    raise AssertionError("a stranger")
except ZeptoMailAPIError as refused:
    assert refused.status_code == 401 and refused.response_body["error"]["details"][0]["code"] == "SERR_157", refused
