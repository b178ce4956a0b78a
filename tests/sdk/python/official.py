"""The official Django package against the true program: BASE TOKEN. Only where it sends to is ours."""

import sys

import django
from django.conf import settings

base, token = sys.argv[1:]
settings.configure(
    EMAIL_BACKEND="zoho_zeptomail.backend.zeptomail_backend.ZohoZeptoMailEmailBackend",
    ZOHO_ZEPTOMAIL_API_KEY_TOKEN=f"Zoho-enczapikey {token}",
    ZOHO_ZEPTOMAIL_HOSTED_REGION="zeptomail.zoho.com",
    DEFAULT_FROM_EMAIL="Acme <billing@acme.example>",
)
django.setup()

from django.core.mail import EmailMultiAlternatives, send_mail  # noqa: E402
from zoho_zeptomail.emails import SendEmail  # noqa: E402

assert hasattr(SendEmail, "get_sendmail_url"), [name for name in dir(SendEmail)]
SendEmail.get_sendmail_url = lambda self, *rest: f"{base}/v1.1/email"

assert send_mail("Sent by Django", "text", None, ["Reader <django@example.com>"], html_message="<b>html</b>") == 1
mail = EmailMultiAlternatives(
    "With all of it", "text", "billing@acme.example", ["django@example.com"], ["hidden@example.com"],
    cc=["Copy <cc@example.com>"], reply_to=["help@acme.example"],
)
mail.attach_alternative("<p>html</p>", "text/html")
mail.attach("hello.txt", "hello", "text/plain")
assert mail.send() == 1
