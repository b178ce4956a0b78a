// Go's net/smtp, which gives a password to TLS or to this machine only.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net/smtp"
	"os"
)

func main() {
	pem, err := os.ReadFile(os.Getenv("CA_FILE"))
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	host := os.Getenv("HOST")
	config := &tls.Config{RootCAs: roots, ServerName: host}
	key := smtp.PlainAuth("", "emailapikey", os.Getenv("API_KEY"), host)

	client, err := smtp.Dial(host + ":" + os.Getenv("PORT_STARTTLS"))
	must(err)
	must(client.StartTLS(config))
	send(client, key, "starttls")

	conn, err := tls.Dial("tcp", host+":"+os.Getenv("PORT_TLS"), config)
	must(err)
	client, err = smtp.NewClient(conn, host)
	must(err)
	send(client, smtp.PlainAuth("", os.Getenv("FROM"), os.Getenv("PASSWORD"), host), "tls")

	must(smtp.SendMail(host+":"+os.Getenv("PORT_CLEAR"), key, os.Getenv("FROM"), []string{os.Getenv("TO")}, mail("clear")))
}

func send(client *smtp.Client, auth smtp.Auth, way string) {
	must(client.Auth(auth))
	must(client.Mail(os.Getenv("FROM")))
	must(client.Rcpt(os.Getenv("TO")))
	text, err := client.Data()
	must(err)
	_, err = text.Write(mail(way))
	must(err)
	must(text.Close())
	must(client.Quit())
}

func mail(way string) []byte {
	return []byte(fmt.Sprintf("From: %s\nTo: %s\nSubject: go %s\n\nhello\n.\n", os.Getenv("FROM"), os.Getenv("TO"), way))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
