#!/bin/sh
# STARTTLS required, and TLS at once.
set -eu
send() {
    printf 'From: %s\r\nTo: %s\r\nSubject: curl %s\r\n\r\nhello\r\n.\r\n' "$FROM" "$TO" "$1" |
        curl --silent --show-error --cacert "$CA_FILE" --mail-from "$FROM" --mail-rcpt "$TO" --upload-file - \
            --user "emailapikey:$API_KEY" --ssl-reqd "$2"
}
send starttls "smtp://$HOST:$PORT_STARTTLS"
send tls "smtps://$HOST:$PORT_TLS"
