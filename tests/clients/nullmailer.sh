#!/bin/sh
# The part of nullmailer that talks: settings on standard input, the mail and its envelope on descriptor 3.
set -eu
send() {
    subject=$1 port=$2 user=$3 secret=$4
    shift 4
    printf '%s\n%s\n\nFrom: %s\nTo: %s\nSubject: nullmailer %s\n\nhello\n.\n' "$FROM" "$TO" "$FROM" "$TO" "$subject" \
        >"$FOLDER/nullmailer.eml"
    printf 'host=%s\nport=%s\nuser=%s\npass=%s\nx509cafile=%s\n' "$HOST" "$port" "$user" "$secret" "$CA_FILE" |
        { cat; printf '%s\n' "$@"; } |
        HELOHOST=client.example "$PACKAGES/nullmailer/usr/lib/nullmailer/smtp" 3<"$FOLDER/nullmailer.eml"
}
send starttls "$PORT_STARTTLS" emailapikey "$API_KEY" starttls
send tls "$PORT_TLS" "$FROM" "$PASSWORD" tls auth-login
