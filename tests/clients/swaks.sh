#!/bin/sh
# Plain, STARTTLS with both mechanisms, TLS at once, and pipelined.
set -eu
send() {
    subject=$1
    shift
    swaks --silent 2 --helo client.example --server "$HOST" --from "$FROM" --to "$TO" --header "Subject: swaks $subject" --body "hello
.
a dot above" "$@"
}
key="--auth-user emailapikey --auth-password $API_KEY"
send clear --port "$PORT_CLEAR" --auth PLAIN $key
send login --port "$PORT_STARTTLS" --tls --auth LOGIN $key
send pipelined --port "$PORT_STARTTLS" --tls --pipeline --auth PLAIN $key
send tls --port "$PORT_TLS" -tlsc --auth PLAIN --auth-user "$FROM" --auth-password "$PASSWORD"
