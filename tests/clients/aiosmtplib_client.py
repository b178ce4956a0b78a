"""aiosmtplib: ten sessions at one time."""

import asyncio
import os
import ssl
from email.message import EmailMessage

import aiosmtplib

context = ssl.create_default_context(cafile=os.environ["CA_FILE"])


async def send(number):
    message = EmailMessage()
    message["From"], message["To"] = os.environ["FROM"], os.environ["TO"]
    message["Subject"] = f"aiosmtplib {number}"
    message.set_content("hello")
    way = {"port": int(os.environ["PORT_TLS"]), "use_tls": True}
    if number % 2:
        way = {"port": int(os.environ["PORT_STARTTLS"]), "start_tls": True}
    await aiosmtplib.send(
        message,
        hostname=os.environ["HOST"],
        username="emailapikey",
        password=os.environ["API_KEY"],
        tls_context=context,
        **way,
    )


async def main():
    await asyncio.gather(*(send(number) for number in range(10)))


asyncio.run(main())
