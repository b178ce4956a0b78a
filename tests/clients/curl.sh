#!/bin/sh
# STARTTLS required, TLS at once, and TLS of either version.
set -eu
send() {
    subject=$1
    shift
    printf 'From: %s\r\nTo: %s\r\nSubject: curl %s\r\n\r\nhello\r\n.\r\n' "$FROM" "$TO" "$subject" |
        curl --silent --show-error --cacert "$CA_FILE" --mail-from "$FROM" --mail-rcpt "$TO" --upload-file - \
            --user "emailapikey:$API_KEY" --ssl-reqd "$@"
}
send starttls "smtp://$HOST:$PORT_STARTTLS"
send tls "smtps://$HOST:$PORT_TLS"
send "tls 1.2" "smtps://$HOST:$PORT_TLS" --tls-max 1.2
send "tls 1.3" "smtps://$HOST:$PORT_TLS" --tlsv1.3
