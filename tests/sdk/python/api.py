"""PyPI's zeptomail-python-api against the true program: BASE TOKEN."""

import sys

from zeptomail import ZeptoMail, ZeptoMailError

base, token = sys.argv[1:]
client = ZeptoMail(token, base_url=f"{base}/v1.1")
told = client.send_email(
    "billing@acme.example",
    "Acme",
    to=[client.add_recipient("python@example.com", "Reader")],
    cc=[client.add_recipient("cc@example.com")],
    bcc=[client.add_recipient("hidden@example.com")],
    reply_to=[{"address": "help@acme.example", "name": "Help"}],
    subject="Sent by Python",
    html_body="<b>html</b>",
    text_body="text",
    client_reference="python-1",
    mime_headers={"X-Test": "test"},
    attachments=[{"name": "hello.txt", "mime_type": "text/plain", "content": b"hello"}],
    inline_images=[{"cid": "logo", "mime_type": "image/png", "content": b"\x89PNG"}],
)
assert told["object"] == "email" and told["data"][0]["code"] == "EM_104", told
told = client.send_batch_email(
    "billing@acme.example",
    to=[
        client.add_batch_recipient("a@example.com", "A", {"name": "Ann"}),
        client.add_batch_recipient("b@example.com"),
    ],
    subject="Hi {{name}}",
    html_body="<p>{{name}}</p>",
    merge_info={"name": "there"},
)
assert told["message"] == "OK", told
kept = client.upload_file(file_data=b"hello", file_name="hello.txt", content_type="text/plain")
assert kept["object"] == "file" and kept["data"][0]["code"] == "fm_101", kept
told = client.send_email(
    "billing@acme.example",
    to=[client.add_recipient("python@example.com")],
    subject="With a kept file",
    text_body="text",
    attachments=[{"file_cache_key": kept["file_cache_key"], "name": "again.txt"}],
)
assert told["message"] == "OK", told
for change, code in [({"subject": ""}, "TM_3201"), ({"from_address": "nobody@"}, "TM_4001")]:
    wanted = {"from_address": "billing@acme.example", "to": [client.add_recipient("a@example.com")], "subject": "s", "text_body": "t"}
    try:
        client.send_email(**{**wanted, **change})
        raise AssertionError(change)
    except ZeptoMailError as refused:
        assert refused.code == code and refused.details and refused.request_id.startswith("2d6f."), refused
try:
    ZeptoMail("nobody", base_url=f"{base}/v1.1").upload_file(file_data=b"x", file_name="x")
    raise AssertionError("a stranger")
except ZeptoMailError as refused:
    assert refused.code == "TM_4001", refused
