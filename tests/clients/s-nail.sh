#!/bin/sh
# The successor of mailx, with the user in the URL: the `@` of an address is percent-encoded there.
set -eu
send() {
    subject=$1 mta=$2 auth=$3
    shift 3
    echo hello | s-nail -:/ -S v15-compat -S mta="$mta" -S smtp-auth="$auth" -S tls-ca-file="$CA_FILE" \
        -S tls-ca-no-defaults -S tls-verify=strict "$@" -r "$FROM" -s "s-nail $subject" "$TO"
}
send starttls "smtp://emailapikey:$API_KEY@$HOST:$PORT_STARTTLS" login -S smtp-use-starttls
send tls "smtps://$(echo "$FROM" | sed 's/@/%40/'):$PASSWORD@$HOST:$PORT_TLS" plain
