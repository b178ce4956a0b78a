#!/bin/sh
# A `sendmail` for one user, on libesmtp. What it reads must be nobody else's.
set -eu
umask 077
mkdir -p "$FOLDER/esmtp/libesmtp"
cp "$CA_FILE" "$FOLDER/esmtp/libesmtp/ca.pem"
send() {
    subject=$1 port=$2 starttls=$3
    printf 'hostname = %s:%s\nusername = "emailapikey"\npassword = "%s"\nstarttls = %s\n' \
        "$HOST" "$port" "$API_KEY" "$starttls" >"$FOLDER/esmtp/esmtprc"
    printf 'From: %s\nTo: %s\nSubject: esmtp %s\n\nhello\n.\n' "$FROM" "$TO" "$subject" |
        XDG_CONFIG_DIR=$FOLDER/esmtp esmtp -C "$FOLDER/esmtp/esmtprc" -f "$FROM" "$TO"
}
send starttls "$PORT_STARTTLS" required
send clear "$PORT_CLEAR" disabled
