"""Python's own library: STARTTLS, TLS at once, many mails over one session, a recipient that is refused.

Bytes given to `sendmail` go out as they are, so they must be made with the line ends of SMTP; text need not.
"""

import os
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP

context = ssl.create_default_context(cafile=os.environ["CA_FILE"])
NAME = "client.example"
host, sender, to = os.environ["HOST"], os.environ["FROM"], os.environ["TO"]


def mail(subject):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, f"smtplib {subject}"
    message.set_content("Grüße\n.\n..\n")
    message.add_attachment(b"\0\1\2", maintype="application", subtype="octet-stream", filename="grün.bin")
    return message


with smtplib.SMTP(host, int(os.environ["PORT_STARTTLS"]), NAME) as client:
    client.starttls(context=context)
    client.login("emailapikey", os.environ["API_KEY"])
    for number in range(3):
        client.send_message(mail(f"starttls {number}"))
    refused = client.sendmail(sender, [to, "nobody@localhost"], mail("partial").as_bytes(policy=SMTP))
    assert list(refused) == ["nobody@localhost"], refused
    try:
        client.sendmail("someone@elsewhere.example", [to], mail("foreign").as_bytes(policy=SMTP))
    except smtplib.SMTPSenderRefused as refusal:
        assert refusal.smtp_code == 553, refusal
    else:
        raise SystemExit("a foreign sender was taken")

with smtplib.SMTP_SSL(host, int(os.environ["PORT_TLS"]), NAME, context=context) as client:
    client.login(sender, os.environ["PASSWORD"])
    client.send_message(mail("tls"))

with smtplib.SMTP(host, int(os.environ["PORT_CLEAR"]), NAME) as client:
    client.ehlo()
    client.login("emailapikey", os.environ["API_KEY"])
    text = f"From: {sender}\nTo: {to}\nSubject: smtplib dsn\n\nhello\n.\n"
    client.sendmail(sender, [to], text, ["RET=HDRS", "ENVID=python"], ["NOTIFY=FAILURE"])
