#!/bin/sh
# What many scripts of administrators call. It warns of a missing name where it has only an address.
set -eu
send() {
    subject=$1 port=$2 tls=$3
    SSL_CERT_FILE=$CA_FILE sendemail -q -f "$FROM" -t "$TO" -u "sendemail $subject" -m hello -s "$HOST:$port" \
        -o tls="$tls" -o fqdn=client.example -xu emailapikey -xp "$API_KEY"
}
send starttls "$PORT_STARTTLS" yes
send clear "$PORT_CLEAR" no
