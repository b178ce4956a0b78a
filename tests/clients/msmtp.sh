#!/bin/sh
# GnuTLS instead of OpenSSL, and the mail with LF line ends on standard input, as sendmail has it.
set -eu
send() {
    subject=$1
    shift
    printf 'From: %s\nTo: %s\nSubject: msmtp %s\n\nhello\n.\n' "$FROM" "$TO" "$subject" |
        msmtp --host="$HOST" --domain=client.example --auth=on --user="$FROM" --passwordeval="echo $PASSWORD" --tls=on \
            --tls-trust-file="$CA_FILE" --from="$FROM" "$@" "$TO"
}
send starttls --port="$PORT_STARTTLS"
send tls --port="$PORT_TLS" --tls-starttls=off
